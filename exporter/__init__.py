"""ginkgo-exporter: Prometheus metrics and alerts for Ginkgo's ExecutionNodes."""

__version__ = "0.1.0"
