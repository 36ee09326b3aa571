"""Stand-ins for the receivers of telemetry, on loopback, with faults on demand."""
