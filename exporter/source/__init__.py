"""Redis → a raw reading: connections, discovery of node names, requests and replies.

Comes in: the settings. Goes out: names of nodes, and ``Reading`` objects with what Redis holds of
them and says of itself. Read ``reading`` first, then ``standalone``.
"""

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
