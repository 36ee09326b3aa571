"""Usage that arrives after the call: jobs, batches and their attribution."""
