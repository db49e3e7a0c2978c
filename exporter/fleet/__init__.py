"""Runs the stages one after the other on request, and shares one read among simultaneous callers.

In: the settings, a source of readings, a clock. Out: snapshots on request; facts about the last read; and for ``push``
and the journal each change that the judge sees. Read ``fleet`` first: it puts the parts together, and reads all nodes.
``watch`` looks at Redis and at the nodes whose state may change, and keeps the names of the nodes.
"""

from exporter.fleet.fleet import Fleet

__all__ = ["Fleet"]
