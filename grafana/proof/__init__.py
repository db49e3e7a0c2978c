"""An hour of simulated nodes in a real Prometheus: the data for the dashboards' tests and pictures."""
