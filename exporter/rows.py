"""A snapshot node by node, for people: the table, the page and its JSON."""

from collections.abc import Iterator
from typing import Any

from exporter.contract import NODE_METRICS, STATUS
from exporter.snapshot import Snapshot

Row = dict[str, Any]
"""One node by the keys of ``/api/v1/nodes``; a value that is not known is None."""


def rows_of(snapshot: Snapshot) -> Iterator[Row]:
    """Yield each node of a snapshot, sorted by id."""
    listed = [metric for metric in NODE_METRICS if metric.json and metric is not STATUS]
    columns = [map(_number, snapshot.columns[metric.name]) for metric in listed]
    keys = ["node_id", "state", *(metric.json for metric in listed), "status"]
    statuses = (status and status.decode() for status in snapshot.statuses)
    for values in zip(snapshot.ids, snapshot.states, *columns, statuses, strict=True):
        yield dict(zip(keys, values, strict=True))


def _number(text: bytes | None) -> int | float | None:
    if text is None:
        return None
    return int(text) if text.isdigit() else float(text)
