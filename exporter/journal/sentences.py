"""The sentences of an event: page, table, log and ``explain`` say the same in the same words.

A sentence is made from an event's JSON values, so events of another process have sentences too. Texts from outside are
escaped: an id can neither move a cursor nor imitate a line.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from exporter.escaping import printable
from exporter.journal.event import Event, EventKind
from exporter.liveness.evidence import Why
from exporter.snapshot.rows import moment

FIRST: Final = 3
"""Most subjects that a sentence names."""
_LONGEST: Final = 200


def shown(text: object) -> str:
    """Return a text from outside on one line; a text that is too long to read is cut off."""
    line = printable(str(text))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def at(unix: object) -> str:
    """Return a Unix time as people read it."""
    return f"{moment(float(unix))} UTC" if isinstance(unix, int | float) else "an unknown time"


def offline_since(unix: object, *, exact: bool) -> str:
    """Return since when a node is offline; without ``exact`` it may be offline for longer."""
    return f"It is offline since {at(unix)}{'' if exact else ' at the latest'}."


def headline(event: Event, subject: str | None = None) -> str:
    """Return what has changed, as one sentence without its time and its cause.

    Args:
        event: The event.
        subject: The subject that is of interest; None for all of them.
    """
    return _HEADLINES[event.kind](event, subject)


def reasons(event: Event, subject: str | None = None) -> list[str]:
    """Return why it was judged so, sentence by sentence.

    Args:
        event: The event.
        subject: The subject that is of interest; None for what holds for all of them.
    """
    alone = event.subjects[0] if len(event.subjects) == 1 else ""
    evidence = event.evidence_of(alone if subject is None else subject)
    if event.kind is EventKind.NODE:
        return list(_node_reasons(event, evidence))
    return [text for key, say in _OTHER_REASONS.items() if evidence.get(key) and (text := say(evidence))]


def _names(event: Event, subject: str | None, one: str, many: str) -> str:
    if subject is not None or len(event.subjects) == 1:
        alone = shown(event.subjects[0] if subject is None else subject)
        others = len(event.subjects) - 1
        return f"{one} {alone}" + (f", with {others} {many if others > 1 else one.lower()} more," if others else "")
    named = ", ".join(shown(name) for name in event.subjects[:FIRST])
    left = len(event.subjects) - FIRST
    return f"{len(event.subjects)} {many} ({named}{f' and {left} more' if left > 0 else ''})"


def _node(event: Event, subject: str | None) -> str:
    names = _names(event, subject, "Node", "nodes")
    several = subject is None and len(event.subjects) > 1
    verb = "are" if several else "is"
    match event.before, event.after:
        case None, "online":
            return f"{names} {verb} seen for the first time: online."
        case (("offline" | "forgotten"), "online"):
            return f"{names} {verb} back online."
        case "undecided", "online":
            return f"{names} {verb} online after all."
        case "offline", "offline":
            return f"{names} {verb} still offline."
        case _, "gone":
            return f"{names} stopped." if event.evidence.get("because") == Why.STOPPED else f"{names} {verb} gone."
        case _, after:
            return f"{names} {verb} {shown(after)}."


def _portfolio(event: Event, subject: str | None) -> str:
    names = _names(event, subject, "Portfolio", "portfolios")
    verb, were = ("are", "they were") if subject is None and len(event.subjects) > 1 else ("is", "it was")
    if event.before == event.after:
        return f"{names} {verb} still {shown(event.after)}, for another reason."
    return f"{names} {verb} {shown(event.after)}{f'; {were} {shown(event.before)} before' if event.before else ''}."


def _redis(event: Event, _: str | None) -> str:
    return f"Redis: {shown(event.after)}."


def _mass_loss(event: Event, subject: str | None) -> str:
    names = _names(event, subject, "Node", "nodes")
    over = event.after == "over"
    return f"The mass loss is over. Its last members: {names}." if over else f"Mass loss: {names} lost together."


def _push(event: Event, _: str | None) -> str:
    place = f"Alertmanager {shown(event.evidence.get('alertmanager', ''))}"
    sentences = {
        "taken": f"{place} took {_alerts(event)}.",
        "ended": f"T{_alerts(event)[1:]} is no longer pushed.",
        "refused": f"{place} takes no posts.",
        "active": f"{place} takes posts{' again' if event.before else ''}.",
    }
    return sentences.get(event.after, f"Push: {shown(event.after)}.")


def _alerts(event: Event) -> str:
    name = str(event.evidence.get("alertname", event.subjects[0]))
    nodes = [subject for subject in event.subjects if subject != name]
    named = ", ".join(shown(node) for node in nodes[:FIRST])
    more = f" and {len(nodes) - FIRST} more" if len(nodes) > FIRST else ""
    return f"the alert {shown(name)}" + (f" for {named}{more}" if nodes else "")


def _scheduler(event: Event, _: str | None) -> str:
    return f"The scheduler: {shown(event.after)}."


def _exporter(event: Event, _: str | None) -> str:
    return f"The exporter {shown(event.after)}."


_HEADLINES: Final[Mapping[EventKind, Callable[[Event, str | None], str]]] = {
    EventKind.NODE: _node,
    EventKind.PORTFOLIO: _portfolio,
    EventKind.REDIS: _redis,
    EventKind.MASS_LOSS: _mass_loss,
    EventKind.PUSH: _push,
    EventKind.SCHEDULER: _scheduler,
    EventKind.EXPORTER: _exporter,
}


def _node_reasons(event: Event, evidence: Mapping[str, Any]) -> list[str]:
    said = [f"The reason: {shown(evidence.get('because', 'unknown'))}."]
    ttl, deadline = evidence.get("heartbeat_ttl_seconds"), evidence.get("deadline")
    if ttl == -1:
        said.append("The heartbeat had no expiry (PTTL -1), so it proves no life.")
    elif ttl:
        said.append(f"The heartbeat had {shown(ttl)} s left (PTTL).")
    elif ttl == 0:
        end = f", and its last one was to end at {at(deadline)}" if deadline is not None else ""
        never = "" if deadline is not None else ", and this exporter never saw one"
        said.append(f"The node had no heartbeat{end}{never}.")
    if evidence.get("heartbeat"):
        said.append(f'The last heartbeat said "{shown(evidence["heartbeat"])}".')
    if evidence.get("hash") is not None:
        said.append("Its metrics hash was there." if evidence["hash"] else "Its metrics hash was missing.")
    if evidence.get("offline_since") is not None:
        exact = evidence.get("offline_since_exact") is True
        said.append(offline_since(evidence["offline_since"], exact=exact))
    if evidence.get("mass_loss"):
        said.append("It is a member of a mass loss, so it has no page of its own.")
    if evidence.get("fault"):
        until = evidence.get("fault_until")
        end = f"until {at(until)}" if until is not None else "and it lasted"
        said.append(
            f"Redis's last fault was: {shown(evidence['fault'])}, from {at(evidence.get('fault_since'))} {end}."
        )
    elif event.after in ("offline", "undecided"):
        said.append("Redis had no fault that may explain it.")
    return said + _server_reasons(evidence)


def _server_reasons(evidence: Mapping[str, Any]) -> list[str]:
    said = []
    if evidence.get("redis_run_id"):
        said.append(f"It was read from run {shown(evidence['redis_run_id'])} of Redis, a {_role(evidence)}.")
    if evidence.get("evicted_at") is not None:
        said.append(f"Redis evicted {shown(evidence.get('evicted_keys'))} keys up to {at(evidence['evicted_at'])}.")
    if evidence.get("refused_at") is not None:
        refused = ", ".join(f"{shown(error)} {shown(n)}" for error, n in _mapping(evidence.get("refused_writes")))
        said.append(f"Redis refused writes up to {at(evidence['refused_at'])}: {refused}.")
    return said


def _role(evidence: Mapping[str, Any]) -> str:
    return shown(evidence.get("redis_role") or "server of unknown role")


def _listed(value: object) -> str:
    return ", ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def _mapping(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, Mapping) else []


_OTHER_REASONS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "reason": lambda evidence: f"The reason: {shown(evidence['reason'])}.",
    "node": lambda evidence: f"The plan gives it to node {shown(evidence['node'])}.",
    "loaded_on": lambda evidence: f"It is loaded on {_listed(evidence['loaded_on'])}.",
    "listed_by": lambda evidence: f"The last list of {_listed(evidence['listed_by'])} names it.",
    "idle_seconds": lambda evidence: f"It looked at the plan {shown(evidence['idle_seconds'])} s before.",
    "error": lambda evidence: f"The error: {shown(evidence['error'])}.",
    "since": lambda evidence: f"It began at {at(evidence['since'])}.",
    "seconds": lambda evidence: f"It lasted {shown(evidence['seconds'])} s.",
    "answer": lambda evidence: f"The answer: {shown(evidence['answer'])}.",
    "labels": lambda evidence: (
        f"Its labels: {', '.join(f'{shown(k)}={shown(v)}' for k, v in _mapping(evidence['labels']))}."
    ),
    "starts_at": lambda evidence: f"It was posted as firing since {at(evidence['starts_at'])}.",
    "redis_run_id": lambda evidence: f"Redis's run: {shown(evidence['redis_run_id'])}, a {_role(evidence)}.",
    "resolved": lambda _: "Its end was posted.",
    "previous_run": lambda evidence: f"Its previous run {shown(evidence['previous_run'])}.",
    "version": lambda evidence: f"Version {shown(evidence['version'])}.",
    "journal": lambda evidence: f"The journal: {shown(evidence['journal'])}.",
}
