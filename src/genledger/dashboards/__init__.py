"""Dashboards: one description, built into the files of Grafana, Datadog, Honeycomb and Langfuse."""
