"""An event, the same change of one or more subjects at one moment, with the evidence for it; and its sentences.

Page, table, log and ``explain`` say the same in sentences, also of the rows of nodes and portfolios. A sentence is made
from JSON values, so events and rows of another process have sentences too. Texts from outside are escaped: an id can
neither move a cursor nor imitate a line.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from exporter.escaping import printable, printable_json
from exporter.liveness import State
from exporter.portfolios.ledger import FAULTS, PortfolioState
from exporter.snapshot.rows import Row, count, fault_order, moment

EACH: Final = "each"
"""The key of evidence that differs between subjects. Below it stands the evidence of each subject, by its id."""
NOWHERE: Final = "in no plan and on no list"
"""The state of a portfolio that the ledger knows no longer."""
DROPS, DROPS_NO_MORE = "dropping events", "no longer dropping events"
"""What is told of an online node beside its states."""
_KEYS: Final = ("id", "time", "kind", "subjects", "from", "to", "evidence")


Facts = dict[str, Any]
"""Evidence: facts as JSON values, by their names."""


class EventKind(StrEnum):
    """What an event is about."""

    NODE = "node"
    PORTFOLIO = "portfolio"
    REDIS = "redis"
    MASS_LOSS = "mass_loss"
    PUSH = "push"
    SCHEDULER = "scheduler"
    EXPORTER = "exporter"


class Event(NamedTuple):
    """A change.

    Attributes:
        id: A number that rises from event to event, also over restarts: the event's Unix time in microseconds, or the
            last id plus one if that is larger.
        time: Unix time at which the exporter saw the change, by its own clock.
        kind: What has changed.
        subjects: The ids of the nodes, portfolios or other things that have changed, as text; at least one.
        before: The old state; None if it is unknown.
        after: The new state.
        evidence: The facts from which the change was judged, as JSON values. See ``EACH``.
    """

    id: int
    time: float
    kind: EventKind
    subjects: tuple[str, ...]
    before: str | None
    after: str
    evidence: Mapping[str, Any]

    def evidence_of(self, subject: str | None) -> Facts:
        """Return the evidence on one subject; None for the evidence that all subjects share."""
        own: Facts = self.evidence.get(EACH, {}).get(subject, {})
        return {key: value for key, value in self.evidence.items() if key != EACH} | own

    def to_json(self) -> Facts:
        """Return the event as ``/api/v1/events`` gives it."""
        return dict(zip(_KEYS, self, strict=True))

    def line(self) -> bytes:
        """Return the event as one line of JSON that no terminal obeys."""
        return printable_json(self.to_json(), separators=(",", ":")).encode() + b"\n"


def event_of(value: Any) -> Event:
    """Return the event that a JSON value describes.

    Raises:
        ValueError: The value is not an event.
    """
    try:
        number, time, kind, (one, *more), before, after, evidence = (value[key] for key in _KEYS)
        event = Event(int(number), float(time), EventKind(kind), (one, *more), before, str(after), dict(evidence))
        event.evidence_of(one)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("not an event") from None
    return event


class Query(NamedTuple):
    """The conditions of a search for events; a condition that is None accepts all events.

    Attributes:
        subjects: Events about any of these ids.
        kinds: Events of any of these kinds.
        since: The earliest Unix time.
        until: The latest Unix time.
        before: Only events with a lower id: the cursor of the page before.
    """

    subjects: frozenset[str] | None = None
    kinds: frozenset[EventKind] | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None

    def accepts(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        return (
            (self.before is None or event.id < self.before)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.subjects is None or not self.subjects.isdisjoint(event.subjects))
        )


FIRST: Final = 3
"""Most subjects that a sentence names."""
MOST_PORTFOLIOS: Final = 5
"""Portfolios that are named."""
_LONGEST: Final = 200
_TIMES: Final = ("deadline", "since", "until")
"""The ends of the keys of Unix times."""
REASONS: Final[Mapping[str, str]] = {
    "node_offline": "the planned node is offline or unknown, and the scheduler has not moved its portfolios yet",
    "orphaned": "the scheduler found no node",
    "undelivered": "the planned node is online, and the portfolio is not loaded there",
    "dropped": "dropped from the plan, and loaded nowhere",
}
"""The reasons for which a portfolio is untraded."""
_FACTS: Final[Mapping[str, str]] = {
    "because": "The reason is: {}",
    "reason": "The reason is: {}",
    "undecided_because": "The reason is: {}",
    "undecided_until": "It cannot be called dead before {}",
    "pttl": "The PTTL of its heartbeat was {} ms (-2: missing, -1: no expiry)",
    "deadline": "Its last heartbeat was to end at {}",
    "heartbeat": "Its last heartbeat said {}",
    "hash": "Its metrics hash was {}",
    "offline_since": "It has been offline since {}",
    "loss": "It raises no alert of its own, as a member of the mass loss {}",
    "fault": "Redis's last fault was: {}",
    "fault_since": "That fault began at {}",
    "fault_until": "That fault ended at {}",
    "since": "It has been in this state since {}",
    "positions": "It has {} open positions",
    "planned_node": "The plan gives it to {}",
    "loaded_nodes": "It is loaded on {}",
    "listed_nodes": "The last list of {} names it",
    "dropped_recently": "It dropped {} events in the last five minutes",
    "events_per_second": "It takes {} events per second",
    "backpressure_recently": "Its queues pushed back {} times in the last five minutes",
    "idle_seconds": "The scheduler had last read the plan {} s before",
    "redis": "The address of Redis is {}",
    "redis_run_id": "The id of Redis's run is {}",
    "redis_role": "Redis's role is {}",
    "alertmanager": "The Alertmanager is {}",
    "version": "The exporter's version is {}",
    "lost_events": "The journal lost {} events",
}
"""The sentence for each fact in the evidence of an event, or in a row."""
_AT_RISK: Final[Mapping[str, str]] = {
    PortfolioState.UNTRADED: "Open positions in untraded portfolios",
    PortfolioState.DUPLICATED: "Open positions in duplicated portfolios",
    PortfolioState.UNKNOWN: "Open positions in unknown portfolios",
}
_HEADLINES: Final[Mapping[tuple[str, str | None], str]] = {
    ("node", None): "Node{s} {names} {is} {after}",
    ("portfolio", None): "Portfolio{s} {names} {is} {after}",
    ("mass_loss", "lost together"): "Nodes were lost together: the mass loss is named {names}",
    ("mass_loss", "over"): "The mass loss {names} is over",
    ("redis", "cannot be read"): "Redis cannot be read",
    ("redis", "answers"): "Redis answers again",
    ("redis", "takes writes again"): "Redis takes writes again",
    ("redis", "another run"): "Redis has been started anew, or another server answers in its place",
    ("redis", None): "Redis has a fault: {after}",
    ("scheduler", "looks at the plan"): "The scheduler works again: it has read the plan",
    ("scheduler", "stalled"): "The scheduler is stalled: it no longer reads the plan",
    ("exporter", None): "The exporter {after}",
    ("push", "taken"): "Alertmanager took the alert about {names}",
    ("push", "ended"): "The alert about {names} is no longer pushed",
    ("push", "active"): "Alertmanager {names} takes posts",
    ("push", "refused"): "Alertmanager {names} takes no posts",
}
"""The sentence for a kind of event and its new state; None stands for any other state."""


def shown(text: object) -> str:
    """Return a text from outside on one line; a text that is too long to read is cut off."""
    line = printable(str(text))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def at(unix: object) -> str:
    """Return a Unix time as people read it."""
    return f"{moment(unix)} UTC" if isinstance(unix, float | int) else "an unknown time"


def first(names: Sequence[object], most: int = FIRST) -> str:
    """Return the first names of some, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def headline(event: Event, subject: str | None = None) -> str:
    """Return what has changed, without its time and its cause.

    Args:
        event: The event.
        subject: The subject to be named first.
    """
    kind, after, several = event.kind.value, shown(event.after), len(event.subjects) > 1
    template = _HEADLINES.get((kind, event.after)) or _HEADLINES.get((kind, None), "{kind} {names}: {after}")
    changed = event.before and event.kind in (EventKind.NODE, EventKind.PORTFOLIO)
    before = f"; {'they were' if several else 'it was'} {shown(event.before)} before" if changed else ""
    names = first(sorted(event.subjects, key=lambda name: kind != EventKind.PUSH and name != subject))
    words = {"kind": kind.capitalize(), "s": "s"[:several], "is": "are" if several else "is"}
    return f"{template.format(names=names, after=after, **words)}{before}."


def reasons(event: Event, subject: str | None = None) -> list[str]:
    """Return why it was judged so, fact by fact: for one subject, or for all of them if it is None."""
    evidence = event.evidence_of(subject)
    return facts(evidence if event.kind is EventKind.NODE else evidence | {"loss": None})


def facts(values: Mapping[str, Any]) -> list[str]:
    """Return the facts in the evidence of an event, or in a row."""
    return [
        f"{sentence.format(_text(key, values[key]))}."
        for key, sentence in _FACTS.items()
        if values.get(key) not in (None, "", [])
    ]


def _text(key: str, value: object) -> str:
    if key.endswith(_TIMES):
        return at(value)
    if key == "hash":
        return "there" if value else "missing"
    return first(value) if isinstance(value, list) else REASONS.get(str(value), shown(value))


# --- what is now -----------------------------------------------------------------------------


def of_node(row: Row, portfolios: Iterable[Row] | None) -> Iterator[str]:
    """Yield what is known of a node and of its portfolios.

    Args:
        row: The node, of ``exporter.snapshot.rows`` or of the JSON of another exporter.
        portfolios: All portfolios; None if they are unknown.
    """
    yield f"Node {shown(row['node_id'])} is {row['state']} now."
    yield from facts(row)
    if mine := [
        each
        for each in portfolios or ()
        if row["node_id"] in (each["planned_node"], *each["loaded_nodes"], *each["listed_nodes"])
    ]:
        yield f"Its portfolios: {first([each['portfolio_id'] for each in mine], MOST_PORTFOLIOS)}."
        yield f"Their open positions: {_positions(mine)}."
        yield from of_portfolios(mine)


def of_portfolios(rows: Sequence[Row]) -> Iterator[str]:
    """Yield how much money is at risk in some portfolios, and which of them are at fault."""
    counts = Counter(row["state"] for row in rows)
    if counts:
        yield f"Portfolios: {', '.join(f'{number} {state}' for state, number in counts.items())}."
    for state, words in _AT_RISK.items():
        if counts[state]:
            yield f"{words}: {_positions([row for row in rows if row['state'] == state])}."
    faults = [row for row in rows if row["state"] in FAULTS]
    yield from map(of_portfolio, sorted(faults, key=fault_order)[:MOST_PORTFOLIOS])
    if len(faults) > MOST_PORTFOLIOS:
        yield f"{len(faults) - MOST_PORTFOLIOS} more portfolios are at fault."


def _positions(rows: Iterable[Row]) -> str:
    positions = [row["positions"] for row in rows]
    if None in positions and not any(positions):
        return "unknown"
    return f"{'at least ' if None in positions else ''}{count(sum(filter(None, positions)))}"


def of_portfolio(row: Row) -> str:
    """Return what is known of a portfolio, and what its state asks for."""
    said = [f"Portfolio {shown(row['portfolio_id'])} is {row['state']}.", *facts(row)]
    if row["state"] == PortfolioState.DUPLICATED:
        kept, *others = sorted(row["loaded_nodes"], key=lambda name: name != row["planned_node"])
        said.append(f"Keep node {shown(kept)}, and kill the process of node {first(others)}.")
    return " ".join(said)


def undecided(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each reason for which some of the rows are undecided."""
    causes: dict[object, list[str]] = {}
    for row in rows:
        if row["state"] == State.UNDECIDED:
            causes.setdefault(row.get("undecided_because"), []).append(row["node_id"])
    return [
        f"It is undecided whether these nodes live: {first(names)}. The reason is: {shown(cause)}."
        for cause, names in causes.items()
    ]


def redis_away(since: float | None, error: str, known_at: float | None, counts: Mapping[State, int]) -> str:
    """Return sentences on an outage of Redis: its start and cause, and the last known states.

    Args:
        since: Unix time since which it cannot be read; None if that is unknown.
        error: Why, in one line.
        known_at: Unix time of the last read; None if there was none.
        counts: How many nodes there were in each state at that time.
    """
    when = "" if since is None else f": {shown(error)}. This began at {at(since)}"
    known = ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "no nodes"
    last = "" if known_at is None else f" The last known states are old, of {at(known_at)}: {known}."
    return f"Redis cannot be read{when}. Nothing is known of the nodes now, and no node is called dead for this.{last}"


def writes_refused(since: float, errors: Mapping[str, int]) -> str:
    """Return sentences on a Redis that refuses writes.

    Args:
        since: Unix time since which it does.
        errors: The refused writes by error, since Redis started.
    """
    counted = ", ".join(f"{shown(error)} {number} times" for error, number in errors.items() if number)
    return (
        f"Redis has refused writes since {at(since)}, so no node can beat. No node is called dead for this."
        f"{f' Refused writes since Redis started: {counted}.' if counted else ''}"
        " The alert for it is GinkgoRedisWritesRefused."
    )
