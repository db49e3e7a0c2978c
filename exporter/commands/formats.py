"""The nodes for other programs: as JSON, and as CSV that is safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from exporter.contract import NODE_METRICS
from exporter.escaping import cell, printable_json
from exporter.snapshot.rows import Row

KEYS: Final = (
    "node_id",
    "state",
    *(metric.json for metric in NODE_METRICS if metric.json),
    "heartbeat_age_seconds",
    "offline_since",
    "offline_since_exact",
    "events_per_second",
    "undecided_because",
    "undecided_until",
)
"""The keys of ``/api/v1/nodes``, and the keys that are calculated from them."""


def json_of(rows: Iterable[Row]) -> str:
    """Return the same JSON as ``/api/v1/nodes``, with the calculated keys added."""
    nodes = [{key: row.get(key) for key in KEYS} for row in rows]
    return printable_json({"redis_up": True, "nodes": nodes})


def csv_of(rows: Iterable[Row]) -> str:
    """Return a line of headings and a line for each node (RFC 4180, but lines end as in Unix).

    The cell of an unknown value is empty.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(KEYS)
    writer.writerows(_cells(row) for row in rows)
    return output.getvalue().rstrip("\n")


def _cells(row: Row) -> Sequence[object]:
    values = (row.get(key) for key in KEYS)
    return [cell(value) if isinstance(value, str) else value for value in values]
