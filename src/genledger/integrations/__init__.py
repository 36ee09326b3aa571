"""Web frameworks and serverless handlers."""
