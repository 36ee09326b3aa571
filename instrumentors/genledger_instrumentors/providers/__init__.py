"""One module for each client: where to patch, and which formats it speaks."""
