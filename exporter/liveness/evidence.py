"""The evidence of a verdict: what the judge knew of a node when it changed its state.

Evidence is gathered for changes alone, after the judgement, so that a scrape in which nothing changes pays nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.liveness.faults import Fault
from exporter.liveness.heartbeats import Dropped
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


class Finding(NamedTuple):
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


_UNREAD: Final = (None, None)


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
    members, held = rules.mass_loss.members, rules.mass_loss.held
    redis = _RedisOf(rules)
    found = []
    for change in changes:
        name = change.name
        ttl_ms, has_hash = read.get(name, _UNREAD)
        node, dropped = rules.missing.get(name), judgement.dropped.get(name)
        heartbeat = dropped.heartbeat if dropped else rules.heartbeats.get(name)
        server, fault, evicted_at = redis.of(name)
        offline = node is not None and node.offline
        found.append(
            Finding(
                change,
                judgement.why
                if change.after is State.GONE and ttl_ms is None
                else _why(
                    change, node, ttl_ms, held=name in held, faulty=fault is not None, known=heartbeat is not None
                ),
                ttl_ms,
                has_hash,
                heartbeat and heartbeat.text,
                rules.deadline_of(heartbeat, evicted_at),
                node.died if node and offline else None,
                node.ended if node and offline else False,
                fault,
                name in members,
                server,
            )
        )
    return found


class _RedisOf:
    """What is known of the Redis of a node, computed once for all nodes of the same Redis."""

    def __init__(self, rules: "Rules") -> None:
        self._faults = rules.faults
        self._known: dict[object, tuple[ServerEvidence | None, Fault | None, float]] = {}

    def of(self, name: bytes) -> tuple[ServerEvidence | None, Fault | None, float]:
        """Return the evidence, the last fault that may excuse the node, and when keys were last evicted."""
        faults = self._faults
        key = name if faults.moved or faults.server is None else faults.server.holders(name)
        if key not in self._known:
            server = next((each.evidence for each in reversed(faults.holding(name))), None)
            fault = max(faults.of(name), key=lambda fault: (fault.end, fault.start), default=None)
            # A copy, since the fault may change later.
            self._known[key] = server, fault and replace(fault), faults.evicted_at(name)
        return self._known[key]


def _read(reading: Reading, wanted: Collection[bytes]) -> dict[bytes, tuple[int, bool]]:
    """Return the PTTL of each wanted node of a reading, and whether its hash was there."""
    rows = enumerate(zip(reading.names, reading.ttl_ms, strict=True))
    return {
        name: (ttl, position not in reading.without_hash)
        for position, (name, ttl) in rows
        if name in wanted and position not in reading.unread
    }


def _why(  # noqa: PLR0911, PLR0913 - a table
    change: Change, node: Missing | None, ttl_ms: int | None, *, held: bool, faulty: bool, known: bool
) -> Why:
    match change.after:
        case State.ONLINE:
            return Why.BEATS
        case State.GONE:
            return Why.STOPPED
        case State.FORGOTTEN:
            return Why.LONG_OFFLINE
        case State.UNDECIDED if held:
            return Why.HELD
        case State.UNDECIDED:
            return Why.FIRST_LOOK if change.before is None and not faulty else Why.FAULT
    if node and node.remembered:
        return Why.REMEMBERED
    if ttl_ms == NO_EXPIRY:
        return Why.NEVER_EXPIRES
    if node and node.ended:
        return Why.ENDED
    return Why.CHANCE_OVER if known else Why.HASH_ALONE
