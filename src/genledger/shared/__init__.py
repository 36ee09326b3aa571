"""What every part uses: text for people, files and databases of several processes, and what happens at a fork."""

from genledger.shared import fork_warning as fork_warning  # whatever starts threads imports this package
