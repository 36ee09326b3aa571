"""One short program for each framework: an agent that calls a tool, retrieves, and asks a model on loopback.

`python -m examples.frameworks.langgraph_agent` runs one and prints its trace, as `genledger trace last` shows it. The
framework has to be installed.
"""
