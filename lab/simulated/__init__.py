"""The platform and an exporter in simulated time."""
