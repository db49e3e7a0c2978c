"""The status page: a table of all nodes, in one HTML document that loads nothing else.

The page's script refreshes the table with ``rows_json``. Page and script show the same texts, made by
``exporter.snapshot.rows``. Only events per second are formatted by the script: they come from two refreshes.
"""

import heapq
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from tornado.template import Loader

from exporter import __repository__, __version__
from exporter.escaping import printable
from exporter.journal.situation import undecided
from exporter.liveness.judge import State
from exporter.liveness.offline import OfflineSince, unknown
from exporter.settings import Settings
from exporter.snapshot.rows import COLUMNS, Row, age, moment, offline_first, with_ages
from exporter.snapshot.snapshot import COUNTED, EXPORTED, Snapshot
from exporter.web.node_list import MOST_NODES, rows_in_parts
from exporter.web.page_parts import content_policy, source
from exporter.web.palette import style
from exporter.web.portfolio_section import portfolio_section
from exporter.web.precedence import Pause


class PushStatus(Protocol):
    """What the page shows of the push."""

    def pushed(self) -> Sequence[Mapping[str, Any]]:
        """Return the alerts that are being pushed: the ``labels`` of each, and the Unix time ``since``."""

    def refusals(self) -> Sequence[str]:
        """Return a sentence for each Alertmanager that takes no posts."""


TROUBLE: Final = "Redis cannot be read, so nothing is known of the nodes."
"""What a reader must know if there is no snapshot, and the cause is unknown."""
MOST_ROWS: Final = 1000
"""Maximum number of rows that are shown: a browser is slow with more. The filter finds the others."""
README: Final = f"{__repository__}#readme"
_HERE: Final = Path(__file__).parent
_COLUMNS: Final = tuple(column for column in COLUMNS if column.name != "events")
"""The columns of the page: events per second stand for events."""


def _no_pause() -> None:
    """Let nobody go first."""


_STYLE: Final = style() + source("status.css")
_SCRIPT: Final = source("status.js")
HEADERS: Final = {
    # The page holds its style and script. The policy names their hashes, so the browser runs no other script.
    "Content-Security-Policy": content_policy(_STYLE, _SCRIPT),
    "Referrer-Policy": "no-referrer",
}
_TEMPLATE: Final = Loader(str(_HERE / "templates"), autoescape="xhtml_escape").load("status.html")


def render(  # noqa: PLR0913 - what the page shows
    snapshot: Snapshot | None,
    settings: Settings,
    pushed: Sequence[Mapping[str, Any]] | None,
    offline_since: OfflineSince = unknown,
    clock: Callable[[], float] = time.time,
    *,
    refusals: Sequence[str] = (),
    trouble: str = TROUBLE,
    notice: str = "",
    events: bytes = b"",
    pause: Pause = _no_pause,
) -> bytes:
    """Return the page.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        settings: The exporter's settings.
        pushed: The alerts that are being pushed; None if push is off.
        offline_since: Knows since when a node is offline, and why it is undecided.
        clock: Returns Unix time. It is used when there is no snapshot.
        refusals: A sentence for each Alertmanager that takes no posts.
        trouble: What a reader must know if there is no snapshot.
        notice: What a reader must know of Redis beside the snapshot; empty if there is nothing.
        events: The section on what changed last, as HTML; empty without one.
        pause: See ``Pause``.
    """
    ttl, now = settings.heartbeat.ttl, snapshot.wall if snapshot else clock()
    rows = _rows(snapshot, ttl, offline_since, MOST_ROWS, pause)
    counts = snapshot.counts if snapshot else dict.fromkeys(COUNTED, 0)
    namespaces: list[dict[str, Any]] = []
    page = _TEMPLATE.generate(
        namespaces=namespaces,
        columns=_COLUMNS,
        rows=[(row, _texts(row)) for row in rows],
        more=sum(counts[state] for state in EXPORTED) - MOST_ROWS,
        most_rows=MOST_ROWS,
        counts=counts,
        states=(State.ONLINE, State.OFFLINE, State.UNDECIDED),
        redis_up=snapshot is not None,
        ttl=ttl,
        now=f"{moment(now)} UTC",
        pushed=None if pushed is None else [_alert(alert, now) for alert in pushed],
        metrics_path=settings.web.telemetry_path.removeprefix("/"),
        readme=README,
        version=__version__,
        style=_STYLE,
        script=_SCRIPT,
        refusals=refusals,
        trouble=trouble,
        notices=_notices(notice, rows),
        events=events,
        portfolios=portfolio_section(snapshot, everything=False, pause=pause),
    )
    # tornado makes a function for each page. The function and its namespace refer to each other, so each page would
    # stay in memory until the garbage collector runs. The template puts its namespace into the list.
    for namespace in namespaces:
        namespace.clear()
    return page


def rows_json(  # noqa: PLR0913 - what the table shows
    snapshot: Snapshot | None,
    ttl: float,
    offline_since: OfflineSince = unknown,
    clock: Callable[[], float] = time.time,
    *,
    pause: Pause = _no_pause,
    trouble: str = TROUBLE,
    notice: str = "",
    events: bytes = b"",
) -> bytes:
    """Return the rows of the page's table as JSON, offline nodes first, and ``MOST_NODES`` at most.

    Each node has the keys of ``/api/v1/nodes``, its heartbeat's age, and ``texts``: the text of each column.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        ttl: Seconds that a heartbeat lives.
        offline_since: Knows since when a node is offline, and why it is undecided.
        clock: Returns Unix time. It is used when there is no snapshot.
        pause: See ``Pause``.
        trouble: What a reader must know if there is no snapshot.
        notice: What a reader must know of Redis beside the snapshot; empty if there is nothing.
        events: The section on what changed last, as HTML.
    """
    rows = _rows(snapshot, ttl, offline_since, MOST_NODES, pause)
    answer = {
        "redis_up": snapshot is not None,
        "trouble": "" if snapshot else trouble,
        "notices": _notices(notice, rows),
        "events": events.decode(),
        "read": f"{moment(snapshot.wall if snapshot else clock())} UTC",
        "nodes": [row | {"texts": _texts(row)} for row in rows],
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _rows(snapshot: Snapshot | None, ttl: float, offline_since: OfflineSince, most: int, pause: Pause) -> list[Row]:
    if snapshot is None:
        return []
    rows = (with_ages(row, ttl, snapshot.wall) for row in rows_in_parts(snapshot, offline_since, pause))
    return heapq.nsmallest(most, rows, key=offline_first)


def _notices(notice: str, rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know of Redis and of undecided nodes, a text for each cause."""
    return [*([notice] if notice else []), *undecided(rows)]


def _texts(row: Row) -> list[str]:
    return [column.text(row) for column in _COLUMNS]


def _alert(alert: Mapping[str, Any], now: float) -> dict[str, str]:
    labels = {name: printable(value) for name, value in alert["labels"].items()}
    name = labels.pop("alertname", "")
    node_id = alert["labels"].get("node_id")
    return {
        "name": name,
        "runbook": f"./runbooks/{quote(name)}" + (f"?node_id={quote(node_id, safe='')}" if node_id else ""),
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "since": age(max(0.0, now - alert["since"])),
    }
