"""The status page: what is pushed, portfolios at fault, a table of nodes, and what changed last.

It is one HTML document that loads nothing else. Filters, order and texts are the exporter's; the page's script only
asks for the page again, and changes what is different in its main part. So the page works without its script too.
"""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from tornado.template import Loader

from exporter.contract import EVENTS
from exporter.fleet import Fleet
from exporter.journal.event import Query, first, undecided
from exporter.journal.journal import STALLED_AFTER
from exporter.liveness import State
from exporter.snapshot.rows import (
    COLUMNS,
    NODE_KEYS,
    Column,
    count,
    duration,
    offline_first,
    portfolio_row,
    rows_of,
)
from exporter.snapshot.snapshot import COUNTED, EXPORTED, Snapshot
from exporter.web.api import Arguments, Listing, listing, portfolio_trouble, refusal, trouble
from exporter.web.palette import style

if TYPE_CHECKING:
    from exporter.push.bridge import Bridge

MOST_ROWS: Final = 500
"""Rows that are shown: a browser is slow with more. The filter finds the others."""
MOST_EVENTS: Final = 20
"""Events that are shown."""
_COLUMNS: Final = tuple(column for column in COLUMNS if column.name != "events")
"""The columns of the page: events per second stand for events."""
_HERE: Final = Path(__file__).parent
_LOADER: Final = Loader(str(_HERE / "templates"), autoescape="xhtml_escape")


def source(name: str) -> str:
    """Return a style sheet or a script."""
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def headers(style_sheet: str, script: str = "") -> Mapping[str, str]:
    """Return the headers of a page: a browser runs and loads nothing beside this style and script.

    Args:
        style_sheet: The page's style.
        script: The page's script; empty for none.
    """
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style_sheet, script)]
    run = f" script-src 'sha256-{hashes[1]}'; connect-src 'self';" if script else ""
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}';{run}"
        " img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
    }


def generate(template: str, **values: Any) -> bytes:
    """Return a template with its values filled in."""
    namespaces: list[dict[str, Any]] = []
    page: bytes = _LOADER.load(template).generate(namespaces=namespaces, **values)
    # tornado makes a function for each page. The function and its namespace refer to each other, so each page would
    # stay in memory until the garbage collector runs. The template puts its namespace into the list.
    for namespace in namespaces:
        namespace.clear()
    return page


def _grid(columns: Sequence[Column]) -> str:
    """Return the widths of the columns in CSS."""
    least = [8.2 if each.wide else max(5.0 if each.number else 6.2, 1.4 + 0.53 * len(each.title)) for each in columns]
    tracks = " ".join(f"minmax({rem}rem,{rem}fr)" for rem in least)
    return f"#nodes{{min-width:{sum(least)}rem}}\n#nodes tr{{grid-template-columns:{tracks}}}\n"


_STYLE: Final = style() + source("status.css") + _grid(_COLUMNS)
_SCRIPT: Final = source("status.js")
HEADERS: Final = headers(_STYLE, _SCRIPT)


def query_of(arguments: Arguments) -> Listing:
    """Return which nodes the arguments of a URL ask for, and in which order; offline nodes come first without one.

    Raises:
        ValueError: An argument is invalid.
    """
    return listing(arguments, NODE_KEYS, EXPORTED)._replace(limit=MOST_ROWS, skip=0)


def render(snapshot: Snapshot | None, fleet: Fleet, push: "Bridge | None", query: Listing) -> bytes:
    """Return the page.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        fleet: The fleet.
        push: What is being pushed; None if push is off.
        query: Which nodes are asked for.
    """
    settings, account = fleet.settings, snapshot.account if snapshot else None
    counts = snapshot.counts if snapshot else dict.fromkeys(COUNTED, 0)
    refused = refusal(fleet)
    redis = _redis(snapshot, refused)
    title = f"{counts[State.OFFLINE]} offline, {counts[State.ONLINE]} online" if snapshot else redis[1]
    rows = rows_of(snapshot, query.wants) if snapshot else ()
    matching = sum(map(query.wants, snapshot.ids, snapshot.states)) if snapshot else 0
    return generate(
        "status.html",
        query=query,
        columns=[(column, *_heading(column, query)) for column in _COLUMNS],
        rows=[
            (row, [column.text(row) for column in _COLUMNS])
            for row in query.picked(rows, query.order if query.sort else offline_first)[:MOST_ROWS]
        ],
        most=MOST_ROWS,
        matching=matching,
        counts=counts,
        states=EXPORTED,
        title=f"{title} · ginkgo-exporter",
        redis=redis,
        redis_up=snapshot is not None,
        trouble="" if snapshot else trouble(fleet),
        notices=[*filter(None, [refused]), *(troubles(snapshot) if snapshot else ())],
        push=push,
        alertmanagers=settings.alertmanager.url,
        account=account,
        abnormal=[portfolio_row(each, account) for each in account.ledger.abnormal.values()] if account else [],
        journal=fleet.journal,
        recent=fleet.journal.page(Query(), MOST_EVENTS),
        now=snapshot.wall if snapshot else time.time(),
        metrics_path=settings.web.telemetry_path.removeprefix("/"),
        style=_STYLE,
        script=_SCRIPT,
    )


def _redis(snapshot: Snapshot | None, refused: str) -> tuple[str, str]:
    """Return the class and the words of the state of Redis."""
    if snapshot is None:
        return "down", "Redis cannot be read"
    if refused:
        return "refuses", "Redis answers, and refuses writes"
    if not snapshot.complete:
        return "refuses", "A part of Redis cannot be read"
    return "up", "Redis answers"


def _heading(column: Column, query: Listing) -> tuple[str, str]:
    """Return how the table is sorted by a column, and where its heading leads.

    The first click sorts upwards, the second downwards, the third puts offline nodes first again.
    """
    downwards = f"-{column.key}"
    sorted_by = {column.key: "ascending", downwards: "descending"}.get(query.sort, "")
    following = {column.key: downwards, downwards: ""}.get(query.sort, column.key)
    return sorted_by, "?" + urlencode({"filter": query.text, "state": query.state, "sort": following})


def troubles(snapshot: Snapshot) -> list[str]:
    """Return sentences on unread portfolios, on undecided, dropping and deaf nodes, and on a scheduler that stalled."""
    before, events = snapshot.recent.of(EVENTS), snapshot.texts(EVENTS)
    still = {name for name, text in zip(snapshot.ids, events, strict=True) if text and before.get(name) == text}
    if 2 * len(still) >= len(events):
        still.clear()
    named = still.union(snapshot.dropping)
    rows = list(rows_of(snapshot, lambda name, state: state is State.UNDECIDED or name in named))
    said = undecided(rows)
    if snapshot.problem:
        said.append(portfolio_trouble(snapshot))
    if rises := {row["node_id"]: row["dropped_recently"] for row in rows if row["dropped_recently"]}:
        names = sorted(rises, key=rises.__getitem__, reverse=True)
        said.append(f"{_nodes(names)} dropped {count(sum(rises.values()))} events in the last five minutes.")
    unfed = (row for row in rows if row["node_id"] in still and row["events_per_second"] == 0)
    if deaf := [row["node_id"] for row in unfed if row["portfolios"] and row["status"] != "PAUSED"]:
        said.append(f"{_nodes(deaf)} took no event in the last minute, while most other nodes did.")
    if snapshot.account and (idle := snapshot.account.idle or 0.0) > STALLED_AFTER:
        said.append(
            f"The scheduler has not looked at the plan for {duration(idle)}: it moves the portfolios of no dead node."
        )
    return said


def _nodes(names: Sequence[str]) -> str:
    return f"{len(names)} nodes ({first(names)})" if len(names) > 1 else f"Node {first(names)}"
