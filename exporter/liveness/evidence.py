"""The evidence of a verdict: what the judge knew of a node when it changed its state.

Evidence is gathered for changes alone, after the judgement, so that a scrape in which nothing changes pays nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from exporter.liveness.faults import Fault
from exporter.liveness.heartbeats import Heartbeat
from exporter.liveness.server_evidence import ServerEvidence
from exporter.liveness.states import Change, Missing, State
from exporter.source.reading import NO_EXPIRY, Reading

if TYPE_CHECKING:
    from exporter.liveness.rules import Rules


class Why(StrEnum):
    """The rule that decided."""

    BEATS = "its heartbeat lives"
    STOPPED = "its heartbeat and its hash were deleted"
    NOT_FOUND = "Redis has no key of it any more"
    LOST = "Redis lost its keys, and it has not beaten for an hour since"
    ENDED = "its heartbeat ended"
    CHANCE_OVER = "it did not beat although Redis gave it the time"
    NEVER_EXPIRES = "its heartbeat never expires"
    HASH_ALONE = "it has a hash and no heartbeat"
    FAULT = "a fault of Redis may explain the missing heartbeat"
    FIRST_LOOK = "a second look decides"
    HELD = "its death may be part of a mass loss"
    LONG_OFFLINE = "it is offline for longer than --nodes.forget-after"
    REMEMBERED = "it was offline in an earlier run of this exporter, and has no heartbeat"


@dataclass(frozen=True, slots=True)
class Finding:
    """A change of a node's state with its evidence. Times are monotonic, in seconds.

    Attributes:
        change: The change. Findings include new nodes and nodes that stop, of which ``on_changes`` says nothing.
        why: The rule that decided.
        ttl_ms: The PTTL of the heartbeat, as Redis gave it; None if the heartbeat was not read.
        has_hash: Whether the hash was there; None if it was not read.
        beat: What the node wrote as its last heartbeat; None if no heartbeat of it was ever seen.
        deadline: When the last heartbeat ended, or will end; None if no heartbeat was ever seen.
        since: Since when the node is offline; None if it is not.
        exact: Whether ``since`` is the end of its heartbeat.
        fault: The last fault of Redis that may excuse the node; None without one.
        member: Whether the node is a member of a mass loss.
        server: What the Redis that holds its heartbeat said; None if it has not answered yet.
    """

    change: Change
    why: Why
    ttl_ms: int | None
    has_hash: bool | None
    beat: bytes | None
    deadline: float | None
    since: float | None
    exact: bool
    fault: Fault | None
    member: bool
    server: ServerEvidence | None


class Dropped(NamedTuple):
    """What was known of a node that the judge has forgotten.

    Attributes:
        state: Its state; None if it had none.
        heartbeat: Its last heartbeat; None if none was ever seen.
    """

    state: State | None
    heartbeat: Heartbeat | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judgement changed.

    Attributes:
        at: Its monotonic time.
        changes: The changes of states.
        dropped: The nodes that the judge has forgotten.
        arrived: The nodes that were seen alive for the first time.
        reading: The reading; None if there was none.
        why: Why nodes are gone if no reading says it.
    """

    at: float
    changes: Sequence[Change]
    dropped: Mapping[bytes, Dropped]
    arrived: Sequence[bytes] = ()
    reading: Reading | None = None
    why: Why = Why.NOT_FOUND

    def all_changes(self) -> list[Change]:
        """Return the changes of states, and one for each node that is new or has left without such a change."""
        known = {change.name for change in self.changes}
        new = [Change(name, None, State.ONLINE, self.at) for name in self.arrived if name not in known]
        left = [
            Change(name, dropped.state, State.GONE, self.at)
            for name, dropped in self.dropped.items()
            if name not in known and dropped.state is not None
        ]
        return [*self.changes, *new, *left]


def findings(rules: "Rules", judgement: Judgement) -> list[Finding]:
    """Return what a judgement changed, with the evidence of now.

    Args:
        rules: What is known of all nodes.
        judgement: The judgement.
    """
    changes = judgement.all_changes()
    read = _read(judgement.reading, {change.name for change in changes}) if judgement.reading else {}
    members = rules.mass_loss.members
    servers: dict[tuple[str, ...], ServerEvidence | None] = {}
    found = []
    for change in changes:
        name = change.name
        ttl_ms, has_hash = read.get(name, (None, None))
        node, dropped = rules.missing.get(name), judgement.dropped.get(name)
        heartbeat = dropped.heartbeat if dropped else rules.heartbeats.get(name)
        offline = node if node and node.offline else None
        fault = max(rules.faults.of(name), key=lambda fault: (fault.end, fault.start), default=None)
        found.append(
            Finding(
                change=change,
                why=_why(rules, change, node, ttl_ms) if ttl_ms is not None else _unread(rules, change, judgement.why),
                ttl_ms=ttl_ms,
                has_hash=has_hash,
                beat=heartbeat and heartbeat.text,
                deadline=(heartbeat and heartbeat.deadline) if dropped else rules.deadline(name),
                since=offline.died if offline else None,
                exact=offline.ended if offline else False,
                fault=fault and replace(fault),  # it may change later
                member=name in members,
                server=_server(rules, name, servers),
            )
        )
    return found


def _read(reading: Reading, wanted: Collection[bytes]) -> dict[bytes, tuple[int, bool]]:
    """Return the PTTL of each wanted node of a reading, and whether its hash was there."""
    rows = enumerate(zip(reading.names, reading.ttl_ms, strict=True))
    return {
        name: (ttl, position not in reading.without_hash)
        for position, (name, ttl) in rows
        if name in wanted and position not in reading.unread
    }


def _unread(rules: "Rules", change: Change, why: Why) -> Why:
    return why if change.after is State.GONE else _why(rules, change, rules.missing.get(change.name), None)


def _why(rules: "Rules", change: Change, node: Missing | None, ttl_ms: int | None) -> Why:  # noqa: PLR0911 - a table
    match change.after:
        case State.ONLINE:
            return Why.BEATS
        case State.GONE:
            return Why.STOPPED
        case State.FORGOTTEN:
            return Why.LONG_OFFLINE
        case State.UNDECIDED:
            if change.name in rules.mass_loss.held:
                return Why.HELD
            return Why.FIRST_LOOK if change.before is None and not rules.faults.of(change.name) else Why.FAULT
    if node and node.remembered:
        return Why.REMEMBERED
    if ttl_ms == NO_EXPIRY:
        return Why.NEVER_EXPIRES
    if node and node.ended:
        return Why.ENDED
    return Why.CHANCE_OVER if change.name in rules.heartbeats else Why.HASH_ALONE


def _server(rules: "Rules", name: bytes, known: dict[tuple[str, ...], ServerEvidence | None]) -> ServerEvidence | None:
    """Return what the Redis of a node's heartbeat said, the same object for all nodes of that Redis."""
    holders = rules.faults.server.holders(name) if rules.faults.server else ()
    if holders not in known:
        known[holders] = next((each.evidence for each in reversed(rules.faults.holding(name))), None)
    return known[holders]
