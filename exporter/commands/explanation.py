"""What ``explain`` says of one subject: what is known now, what was seen, and what became of its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.commands.explain_source import Facts
from exporter.journal.alert_kinds import kinds_behind
from exporter.journal.event import Event, EventKind
from exporter.journal.memory import Query
from exporter.journal.sentences import at, headline, offline_since, reasons, shown
from exporter.journal.situation import undecided

NODE_PAGE: Final = "GinkgoNodeOffline"
MASS_PAGE: Final = "GinkgoMassHeartbeatLoss"
MOST_EVENTS: Final = 50
"""Events that are told."""
MOST_CAUSES: Final = 10
"""Events that are told of an alert that this exporter did not push."""
BEFORE: Final = 300.0
"""Seconds before the last change of which Redis's and the exporter's own events are told too."""
_AROUND: Final = frozenset((EventKind.REDIS, EventKind.EXPORTER, EventKind.SCHEDULER))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is said of one subject.

    Attributes:
        kind: What the subject is: ``node``, ``portfolio``, ``alert`` or ``all``.
        subject: Its id; empty for all.
        known: What is known of it at the moment in question, sentence by sentence.
        events: What was seen, the oldest event first.
        page: What became of its page, sentence by sentence.
    """

    kind: str
    subject: str
    known: Sequence[str]
    events: Sequence[Event]
    page: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return the explanation for other programs."""
        told = [
            event.to_json()
            | {"subjects": [self.subject] if self.subject in event.subjects else list(event.subjects)}
            | {"evidence": event.evidence_of(self.subject)}
            | {"sentences": [headline(event, self._of(event)), *reasons(event, self._of(event))]}
            for event in self.events
        ]
        known = {"kind": self.kind, "subject": self.subject, "known": list(self.known)}
        return known | {"page": list(self.page), "events": told}

    def lines(self) -> list[str]:
        """Return the explanation for people."""
        lines = [*self.known, ""]
        lines += ["What was seen, the oldest first:"] if self.events else ["No event is known of it."]
        for event in self.events:
            lines.append(f"  {at(event.time)}  {headline(event, self._of(event))}")
            lines += [f"    {reason}" for reason in reasons(event, self._of(event))]
        if self.page:
            lines += ["", "Its page:", *(f"  {sentence}" for sentence in self.page)]
        return lines

    def _of(self, event: Event) -> str | None:
        return self.subject if self.subject in event.subjects and event.kind is not EventKind.PUSH else None


def of_node(facts: Facts, node: str, moment: float | None) -> Explanation:
    """Explain a node.

    Args:
        facts: What is known.
        node: Its id.
        moment: Unix time that is asked about; None for now.
    """
    own = _own_events(facts, node, (EventKind.NODE, EventKind.MASS_LOSS, EventKind.PUSH), moment)
    states = [event for event in own if event.kind is EventKind.NODE]
    last = states[-1] if states else None
    known = [_known_state("Node", node, last, moment), *_known_now(facts, EventKind.NODE, node, moment)]
    page = _page_of_node(facts, node, last, own, moment)
    return Explanation("node", node, known, _with_surroundings(facts, own, last, moment), page)


def of_portfolio(facts: Facts, portfolio: str, moment: float | None) -> Explanation:
    """Explain a portfolio; the arguments are those of ``of_node``."""
    own = _own_events(facts, portfolio, (EventKind.PORTFOLIO,), moment)
    last = own[-1] if own else None
    known = [_known_state("Portfolio", portfolio, last, moment)]
    known += _known_now(facts, EventKind.PORTFOLIO, portfolio, moment)
    return Explanation("portfolio", portfolio, known, _with_surroundings(facts, own, last, moment), ())


def of_alert(facts: Facts, alert: str, moment: float | None) -> Explanation:
    """Explain an alert; the arguments are those of ``of_node``."""
    own = _own_events(facts, alert, (EventKind.PUSH,), moment)
    last = own[-1] if own else None
    if last is None:
        known = [f"No post of the alert {shown(alert)} is known.", *_push_settings(facts, moment)]
        causes = facts.events(Query(kinds=kinds_behind(alert), until=moment), MOST_CAUSES)
        known += ["The events below are of the kinds that may explain it."] if causes else []
        return Explanation("alert", alert, known, causes, ())
    known = [f"The last that is known of the alert {shown(alert)}, at {at(last.time)}: {headline(last)}"]
    return Explanation("alert", alert, known, _with_surroundings(facts, own, last, moment), ())


def of_all(facts: Facts, moment: float | None) -> Explanation:
    """Explain what happened last; the arguments are those of ``of_node``."""
    events = facts.events(Query(until=moment), MOST_EVENTS)
    known = [f"These are the last events that {facts.place} knows{'' if moment is None else f' up to {at(moment)}'}."]
    return Explanation("all", "", [*known, *([facts.trouble.rstrip(".") + "."] if facts.trouble else [])], events, ())


def _own_events(facts: Facts, subject: str, kinds: Sequence[EventKind], moment: float | None) -> Sequence[Event]:
    query = Query(subjects=frozenset({subject}), kinds=frozenset(kinds), until=moment)
    return facts.events(query, MOST_EVENTS)


def _with_surroundings(facts: Facts, own: Sequence[Event], last: Event | None, moment: float | None) -> Sequence[Event]:
    """Add what happened to Redis and to the exporter shortly before the last change and since then."""
    if last is None:
        return own
    around = facts.events(Query(kinds=_AROUND, since=last.time - BEFORE, until=moment), MOST_EVENTS)
    return sorted({event.id: event for event in (*own, *around)}.values(), key=lambda event: (event.time, event.id))


def _known_state(what: str, subject: str, last: Event | None, moment: float | None) -> str:
    when = "" if moment is None else f" At {at(moment)}:"
    if last is None:
        return f"{when} {what} {shown(subject)}: no change of its state is known.".strip()
    return f"{when} {headline(last, subject)} That is known since {at(last.time)}.".strip()


def _known_now(facts: Facts, kind: EventKind, subject: str, moment: float | None) -> list[str]:
    if moment is not None:
        return []
    row = facts.now(kind, subject)
    if row is None:
        return (
            [f"Of now nothing is known: {facts.trouble.rstrip('.')}."]
            if facts.trouble
            else ["Redis holds nothing of it now."]
        )
    said = [f"Now it is {shown(row['state'])}."]
    if kind is EventKind.NODE and (doubt := undecided([row])):
        said = [f"Now: {doubt[0]}"]
    if row.get("offline_since") is not None:
        said.append(offline_since(row["offline_since"], exact=row.get("offline_since_exact") is True))
    if row.get("reason"):
        said.append(f"The reason: {shown(row['reason'])}.")
    if row.get("since") is not None:
        said.append(f"It is so since {at(row['since'])}.")
    return said


def _page_of_node(
    facts: Facts, node: str, last: Event | None, own: Sequence[Event], moment: float | None
) -> Sequence[str]:
    """Return whether a page went out for the last state of a node, or why none did."""
    if last is None:
        return ["No page: no change of its state is known."]
    evidence = last.evidence_of(node)
    if last.after != "offline":
        return [_NO_PAGE.get(last.after, "No page: it is not offline."), *_earlier_pages(own)]
    since = evidence.get("offline_since")
    began = min(last.time, since) if isinstance(since, int | float) else last.time
    taken = [event for event in own if event.after == "taken" and event.time >= began - 1]
    said = [f"{headline(event, node)} That was at {at(event.time)}." for event in taken]
    if evidence.get("mass_loss") and not said:
        said = [f"No page of its own: it is a member of a mass loss, and {MASS_PAGE} pages once for all members."]
        loss = facts.events(Query(frozenset({MASS_PAGE}), frozenset({EventKind.PUSH}), began - 1, moment), MOST_EVENTS)
        said += [f"{headline(event)} That was at {at(event.time)}." for event in loss]
    if said:
        return said
    refused = facts.events(Query(kinds=frozenset({EventKind.PUSH}), since=began - 1, until=moment), MOST_EVENTS)
    failures = [f"{headline(event)} {' '.join(reasons(event))}" for event in refused if event.after == "refused"]
    return ["No Alertmanager has taken a page from this exporter.", *failures, *_push_settings(facts, moment)]


_NO_PAGE: Final[Mapping[str, str]] = {
    "online": "No page: it is online.",
    "undecided": "No page: it is not decided that it is dead. It is paged when it had its time to beat and did not.",
    "gone": "No page: a node that stops gracefully deletes its keys, and is not dead.",
    "forgotten": "No page any more: it is offline for longer than --nodes.forget-after.",
}


def _earlier_pages(own: Sequence[Event]) -> list[str]:
    return [
        f"Earlier: {headline(event)} That was at {at(event.time)}." for event in own if event.kind is EventKind.PUSH
    ]


def _push_settings(facts: Facts, moment: float | None) -> list[str]:
    """Return whether the exporter pushes at all, as its last start says."""
    starts = facts.events(Query(kinds=frozenset({EventKind.EXPORTER}), until=moment), MOST_EVENTS)
    places = next((e.evidence.get("alertmanagers") for e in reversed(starts) if e.after == "started"), None)
    if places is None:
        return []
    if not places:
        return ["This exporter pushes no alerts (no --alertmanager.url): ask Prometheus, whose rules page."]
    return [f"This exporter pushes to {', '.join(map(shown, places))}. Prometheus's rules may page too."]
