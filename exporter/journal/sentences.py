"""Events, and the rows of nodes and portfolios, in plain sentences: page, table, log and ``explain`` say the same.

A sentence is made from JSON values, so events and rows of another process have sentences too. Texts from outside are
escaped: an id can neither move a cursor nor imitate a line.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.escaping import printable
from exporter.journal.event import Event, EventKind
from exporter.liveness import State
from exporter.portfolios.ledger import FAULTS, PortfolioState
from exporter.snapshot.rows import Row, count, fault_order, moment

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
    "pttl": "The PTTL of its heartbeat was {}",
    "deadline": "Its last heartbeat was to end at {}",
    "heartbeat": "Its last heartbeat said {}",
    "hash": "Its metrics hash was {}",
    "offline_since": "It has been offline since {}",
    "loss": "It raises no alert of its own, as a member of the mass loss {}",
    "fault": "Redis's last fault was: {}",
    "fault_since": "That fault began at {}",
    "fault_until": "That fault ended at {}",
    "since": "It began at {}",
    "positions": "The number of its open positions is {}",
    "planned_node": "The plan gives it to {}",
    "loaded_nodes": "It is loaded on {}",
    "listed_nodes": "It is on the last list of {}",
    "dropped_recently": "In the last five minutes it dropped {} of its events",
    "events_per_second": "The number of events that it takes in a second is {}",
    "backpressure_recently": "The number of times that its queues pushed back in the last five minutes is {}",
    "idle_seconds": "The scheduler looked at the plan {} s earlier",
    "redis": "The address of Redis is {}",
    "redis_run_id": "The id of Redis's run is {}",
    "redis_role": "Redis's role is {}",
    "alertmanager": "The Alertmanager is {}",
    "version": "The exporter's version is {}",
    "lost_events": "The journal lost {} of its events",
}
"""The sentence for each fact in the evidence of an event, or in a row."""
_AT_RISK: Final[Mapping[str, str]] = {
    PortfolioState.UNTRADED: "Open positions that no node manages",
    PortfolioState.DUPLICATED: "Open positions that more than one node manages",
    PortfolioState.UNKNOWN: "Open positions that perhaps no node manages",
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
    ("scheduler", "looks at the plan"): "The scheduler works again: it has looked at the plan",
    ("scheduler", "stalled"): "The scheduler stands still: it does not look at the plan any more",
    ("exporter", None): "The exporter {after}",
    ("push", "taken"): "Alertmanager took the alert {names}",
    ("push", "ended"): "The alert {names} is no longer pushed",
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
        yield f"Portfolios at fault beside these: {len(faults) - MOST_PORTFOLIOS}."


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
        said.append(f"Keep node {shown(kept)}, and end node {first(others)}.")
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
        f"Redis has refused writes since {at(since)}{f' ({counted})' if counted else ''}, so no node can beat."
        " No node is called dead for this. The alert for it is GinkgoRedisWritesRefused."
    )
