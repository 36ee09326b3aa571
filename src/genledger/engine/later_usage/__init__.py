"""What is paid for later than it was asked for: jobs, and whose they are."""
