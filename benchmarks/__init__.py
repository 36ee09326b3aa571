"""What instrumentation costs: `python -m benchmarks` measures it and compares it with the bars."""
