"""Redis → a raw reading: connections, discovery of node names, requests and replies.

In: the settings. Out: the names of the nodes, and ``Reading`` objects, which hold the nodes' values
and the state of Redis. Read ``reading`` first, then ``standalone``.
"""

from exporter.settings import Settings
from exporter.source.limits import Spent, nobody
from exporter.source.reading import Source
from exporter.source.standalone import StandaloneSource


def open_source(settings: Settings, spent: Spent = nobody) -> Source:
    """Return the source for the mode that the settings give; no connection is made yet.

    Args:
        settings: The settings.
        spent: Told of budgets that are spent.
    """
    match settings.redis.mode:
        case "cluster":
            from exporter.source.cluster import ClusterSource  # noqa: PLC0415 - only this mode needs it

            return ClusterSource(settings, spent)
        case "sentinel":
            from exporter.source.sentinel import SentinelSource  # noqa: PLC0415 - only this mode needs it

            return SentinelSource(settings, spent)
        case "standalone":
            return StandaloneSource(settings, spent=spent)
