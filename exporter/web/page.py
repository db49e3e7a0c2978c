"""The status page: all nodes for people, in one answer without outside parts."""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tornado.template import Loader

from exporter import __version__
from exporter.escaping import printable
from exporter.liveness.judge import State
from exporter.liveness.offline import OfflineSince, unknown
from exporter.settings import Settings
from exporter.snapshot.rows import COLUMNS, age, count_states, moment, offline_first, rows_of, with_ages
from exporter.snapshot.snapshot import Snapshot

Pushed = Callable[[], Sequence[Mapping[str, Any]]]
"""Returns the alerts that are being pushed: the ``labels`` of each, and the Unix time ``since``."""

MOST_ROWS: Final = 1000
"""Rows that are shown; more would neither be read nor be swift. The filter finds the others."""
README: Final = "https://github.com/ginkgo-trading/ginkgo-exporter#readme"
_HERE: Final = Path(__file__).parent
_LEFT_OUT: Final = ("events",)


def _source(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_STYLE: Final = _source("status.css")
_SCRIPT: Final = _source("status.js")
HEADERS: Final = {
    # Style and script stand in the page, named by their hashes: there is nothing else that could run.
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)};"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_TEMPLATE: Final = Loader(str(_HERE / "templates"), autoescape="xhtml_escape").load("status.html")


def render(
    snapshot: Snapshot | None,
    settings: Settings,
    pushed: Sequence[Mapping[str, Any]] | None,
    offline_since: OfflineSince = unknown,
) -> bytes:
    """Return the page.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        settings: Those that the exporter runs with.
        pushed: The alerts that are being pushed; None if push is off.
        offline_since: Returns since when a node is offline.
    """
    ttl, now = settings.heartbeat.ttl, snapshot.wall if snapshot else time.time()
    rows = [with_ages(row, ttl, now) for row in rows_of(snapshot, offline_since)] if snapshot else []
    rows.sort(key=offline_first)
    return _TEMPLATE.generate(
        columns=[column for column in COLUMNS if column.name not in _LEFT_OUT],
        rows=rows[:MOST_ROWS],
        more=len(rows) - MOST_ROWS,
        most_rows=MOST_ROWS,
        counts=count_states(rows),
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
    )


def _alert(alert: Mapping[str, Any], now: float) -> dict[str, str]:
    labels = {name: printable(value) for name, value in alert["labels"].items()}
    name = labels.pop("alertname", "")
    return {
        "name": name,
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "since": age(max(0.0, now - alert["since"])),
    }
