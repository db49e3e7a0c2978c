"""All nodes as JSON: ``/api/v1/nodes`` with its filter, its order and its pages."""

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from exporter.contract import NODE_METRICS, STATUS
from exporter.liveness.offline import OfflineSince
from exporter.snapshot.rows import Row, rows_of
from exporter.snapshot.snapshot import EXPORTED, Snapshot
from exporter.web.json_list import (
    Arguments,
    decode_cursor,
    encode_cursor,
    last_values,
    limit_in,
    list_body,
    state_in,
)
from exporter.web.precedence import Pause

MOST_NODES: Final = 25_000
"""Nodes in one answer. A larger fleet is given in pages."""

_TEXTS: Final = ("node_id", "state", "status")
_SORT_KEYS: Final = (
    *("node_id", "state", "status", "offline_since"),
    *(metric.json for metric in NODE_METRICS if metric.json and metric is not STATUS),
)

Key = tuple[bool, Any, Any]
"""What nodes are sorted by: whether the value is unknown, the value, the id."""


@dataclass(frozen=True, slots=True)
class NodeQuery:
    """What a request asks for.

    Attributes:
        state: Nodes in this state only; all if it is None.
        sort: The JSON key whose value nodes are sorted by. A node without a value comes last.
        descending: Whether larger values come first.
        limit: Nodes on one page; None for all, ``MOST_NODES`` at most.
        after: The key after which the page begins; None for the first page.
    """

    state: str | None = None
    sort: str = "node_id"
    descending: bool = False
    limit: int | None = None
    after: tuple[bool, Any, str] | None = None

    @classmethod
    def of(cls, arguments: Arguments) -> "NodeQuery":
        """Return what the arguments of a URL ask for; arguments that are not known are ignored.

        Raises:
            ValueError: An argument is invalid; the text says which, and holds nothing of its value.
        """
        given = last_values(arguments)
        state = state_in(given, EXPORTED)
        order = given.get("sort") or "node_id"
        sort, descending = order.removeprefix("-"), order.startswith("-")
        if sort not in _SORT_KEYS:
            raise ValueError(f"sort: must be one of {', '.join(_SORT_KEYS)}, or one of them after a -")
        limit = limit_in(given, MOST_NODES, "nodes")
        cursor = given.get("cursor") or None
        return cls(
            state=state,
            sort=sort,
            descending=descending,
            limit=limit,
            after=None if cursor is None else _decoded(cursor, text=sort in _TEXTS),
        )

    def key(self, row: Row) -> Key:
        """Return what a node is sorted by."""
        return self._key(row[self.sort], row["node_id"])

    @property
    def first_key(self) -> Key | None:
        """The key after which the page begins."""
        return None if self.after is None else self._key(None if self.after[0] else self.after[1], self.after[2])

    def cursor(self, row: Row) -> str:
        """Return the cursor of the page that begins after a node."""
        value = row[self.sort]
        return encode_cursor(json.dumps([value is None, value, row["node_id"]]).encode())

    def _key(self, value: Any, node_id: str) -> Key:
        if value is None:
            return True, 0, node_id
        if not self.descending:
            return False, value, node_id
        return False, _Backwards(value) if isinstance(value, str) else -value, node_id


@dataclass(frozen=True, slots=True)
class _Backwards:
    """A text that is sorted the other way round."""

    text: str

    def __lt__(self, other: "_Backwards") -> bool:
        return other.text < self.text

    def __gt__(self, other: "_Backwards") -> bool:
        return other.text > self.text


def nodes_json(
    snapshot: Snapshot | None, offline_since: OfflineSince, query: NodeQuery, pause: Pause, trouble: str = ""
) -> list[bytes]:
    """Return the pieces of ``{"redis_up": …, "nodes": […]}``.

    With a limit, and if there are more than ``MOST_NODES``, ``next`` follows: the cursor of the next page,
    or null.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        offline_since: Knows since when a node is offline, and why it is undecided.
        query: What is asked for.
        pause: See ``Pause``.
        trouble: Why Redis could not be read, in sentences; used without a snapshot.
    """
    limit = query.limit or MOST_NODES
    page = list(islice(_page(snapshot, offline_since, query, limit + 1, pause), limit + 1)) if snapshot else []
    more, page = len(page) > limit, page[:limit]
    texts, cursor = (text for text, _ in page), page[-1][1] if more else None
    return list_body("nodes", texts, cursor, trouble=None if snapshot else trouble, paged=query.limit is not None)


def _page(
    snapshot: Snapshot, offline_since: OfflineSince, query: NodeQuery, count: int, pause: Pause
) -> Iterator[tuple[bytes, str]]:
    """Yield each node of a page as JSON, with the cursor of what follows it."""
    first = query.first_key
    rows = (
        row
        for row in rows_in_parts(snapshot, offline_since, pause)
        if (query.state is None or row["state"] == query.state) and (first is None or query.key(row) > first)
    )
    if query.sort != "node_id" or query.descending:
        # The texts are kept, and not the rows: these would take four times the memory.
        best = heapq.nsmallest(count, ((query.key(row), _text(row), query.cursor(row)) for row in rows))
        return ((text, cursor) for _, text, cursor in best)
    return ((_text(row), query.cursor(row)) for row in rows)


def rows_in_parts(snapshot: Snapshot, offline_since: OfflineSince, pause: Pause) -> Iterator[Row]:
    """Yield each node of a snapshot, sorted by id; only the rows of one part are in memory."""
    for part in snapshot.parts:
        pause()
        yield from rows_of(replace(snapshot, parts=(part,)), offline_since)


def _text(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(cursor: str, *, text: bool) -> tuple[bool, Any, str]:
    try:
        unknown, value, node_id = json.loads(decode_cursor(cursor))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("cursor: must be the `next` of the page before") from None
    kinds = (str,) if text else (int, float)
    if type(unknown) is not bool or not isinstance(node_id, str) or not (unknown or isinstance(value, kinds)):
        raise ValueError("cursor: must be the `next` of the page before, with the same sort")
    return unknown, value, node_id
