"""The public place of the collector for prometheus_client, for use in other programs."""

from exporter.exposition.collector import NodeCollector

__all__ = ["NodeCollector"]
