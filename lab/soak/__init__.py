"""Hours of faults: nodes come, go, crash and return while Redis fails, and every answer of the exporter is judged."""
