"""The status page: what is pushed, portfolios at fault, a table of nodes, and what changed last.

It is one HTML document that loads nothing else. Filters, order and texts are the exporter's; the page's script only
asks for the main part again, and changes what is different in it. So the page works without its script too.
"""

import base64
import hashlib
import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode, urlsplit

from tornado.template import Loader

from exporter import __repository__, __version__
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import Query
from exporter.journal.journal import Journal
from exporter.journal.sentences import at, headline, reasons, shown, undecided
from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.rows import (
    COLUMNS,
    NODE_KEYS,
    NOT_KNOWN,
    Column,
    Row,
    count,
    fault_order,
    moment,
    offline_first,
    portfolio_row,
    rows_of,
)
from exporter.snapshot.snapshot import COUNTED, EXPORTED, Snapshot
from exporter.web.api import Arguments, Listing, listing, refusal, trouble
from exporter.web.palette import style


class PushStatus(Protocol):
    """What the page shows of the push."""

    def pushed(self) -> Sequence[Mapping[str, Any]]:
        """Return the alerts that are being pushed: the ``labels`` of each, and the Unix time ``since``."""

    def refusals(self) -> Sequence[str]:
        """Return a sentence for each Alertmanager that takes no posts."""


MOST_ROWS: Final = 500
"""Rows that are shown: a browser is slow with more. The filter finds the others."""
MOST_EVENTS: Final = 20
"""Events that are shown."""
_FIRST: Final = 5
"""Nodes that a notice names."""
README: Final = f"{__repository__}#readme"
PORTFOLIO_TITLES: Final = ("State", "Portfolio", "Reason", "Positions", "Planned on", "Loaded on", "Listed by", "Since")
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
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


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
    """Return the widths of the columns in CSS. A number needs little more room than its heading."""
    shortest = {True: 4.8, False: 6.2}
    least = [8.5 if each.wide else max(shortest[each.number], 1.5 + 0.6 * len(each.title)) for each in columns]
    tracks = (f"minmax({rem}rem,1fr)" if each.wide else f"{rem}rem" for each, rem in zip(columns, least, strict=True))
    return f"#nodes{{min-width:{sum(least)}rem}}\n#nodes tr{{grid-template-columns:{' '.join(tracks)}}}\n"


_STYLE: Final = style() + source("status.css") + _grid(_COLUMNS)
_SCRIPT: Final = source("status.js")
HEADERS: Final = headers(_STYLE, _SCRIPT)


class View(NamedTuple):
    """What a request asks for of the page.

    Attributes:
        nodes: Which nodes, and in which order; offline nodes first without one.
        main_only: Whether only the main part is wanted.
    """

    nodes: Listing
    main_only: bool

    def link(self, **changed: str) -> str:
        """Return the query of this page with some arguments changed; an empty one is left out."""
        arguments = {
            "filter": self.nodes.text,
            "state": self.nodes.state,
            "sort": f"{'-' if self.nodes.descending else ''}{self.nodes.sort}",
        }
        return "?" + urlencode({name: value for name, value in (arguments | changed).items() if value})


def view_of(arguments: Arguments) -> View:
    """Return what the arguments of a URL ask for; arguments that are not known are ignored.

    Raises:
        ValueError: An argument is invalid.
    """
    nodes = listing(arguments, NODE_KEYS, EXPORTED)._replace(limit=MOST_ROWS, skip=0)
    return View(nodes, b"main" in arguments.get("part", ()))


def render(snapshot: Snapshot | None, fleet: Fleet, push: PushStatus | None, view: View) -> bytes:
    """Return the page, or its main part.

    Args:
        snapshot: The nodes; None if Redis could not be read.
        fleet: The fleet.
        push: What is being pushed; None if push is off.
        view: What is asked for.
    """
    settings, now_view = fleet.settings, fleet.view()
    now = snapshot.wall if snapshot else time.time()
    rows, matching = _rows(snapshot, view.nodes)
    counts = snapshot.counts if snapshot else dict.fromkeys(COUNTED, 0)
    refused = refusal(now_view)
    redis = _redis(snapshot, refused)
    title = f"{counts[State.OFFLINE]} offline, {counts[State.ONLINE]} online" if snapshot else redis[1]
    return generate(
        "main.html" if view.main_only else "status.html",
        view=view,
        columns=[(column, *_heading(column, view)) for column in _COLUMNS],
        rows=[(row, [column.text(row) for column in _COLUMNS]) for row in rows],
        more=matching - len(rows),
        matching=matching if view.nodes.state or view.nodes.text else None,
        counts=counts,
        states=(State.ONLINE, State.OFFLINE, State.UNDECIDED),
        title=f"{title} · ginkgo-exporter",
        redis=redis,
        redis_up=snapshot is not None,
        trouble="" if snapshot else trouble(fleet),
        notices=[*([refused] if refused else []), *_notices(snapshot)],
        alerts=None if push is None else [_alert(alert) for alert in push.pushed()[:MOST_ROWS]],
        refusals=push.refusals() if push else (),
        alertmanagers=[url for url in settings.alertmanager.url if not urlsplit(url).username],
        portfolios=_portfolios(snapshot),
        events=_events(fleet.journal),
        now=f"{moment(now)} UTC",
        metrics_path=settings.web.telemetry_path.removeprefix("/"),
        readme=README,
        version=__version__,
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


def _rows(snapshot: Snapshot | None, query: Listing) -> tuple[list[Row], int]:
    """Return the rows that are shown, and how many match."""
    matching = 0

    def counted() -> Iterator[Row]:
        nonlocal matching
        for row in rows_of(snapshot, query.wants) if snapshot else ():
            matching += 1
            yield row

    return query.picked(counted(), query.order if query.sort else offline_first)[:MOST_ROWS], matching


def _heading(column: Column, view: View) -> tuple[str, str]:
    """Return how the table is sorted by a column, and where its heading leads.

    The first click sorts upwards, the second downwards, the third puts offline nodes first again.
    """
    if view.nodes.sort != column.key:
        return "", view.link(sort=column.key)
    if view.nodes.descending:
        return "descending", view.link(sort="")
    return "ascending", view.link(sort=f"-{column.key}")


def _notices(snapshot: Snapshot | None) -> list[str]:
    """Return what a reader must know of the nodes: those that are undecided, and those that drop events."""
    if snapshot is None:
        return []
    return [*undecided(rows_of(snapshot, lambda _, state: state is State.UNDECIDED)), *dropping(snapshot)]


def dropping(snapshot: Snapshot) -> list[str]:
    """Return sentences on the nodes that dropped events in the last five minutes."""
    names = {raw: name for raw, name in zip(snapshot.raw_ids, snapshot.ids, strict=True) if raw in snapshot.rising}
    found = [(names[raw], rise.dropped) for raw, rise in snapshot.rising.items() if raw in names and rise.dropped]
    found.sort(key=lambda pair: -pair[1].rise)
    said = [
        f"Node {shown(name)} drops events: {count(burst.rise)} since {at(burst.since)}."
        for name, burst in found[:_FIRST]
    ]
    left = found[_FIRST:]
    if left:
        said.append(f"{len(left)} more nodes drop events: {count(sum(burst.rise for _, burst in left))} in all.")
    return said


def _portfolios(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Return what the section on portfolios shows: those that are not traded; None without plan and lists."""
    if snapshot is None or snapshot.account is None:
        return None
    account = snapshot.account
    ledger = account.ledger
    found = [portfolio_row(each, account) for each in ledger.abnormal.values()]
    rows = heapq.nsmallest(MOST_ROWS, found, key=fault_order)
    always = (PortfolioState.TRADED, PortfolioState.UNTRADED)
    return {
        "counts": [
            (str(each), ledger.counts[each]) for each in PortfolioState if each in always or ledger.counts[each]
        ],
        "positions": count(account.untraded_positions),
        "titles": PORTFOLIO_TITLES,
        "rows": [(row["state"], _cells(row)) for row in rows],
        "more": len(found) - len(rows),
    }


def _cells(row: Row) -> list[str]:
    return [
        row["state"],
        printable(row["portfolio_id"]),
        (row["reason"] or "").replace("_", " "),
        NOT_KNOWN if row["positions"] is None else count(row["positions"]),
        printable(row["planned_node"] or ""),
        printable(", ".join(row["loaded_nodes"])),
        printable(", ".join(row["listed_nodes"])),
        NOT_KNOWN if row["since"] is None else moment(row["since"]),
    ]


def _events(journal: Journal) -> dict[str, Any]:
    """Return what the section on what changed last shows."""
    page = journal.page(Query(), MOST_EVENTS)
    return {
        "problem": printable(journal.problem),
        "rows": [
            (event.id, f"{moment(event.time)} UTC", event.kind.value, headline(event), reasons(event))
            for event in page.events
        ],
        "more": page.next is not None,
    }


def _alert(alert: Mapping[str, Any]) -> dict[str, str]:
    labels = {name: printable(value) for name, value in alert["labels"].items()}
    name = labels.pop("alertname", "")
    node_id = alert["labels"].get("node_id")
    return {
        "name": name,
        "runbook": f"./runbooks/{quote(name)}" + (f"?node_id={quote(node_id, safe='')}" if node_id else ""),
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(labels.items())),
    }
