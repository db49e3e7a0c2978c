"""Events, and what is now, in plain sentences: page, table, JSON, log and ``explain`` say the same in the same words.

A sentence is made from JSON values, so events of another process have sentences too. Texts from outside are
escaped: an id can neither move a cursor nor imitate a line.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from exporter.escaping import printable
from exporter.journal.event import Event, EventKind
from exporter.liveness import State

FIRST: Final = 3
"""Most subjects that a sentence names."""
_MOST: Final = 5
"""Most causes that are named."""
_LONGEST: Final = 200
_KINDS: Final[Mapping[str, str]] = {
    "GinkgoRedis": "redis",
    "GinkgoNode": "node mass_loss redis",
    "GinkgoAllNodes": "node mass_loss redis",
    "GinkgoMass": "node mass_loss redis",
    "GinkgoEvents": "node",
    "GinkgoPortfolio": "portfolio scheduler node",
    "GinkgoPlan": "portfolio scheduler redis",
    "GinkgoScheduler": "portfolio scheduler",
    "GinkgoExporter": "exporter redis push",
    "GinkgoPush": "exporter push",
}
"""The kinds of events that explain an alert, by the beginning of its name. Any other alert may have any cause."""
REASONS: Final[Mapping[str, str]] = {
    "node_offline": "its planned node is offline or unknown",
    "orphaned": "the scheduler found no node for it",
    "undelivered": "its planned node is online and has not loaded it",
    "dropped": "no plan names it any more",
}
"""The reasons for which a portfolio is untraded."""


def kinds_behind(alert: str) -> frozenset[EventKind] | None:
    """Return the kinds of events that may explain an alert; None if any kind may."""
    kinds = next((kinds for start, kinds in _KINDS.items() if alert.startswith(start)), None)
    return None if kinds is None else frozenset(map(EventKind, kinds.split()))


def shown(text: object) -> str:
    """Return a text from outside on one line; a text that is too long to read is cut off."""
    line = printable(str(text))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def at(unix: object) -> str:
    """Return a Unix time as people read it."""
    try:
        return f"{datetime.fromtimestamp(float(unix), UTC):%Y-%m-%d %H:%M:%S} UTC"  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return "an unknown time"


def headline(event: Event, subject: str | None = None) -> str:
    """Return what has changed, as one sentence without its time and its cause.

    Args:
        event: The event.
        subject: The subject that is of interest; None for all of them.
    """
    several = subject is None and len(event.subjects) > 1
    kind, before, after, evidence = event.kind.value, event.before, event.after, event.evidence
    if before == after:
        after = "still"
    elif event.kind is EventKind.NODE and after == State.GONE and "deleted" in str(evidence.get("because")):
        after = "stopped"
    reason = str(event.evidence_of(event.subjects[0]).get("reason"))
    tries = (kind, before, after), (kind, "*", after), (kind, before, "*"), (kind, "*" if before else None, "*")
    template = next((_HEADLINES[key] for key in tries if key in _HEADLINES), "The {kind} {after}.")
    return template.format(
        names=_names(event, subject),
        first=shown(event.subjects[0]),
        be="are" if several else "is",
        was="they were" if several else "it was",
        before=shown(before),
        after=shown(event.after),
        kind=kind,
        place=f"Alertmanager {shown(evidence.get('alertmanager', ''))}",
        alert=_alert(event),
        reason="for other reasons" if several else REASONS.get(reason, "for another reason"),
    )


def _names(event: Event, subject: str | None) -> str:
    one, many = ("Portfolio", "portfolios") if event.kind is EventKind.PORTFOLIO else ("Node", "nodes")
    others = len(event.subjects) - 1
    if subject is not None or not others:
        alone = shown(event.subjects[0] if subject is None else subject)
        return f"{one} {alone}" + (f", with {others} {many if others > 1 else one.lower()} more," if others else "")
    return f"{len(event.subjects)} {many} ({first(event.subjects)})"


def first(names: Sequence[object], most: int = FIRST) -> str:
    """Return the first names of some, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def _alert(event: Event) -> str:
    name = str(event.evidence.get("alertname", event.subjects[0]))
    nodes = [subject for subject in event.subjects if subject != name]
    return f"he alert {shown(name)}" + (f" for {first(nodes)}" if nodes else "")


_HEADLINES: Final[Mapping[tuple[str, str | None, str], str]] = {
    ("node", "offline", "online"): "{names} {be} back online.",
    ("node", "forgotten", "online"): "{names} {be} back online.",
    ("node", "undecided", "online"): "{names} {be} online after all.",
    ("node", "*", "stopped"): "{names} stopped.",
    ("node", "*", "drops events"): "{names} {be} dropping events.",
    ("node", "*", "takes events"): "{names} {be} dropping no events any more.",
    ("node", "*", "*"): "{names} {be} {after}.",
    ("node", None, "*"): "{names} {be} {after}.",
    ("portfolio", "*", "still"): "{names} {be} still {after}: {reason}.",
    ("portfolio", "*", "*"): "{names} {be} {after}; {was} {before} before.",
    ("portfolio", None, "*"): "{names} {be} {after}.",
    ("mass_loss", "*", "over"): "The mass loss that is named {first} is over.",
    ("mass_loss", None, "*"): "Nodes were lost together: the mass loss is named {first}.",
    ("redis", "*", "cannot be read"): "Redis cannot be read.",
    ("redis", "*", "answers"): "Redis answers again.",
    ("redis", "*", "takes writes again"): "Redis takes writes again.",
    ("redis", None, "*"): "Redis: {after}.",
    ("redis", "*", "*"): "Redis: {after}.",
    ("push", "*", "taken"): "{place} took t{alert}.",
    ("push", "*", "ended"): "T{alert} is no longer pushed.",
    ("push", "*", "refused"): "{place} takes no posts.",
    ("push", None, "active"): "{place} takes posts.",
    ("push", "refused", "active"): "{place} takes posts again.",
}
"""The sentence for a kind, an old and a new state; ``*`` stands for any."""


def reasons(event: Event, subject: str | None = None) -> list[str]:
    """Return why it was judged so, sentence by sentence.

    Args:
        event: The event.
        subject: The subject that is of interest; None for what holds for all of them.
    """
    several = subject is None and len(event.subjects) > 1
    evidence = event.evidence_of("" if several else subject or event.subjects[0])
    words = defaultdict(lambda: "unknown", {key: _word(key, value) for key, value in evidence.items()})
    words["each"] = ", for each of them" if several else ""
    words["exact"] = "" if evidence.get("offline_since_exact") is True else " at the latest"
    said = [template.format_map(words) for fact, template in _SAID.items() if _holds(fact, evidence)]
    if event.after in (State.OFFLINE, State.UNDECIDED) and not evidence.get("fault"):
        said.append("Redis had no fault that may explain it.")
    return said


def _holds(fact: str, evidence: Mapping[str, Any]) -> bool:
    key, equals, value = fact.partition("=")
    return str(evidence.get(key)) == value if equals else bool(evidence.get(key))


def _word(key: str, value: object) -> str:
    if value is None:
        return "now"
    if key in _TIMES:
        return at(value)
    return ", ".join(map(shown, value)) if isinstance(value, list) else REASONS.get(str(value), shown(value))


_TIMES: Final = ("deadline", "offline_since", "fault_since", "fault_until", "since")
_SAID: Final[Mapping[str, str]] = {
    "because": "The reason{each}: {because}.",
    "heartbeat_ttl_seconds=-1": "The heartbeat had no expiry (PTTL -1), so it proves no life.",
    "heartbeat_ttl_seconds=0": "The node had no heartbeat.",
    "deadline": "Its last heartbeat was to end at {deadline}.",
    "heartbeat": 'The last heartbeat said "{heartbeat}".',
    "hash=True": "Its metrics hash was there.",
    "hash=False": "Its metrics hash was missing.",
    "offline_since": "It is offline since {offline_since}{exact}.",
    "loss": "It is a member of the mass loss {loss}, so it has no page of its own.",
    "fault": "Redis's last fault was: {fault}, from {fault_since} until {fault_until}.",
    "reason": "The reason: {reason}.",
    "node": "The plan gives it to node {node}.",
    "loaded_on": "It is loaded on {loaded_on}.",
    "listed_by": "The last list of {listed_by} names it.",
    "dropped": "It has dropped {dropped} events since this began.",
    "idle_seconds": "It looked at the plan {idle_seconds} s before.",
    "error": "The error: {error}.",
    "since": "It began at {since}.",
    "redis_run_id": "Redis's run: {redis_run_id}, a {redis_role}.",
    "resolved=True": "Its end was posted.",
    "previous_run": "Its previous run {previous_run}.",
    "version": "Version {version}.",
    "events": "Events of the journal that were lost: {events}.",
}
"""The sentence for each fact in the evidence: a key that has a value, or that has the value behind ``=``."""


def redis_unreadable(since: float | None, error: str) -> str:
    """Return that Redis cannot be read, since when and why, as one sentence.

    Args:
        since: Unix time since which it cannot be read; None if that is unknown.
        error: Why, in one line; empty if that is unknown.
    """
    when = "" if since is None else f" since {at(since)}"
    return f"Redis cannot be read{when}{f': {shown(error)}' if error else ''}."


def redis_away(since: float | None, error: str, known_at: float | None, counts: Mapping[State, int]) -> str:
    """Return sentences on an outage of Redis: its start and cause, the last known states, and the alerts to expect.

    Args:
        since: Unix time since which it cannot be read; None if that is unknown.
        error: Why, in one line; empty if that is unknown.
        known_at: Unix time of the last read; None if there was none.
        counts: How many nodes there were in each state at that time.
    """
    known = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no nodes"
    last = "" if known_at is None else f" The last that was known is old, of {at(known_at)}: {known}."
    return (
        f"{redis_unreadable(since, error)} So nothing is known of the nodes now.{last}"
        " No node is called dead for this; GinkgoRedisUnreachable pages when it lasts for a minute."
    )


def writes_refused(since: float, errors: Mapping[str, int]) -> str:
    """Return sentences on a Redis that refuses writes.

    Args:
        since: Unix time since which it does.
        errors: The refused writes by error, since Redis started.
    """
    counted = ", ".join(f"{shown(error)} {count}" for error, count in errors.items() if count)
    return (
        f"Redis refuses writes since {at(since)}{f' ({counted})' if counted else ''}, so no node can beat."
        " No node is called dead for this; GinkgoRedisWritesRefused pages."
    )


def alertmanager_refuses(url: str, since: float, problem: str) -> str:
    """Return sentences on an Alertmanager that takes no posts.

    Args:
        url: Its address.
        since: Unix time since which it takes none.
        problem: Why, in one line.
    """
    return (
        f"Alertmanager {shown(url)} takes no posts since {at(since)}: {shown(problem)}."
        " Its alerts are posted again until it takes them."
    )


def undecided(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return sentences on the undecided nodes among some rows: which, for which reason, and until when.

    Args:
        rows: Rows of ``exporter.snapshot.rows``, or of the JSON of another exporter.
    """
    causes: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] == State.UNDECIDED:
            causes.setdefault(str(row.get("undecided_because") or "the reason is unknown"), []).append(row)
    largest = sorted(causes.items(), key=lambda item: -len(item[1]))
    left = sum(len(nodes) for _, nodes in largest[_MOST:])
    more = [f"{left} more nodes are undecided for other reasons."] if left else []
    return [_undecided(cause, nodes) for cause, nodes in largest[:_MOST]] + more


def _undecided(cause: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names, alone = first([row["node_id"] for row in rows]), len(rows) == 1
    subject = f"Node {names} is" if alone else f"{len(rows)} nodes ({names}) are"
    ends = [row["undecided_until"] for row in rows if row.get("undecided_until") is not None]
    until = f" {'It' if alone else 'They'} cannot be called dead before {at(min(ends))}." if ends else ""
    return f"{subject} undecided: {shown(cause)}.{until}"
