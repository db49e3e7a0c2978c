"""``ginkgo-exporter explain``: tells what happened to a node, a portfolio or an alert, and why it was judged so."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from exporter.bundled import alert_severities
from exporter.commands.asking import NODES, PORTFOLIOS, RedisItself, RunningExporter, asking
from exporter.commands.command_line import Finding, say
from exporter.errors import ExporterError, SourceError
from exporter.journal import now
from exporter.journal.event import Event, EventKind
from exporter.journal.sentences import at, headline, kinds_behind, reasons, shown
from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Settings
from exporter.snapshot.rows import Row

_MOST: Final = 50
"""Events that are told."""
_NOT_POSTED: Final = "No Alertmanager has taken it from this exporter. Prometheus's rules may page."
_NO_PAGE: Final = {
    "online": "No page: it is online.",
    "undecided": "No page: it is not decided that it is dead. A page follows if it has its time to beat and does not.",
    "gone": "No page: a node that stops gracefully deletes its keys, and is not dead.",
    "forgotten": "No page any more: the node is forgotten (--nodes.forget-after, --nodes.forget-rehomed-after).",
}


class Facts(NamedTuple):
    """What is known.

    Attributes:
        source: The exporter or the Redis that was asked.
        rows: What is now: the rows of all nodes and of all portfolios by their ids; empty if Redis cannot be read.
        trouble: Why nothing is known of now, or of what was before; empty if both are known.
    """

    source: RunningExporter | RedisItself
    rows: Mapping[EventKind, Mapping[str, Row]]
    trouble: str

    def events(self, limit: int = _MOST, subject: str = "", kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the newest events, the oldest of them first; none if Redis alone was asked."""
        return [] if isinstance(self.source, RedisItself) else self.source.events(limit, subject, kinds)

    def runbook(self, alert: str) -> str:
        """Return where to read what to do."""
        runbooks = self.source.runbooks
        return f"What to do: {runbooks}/{alert}" if runbooks else f"See the runbook of {alert}."

    def money(self) -> str:
        """Return the money at risk in all portfolios."""
        rows = self.rows.get(EventKind.PORTFOLIO)
        return "" if rows is None else " ".join(now.of_portfolios([*rows.values()])) or "No portfolio is untraded now."


class Explanation(NamedTuple):
    """What is said of one subject.

    Attributes:
        known: What is known of it now.
        events: What was seen, the oldest event first.
        page: What became of its page, sentence by sentence.
        subject: Its id; None for all that happened.
    """

    known: Finding
    events: Sequence[Event]
    page: Sequence[str] = ()
    subject: str | None = None

    def say(self) -> None:
        """Print the explanation."""
        for sentence in self.known.sentences:
            say(sentence)
        say("")
        say("What was seen, the oldest first:" if self.events else "No event is known of it.")
        for event in self.events:
            of = self.subject if self.subject in event.subjects and event.kind is not EventKind.PUSH else None
            say(f"{at(event.time)}  {headline(event, of)}", indent=2)
            for sentence in reasons(event, of):
                say(sentence, indent=4)
        if self.page:
            say("")
            say("Its page:")
            for sentence in self.page:
                say(sentence, indent=2)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the explanation and return 0.

    Raises:
        ExporterError: Nothing can be explained; one line that says why.
    """
    options = vars(arguments)
    with asking(settings, options["exporter.url"]) as source:
        _explained(_facts(source), options["subject"]).say()
    return 0


def _facts(source: RunningExporter | RedisItself) -> Facts:
    rows, trouble = {}, ""
    try:
        rows[EventKind.NODE] = {row["node_id"]: row for row in source.rows(NODES)}
        rows[EventKind.PORTFOLIO] = {row["portfolio_id"]: row for row in source.rows(PORTFOLIOS)}
    except SourceError as error:
        if isinstance(source, RedisItself):
            raise
        trouble = f"{str(error).rstrip('.')}."
    if isinstance(source, RedisItself):
        trouble = (
            "Redis alone was asked: it does not know what happened before. A running exporter does: --exporter.url."
        )
    return Facts(source, rows, trouble)


def _explained(facts: Facts, subject: str | None) -> Explanation:
    """Return the explanation of a node, a portfolio or an alert, or of all that happened last."""
    if subject is None:
        fact = f"These are the last events that {facts.source.place} knows."
        return Explanation(Finding(fact, facts.money(), facts.trouble), facts.events())
    names = {kind: set(facts.rows.get(kind, ())) for kind in (EventKind.NODE, EventKind.PORTFOLIO)}
    for event in facts.events(1000, kinds=names):
        names[event.kind].update(event.subjects)
    found = {
        kind: name for kind in names for name in (subject.removeprefix(f"{kind}:"), subject) if name in names[kind]
    }
    if len(found) > 1:
        raise ExporterError(f"{shown(subject)} is a node and a portfolio: ask for node:… or portfolio:…")
    if EventKind.NODE in found:
        return _of_node(facts, found[EventKind.NODE])
    if EventKind.PORTFOLIO in found:
        return _of_portfolio(facts, found[EventKind.PORTFOLIO])
    if subject in alert_severities():
        return _of_alert(facts, subject)
    near = get_close_matches(subject, sorted(set().union(*names.values(), alert_severities())), 3, 0.5)
    hint = f"; the nearest known names are {', '.join(map(shown, near))}" if near else ""
    raise ExporterError(f"nothing is known of {shown(subject)}{hint}")


def _of_node(facts: Facts, node: str) -> Explanation:
    own = facts.events(subject=node, kinds=(EventKind.NODE, EventKind.MASS_LOSS, EventKind.PUSH))
    known = _last(facts, own, node)
    if row := facts.rows.get(EventKind.NODE, {}).get(node):
        fact, *others = now.of_node(row, facts.rows[EventKind.PORTFOLIO].values())
        drops = row.get("dropped_recently")
        remedy = facts.runbook("GinkgoEventsDropped" if drops else "GinkgoNodeOffline")
        known = Finding(fact, " ".join(others), remedy if drops or row["state"] != State.ONLINE else "")
    return Explanation(known, own, _page(node, own), node)


def _of_portfolio(facts: Facts, portfolio: str) -> Explanation:
    own = facts.events(subject=portfolio, kinds=(EventKind.PORTFOLIO,))
    known = _last(facts, own, portfolio)
    if row := facts.rows.get(EventKind.PORTFOLIO, {}).get(portfolio):
        untraded = row["state"] == PortfolioState.UNTRADED
        known = Finding(now.of_portfolio(row), "", facts.runbook("GinkgoPortfoliosUntraded") if untraded else "")
    return Explanation(known, own, (), portfolio)


def _of_alert(facts: Facts, alert: str) -> Explanation:
    own = facts.events(subject=alert, kinds=(EventKind.PUSH,))
    fact = f"Alert {alert}: {_NOT_POSTED}"
    if own:
        fact = f"The last that is known of the alert {alert}, at {at(own[-1].time)}: {headline(own[-1])}"
    events = own or facts.events(10, kinds=kinds_behind(alert) or ())
    return Explanation(Finding(fact, facts.money(), facts.runbook(alert)), events)


def _last(facts: Facts, own: Sequence[Event], subject: str) -> Finding:
    """Return what is known of a subject of which nothing is known now: its last change."""
    changes = [event for event in own if event.kind in (EventKind.NODE, EventKind.PORTFOLIO)]
    if not changes:
        return Finding(f"No change of {shown(subject)} is known.", facts.trouble)
    return Finding(f"{headline(changes[-1], subject)} That is known since {at(changes[-1].time)}.", facts.trouble)


def _page(node: str, own: Sequence[Event]) -> Sequence[str]:
    """Return what became of the pages of a node, and why there is none for its state."""
    posts = [f"{headline(event, node)} That was at {at(event.time)}." for event in own if event.kind is EventKind.PUSH]
    changes = [event for event in own if event.kind is EventKind.NODE]
    if not changes:
        return ()
    if changes[-1].after != State.OFFLINE:
        return [_NO_PAGE.get(changes[-1].after, "No page: it is not offline."), *posts]
    return posts or [_NOT_POSTED]
