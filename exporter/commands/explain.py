"""``ginkgo-exporter explain``: tells what happened to a node, a portfolio or an alert, and why it was judged so."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from exporter.bundled import alert_severities
from exporter.commands.asking import NODES, PORTFOLIOS, RedisItself, RunningExporter, asking
from exporter.commands.command_line import Finding, say
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable_json
from exporter.journal import now
from exporter.journal.event import Event, EventKind, Query, event_of, parse_time
from exporter.journal.sentences import at, headline, kinds_behind, reasons, shown
from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Settings
from exporter.snapshot.rows import Row

_MOST: Final = 50
"""Events that are told."""
_BEFORE: Final = 300.0
"""Seconds before the last change of which Redis's and the exporter's own events are told too."""
_AROUND: Final = frozenset((EventKind.REDIS, EventKind.EXPORTER, EventKind.SCHEDULER))
_MEMBER: Final = "No page of its own: GinkgoMassHeartbeatLoss pages once for all members of its mass loss."
_NO_PAGE: Final = {
    "online": "No page: it is online.",
    "undecided": "No page: it is not decided that it is dead. A page follows if it has its time to beat and does not.",
    "gone": "No page: a node that stops gracefully deletes its keys, and is not dead.",
    "forgotten": "No page any more: the node is forgotten (--nodes.forget-after, --nodes.forget-rehomed-after).",
}


class Facts(NamedTuple):
    """What is known.

    Attributes:
        place: Where it is known.
        trouble: Why nothing is known of now, as a sentence; empty if something is.
        rows: What is now: the rows of all nodes and of all portfolios by their ids.
        search: Returns the newest events that a query accepts, at most so many, the newest first.
        url: Address of the exporter's runbooks; empty without one.
    """

    place: str
    trouble: str
    rows: Mapping[EventKind, Mapping[str, Row]]
    search: Callable[[Query, int], Sequence[Event]]
    url: str = ""

    def events(self, limit: int = _MOST, **conditions: Any) -> list[Event]:
        """Return the newest events that meet the conditions of a ``Query``, the oldest of them first."""
        return list(reversed(self.search(Query(**conditions), limit)))


class Explanation(NamedTuple):
    """What is said of one subject.

    Attributes:
        kind: What the subject is: ``node``, ``portfolio``, ``alert`` or ``all``.
        subject: Its id; empty for all.
        known: What is known of it at the moment in question.
        events: What was seen, the oldest event first.
        page: What became of its page, sentence by sentence.
    """

    kind: str
    subject: str
    known: Finding
    events: Sequence[Event]
    page: Sequence[str] = ()

    def told(self, event: Event) -> list[str]:
        """Return an event as sentences: what changed, and why it was judged so."""
        of = self.subject if self.subject in event.subjects and event.kind is not EventKind.PUSH else None
        return [headline(event, of), *reasons(event, of)]

    def to_json(self) -> dict[str, Any]:
        """Return the explanation for other programs."""
        events = [
            event.to_json()
            | {"subjects": [self.subject] if self.subject in event.subjects else list(event.subjects)}
            | {"evidence": event.evidence_of(self.subject)}
            | {"sentences": self.told(event)}
            for event in self.events
        ]
        known = self.known.sentences
        return {"kind": self.kind, "subject": self.subject, "known": known, "page": list(self.page), "events": events}

    def say(self) -> None:
        """Print the explanation for people."""
        for sentence in self.known.sentences:
            say(sentence)
        say("")
        say("What was seen, the oldest first:" if self.events else "No event is known of it.")
        for event in self.events:
            first, *others = self.told(event)
            say(f"{at(event.time)}  {first}", indent=2)
            for sentence in others:
                say(sentence, indent=4)
        if self.page:
            say("")
            say("Its page:")
            for sentence in self.page:
                say(sentence, indent=2)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the explanation and return 0.

    Raises:
        SettingsError: An option is invalid.
        ExporterError: Nothing can be explained; one line that says why.
    """
    options = vars(arguments)
    try:
        moment = options["at"] and parse_time(options["at"])
    except ValueError as error:
        raise SettingsError(f"--at: {error}") from None
    with asking(settings, options["exporter.url"]) as source:
        explanation = explained(_of_source(source), options["subject"], moment)
    if options["output"] == "json":
        print(printable_json(explanation.to_json()))  # noqa: T201
    else:
        explanation.say()
    return 0


def _of_source(source: RunningExporter | RedisItself) -> Facts:
    rows: dict[EventKind, dict[str, Row]] = {}
    trouble = ""
    try:
        rows[EventKind.NODE] = {row["node_id"]: row for row in source.rows(NODES).rows}
        rows[EventKind.PORTFOLIO] = {row["portfolio_id"]: row for row in source.rows(PORTFOLIOS).rows}
    except SourceError as error:
        if isinstance(source, RedisItself):
            raise
        trouble = f"{str(error).rstrip('.')}."
    if isinstance(source, RedisItself):
        remark = (
            "Redis alone was asked: what happened before is not known there. A running exporter knows: --exporter.url."
        )
        return Facts(f"Redis at {source.place}", remark, rows, lambda *_: ())

    def search(query: Query, limit: int) -> list[Event]:
        arguments = [("subject", subject) for subject in query.subjects or ()]
        arguments += [("kind", kind.value) for kind in query.kinds or ()]
        times = {"since": query.since, "until": query.until}
        arguments += [(name, repr(unix)) for name, unix in times.items() if unix is not None]
        answer, _ = source.get("events", [*arguments, ("limit", str(limit))], {"events"})
        try:
            return [event_of(value) for value in answer["events"]]
        except ValueError:
            raise ExporterError(f"the exporter at {source.place} gives events of another version") from None

    return Facts(f"the exporter at {source.place}", trouble, rows, search, f"{source.place}/runbooks")


def explained(facts: Facts, subject: str | None, moment: float | None) -> Explanation:
    """Return the explanation of a subject.

    Args:
        facts: What is known.
        subject: A node, a portfolio or an alert, maybe after ``node:`` or ``portfolio:``; None for all that happened.
        moment: Unix time that is asked about; None for now.

    Raises:
        ExporterError: The subject is unknown, or is a node and a portfolio.
    """
    if subject is None:
        limit = "" if moment is None else f" up to {at(moment)}"
        known = Finding(
            f"These are the last events that {facts.place} knows{limit}.", _money(facts, moment), facts.trouble
        )
        return Explanation("all", "", known, facts.events(until=moment))
    names = {kind: set(facts.rows.get(kind, ())) for kind in (EventKind.NODE, EventKind.PORTFOLIO)}
    for event in facts.events(1000, kinds=frozenset(names)):
        names[event.kind].update(event.subjects)
    found = {
        kind: name for kind in names for name in (subject.removeprefix(f"{kind}:"), subject) if name in names[kind]
    }
    if len(found) > 1:
        raise ExporterError(f"{shown(subject)} is a node and a portfolio: ask for node:… or portfolio:…")
    for kind, name in found.items():
        return _of_subject(facts, kind, name, moment)
    if subject in alert_severities():
        return _of_alert(facts, subject, moment)
    known_names = sorted(set().union(*names.values(), alert_severities()))
    near = get_close_matches(subject.rpartition(":")[2], known_names, 3, 0.5)
    hint = f"; the nearest known names are {', '.join(map(shown, near))}" if near else ""
    raise ExporterError(f"nothing is known of {shown(subject)}{hint}")


def _of_subject(facts: Facts, kind: EventKind, subject: str, moment: float | None) -> Explanation:
    """Explain a node or a portfolio."""
    kinds = {kind, EventKind.MASS_LOSS, EventKind.PUSH} if kind is EventKind.NODE else {kind}
    own = facts.events(subjects=frozenset({subject}), kinds=frozenset(kinds), until=moment)
    last = next((event for event in reversed(own) if event.kind is kind), None)
    row = facts.rows.get(kind, {}).get(subject) if moment is None else None
    state = last.after if last else ""
    if row:
        known = _node_now(facts, row) if kind is EventKind.NODE else _portfolio_now(facts, row)
    elif last:
        known = Finding(f"{headline(last, subject)} That is known since {at(last.time)}.", facts.trouble)
    else:
        known = Finding(f"No change of {kind} {shown(subject)} is known.", facts.trouble)
    page = _page(facts, subject, state, own, moment) if kind is EventKind.NODE and last else ()
    return Explanation(kind.value, subject, known, _with_surroundings(facts, own, moment), page)


def _of_alert(facts: Facts, alert: str, moment: float | None) -> Explanation:
    own = facts.events(subjects=frozenset({alert}), kinds=frozenset({EventKind.PUSH}), until=moment)
    events = _with_surroundings(facts, own, moment) or facts.events(10, kinds=kinds_behind(alert), until=moment)
    fact = f"This exporter has posted no alert {shown(alert)}. {_pushes_to(facts, moment)}".strip()
    if own:
        fact = f"The last that is known of the alert {shown(alert)}, at {at(own[-1].time)}: {headline(own[-1])}"
    return Explanation("alert", alert, Finding(fact, _money(facts, moment), _runbook(facts, alert)), events)


def _node_now(facts: Facts, row: Row) -> Finding:
    """Return what is known of a node now: its state, the money at risk, and what to do."""
    fact, *others = now.of_node(row, facts.rows[EventKind.PORTFOLIO].values())
    alert = "GinkgoEventsDropped" if row.get("dropped_recently") else "GinkgoNodeOffline"
    calm = row["state"] == State.ONLINE and not row.get("dropped_recently")
    return Finding(fact, " ".join(others), "" if calm else _runbook(facts, alert))


def _portfolio_now(facts: Facts, row: Row) -> Finding:
    """Return what is known of a portfolio now."""
    remedy = _runbook(facts, "GinkgoPortfoliosUntraded") if row["state"] == PortfolioState.UNTRADED else ""
    return Finding(now.of_portfolio(row), "", remedy)


def _money(facts: Facts, moment: float | None) -> str:
    if moment is not None or EventKind.PORTFOLIO not in facts.rows:
        return ""
    return (
        " ".join(now.of_portfolios(list(facts.rows[EventKind.PORTFOLIO].values()))) or "No portfolio is untraded now."
    )


def _runbook(facts: Facts, alert: str) -> str:
    return f"What to do: {facts.url}/{alert}" if facts.url else f"See the runbook of {alert}."


def _with_surroundings(facts: Facts, own: Sequence[Event], moment: float | None) -> Sequence[Event]:
    """Add what happened to Redis and to the exporter shortly before the last of some events and since then."""
    around = facts.events(kinds=_AROUND, since=own[-1].time - _BEFORE, until=moment) if own else []
    return sorted({event.id: event for event in (*own, *around)}.values(), key=lambda event: (event.time, event.id))


def _page(facts: Facts, node: str, state: str, own: Sequence[Event], moment: float | None) -> Sequence[str]:
    """Return what became of the pages of a node, and why there is none for its state."""
    posts = [f"{headline(event, node)} That was at {at(event.time)}." for event in own if event.kind is EventKind.PUSH]
    changes = [event for event in own if event.kind is EventKind.NODE]
    if state == "offline" and changes[-1].evidence_of(node).get("mass_loss"):
        return [_MEMBER, *posts]
    if state != "offline":
        return [_NO_PAGE.get(state, "No page: it is not offline."), *posts]
    return posts or ["No Alertmanager has taken a page from this exporter.", _pushes_to(facts, moment)]


def _pushes_to(facts: Facts, moment: float | None) -> str:
    """Return whether the exporter pushes at all, as its last start says; empty if that is unknown."""
    starts = facts.events(kinds=frozenset({EventKind.EXPORTER}), until=moment)
    places = next((e.evidence.get("alertmanagers") for e in reversed(starts) if e.after == "started"), None)
    if places:
        return f"This exporter pushes to {', '.join(map(shown, places))}. Prometheus's rules may page too."
    return (
        "" if places is None else "This exporter pushes no alerts (no --alertmanager.url): ask Prometheus, which pages."
    )
