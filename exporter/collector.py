"""The fleet as a prometheus_client collector, for registries of other programs: the public name of it."""

from exporter.exposition.collector import NodeCollector

__all__ = ["NodeCollector"]
