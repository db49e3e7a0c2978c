"""What the dashboards are proven on: an hour of simulated nodes in a real Prometheus."""
