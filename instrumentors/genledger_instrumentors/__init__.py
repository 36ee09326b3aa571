"""One module per client library, each a description of its calls and nothing else."""
