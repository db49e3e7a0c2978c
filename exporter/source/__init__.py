"""Redis: connections, discovery of node names, reading of their values."""

from exporter.settings import Settings
from exporter.source.cluster import ClusterSource
from exporter.source.reading import Source
from exporter.source.sentinel import SentinelSource
from exporter.source.standalone import StandaloneSource


def open_source(settings: Settings) -> Source:
    """Return the source that the settings name; nothing is connected yet."""
    match settings.redis.mode:
        case "cluster":
            return ClusterSource(settings)
        case "sentinel":
            return SentinelSource(settings)
        case "standalone":
            return StandaloneSource(settings)
