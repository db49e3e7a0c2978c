"""Runs the stages one after the other on request, and shares one read among simultaneous callers.

In: the settings, a source of readings, a clock. Out: snapshots on request, with the series of nodes and
portfolios as lines; facts about the last read; and rounds of the watch, to which ``push`` and the journal
attend. Read ``fleet.py`` first: it puts the parts together. ``discovery.py`` keeps the names of the nodes.
``snapshot_reader.py`` reads all nodes once, and ``shared_read.py`` shares such a read. ``rounds.py`` runs
the watch.
"""

from exporter.fleet.fleet import Fleet

__all__ = ["Fleet"]
