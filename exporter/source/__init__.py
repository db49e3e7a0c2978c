"""Redis → a raw reading: connections, discovery of node names, requests and replies.

In: the settings. Out: the names of the nodes, and ``Reading`` objects, which hold the nodes' values and the state of
Redis. Read ``reading`` first, then ``gather``: everything is asked through ``exchange`` and ``gather``.
"""

from exporter.source.source import Source, open_source

__all__ = ["Source", "open_source"]
