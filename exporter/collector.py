"""The public place of the collector for prometheus_client, for use in other programs."""

from exporter.exposition.collector import NodeCollector
from exporter.logs import use_standard_logging

__all__ = ["NodeCollector"]

use_standard_logging()
