"""The evidence of a verdict: what the judge knew of a node when it changed its state.

Evidence is gathered for changes alone, after the judgement, so that a scrape in which nothing changes pays nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from exporter.liveness.faults import ONGOING, Fault
from exporter.liveness.states import Change, Missing, State
from exporter.source.reading import MISSING, NO_EXPIRY, Reading

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
class ServerEvidence:
    """What the Redis that holds a node's keys said about itself.

    Attributes:
        run_id: Its run; empty if it does not say.
        role: Its role.
        evicted: Keys that it evicted between the two last looks that differ.
        evicted_at: When a look last showed that, in monotonic seconds; None if no look did.
        refused: Writes that it refused between the two last looks that differ, by error.
        refused_at: When a look last showed that, in monotonic seconds; None if no look did.
    """

    run_id: str = ""
    role: str = ""
    evicted: int = 0
    evicted_at: float | None = None
    refused: Mapping[str, int] | None = None
    refused_at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A change of a node's state with its evidence. Times are monotonic, in seconds.

    Attributes:
        change: The change. Unlike the judge's other listeners, this one hears of new nodes and of nodes that stop.
        why: The rule that decided.
        ttl_ms: The PTTL of the heartbeat, as Redis gave it; None if the heartbeat was not read.
        has_hash: Whether the hash was there; None if it was not read.
        beat: What the node wrote as its last heartbeat; None if no heartbeat of it was ever seen.
        deadline: When the last heartbeat ended, or will end; None if no heartbeat was ever seen.
        since: Since when the node is offline; None if it is not.
        exact: Whether ``since`` is the end of its heartbeat.
        fault: The last fault of Redis that may excuse the node; None without one.
        member: Whether the node is a member of a mass loss.
        server: What its Redis said; None if it has not answered yet.
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


def gathered(rules: "Rules", changes: Iterable[Change], reading: Reading | None = None) -> list[Verdict]:
    """Return changes with the evidence of now.

    Args:
        rules: What is known of all nodes.
        changes: The changes.
        reading: The reading that showed them; None if no reading did.
    """
    read: dict[bytes, tuple[int | None, bool | None]] = {}
    if reading is not None:
        wanted = {change.name for change in changes}
        read = {
            name: (ttl, position not in reading.without_hash)
            for position, (name, ttl) in enumerate(zip(reading.names, reading.ttl_ms, strict=True))
            if name in wanted
        }
    members = rules.mass_loss.members
    servers: dict[tuple[str, ...], ServerEvidence | None] = {}
    return [_verdict(rules, change, read.get(change.name, _UNREAD), members, servers) for change in changes]


def _verdict(
    rules: "Rules",
    change: Change,
    read: tuple[int | None, bool | None],
    members: Iterable[bytes],
    servers: dict[tuple[str, ...], ServerEvidence | None],
) -> Verdict:
    name = change.name
    ttl_ms, has_hash = read
    node, heartbeat = rules.missing.get(name), rules.heartbeats.get(name)
    offline = node is not None and node.offline
    fault = max(rules.faults.of(name), key=lambda fault: (fault.end, fault.start), default=None)
    return Verdict(
        change=change,
        why=_why(rules, change, node, ttl_ms),
        ttl_ms=ttl_ms,
        has_hash=has_hash,
        beat=heartbeat and heartbeat.text,
        deadline=rules.deadline(name),
        since=node.died if node and offline else None,
        exact=bool(node and offline and node.ended),
        fault=fault and Fault(fault.kind, fault.start, fault.end, fault.share),
        member=name in members,
        server=_server(rules, name, servers),
    )


def _why(rules: "Rules", change: Change, node: Missing | None, ttl_ms: int | None) -> Why:  # noqa: PLR0911 - a table
    match change.after:
        case State.ONLINE:
            return Why.BEATS
        case State.GONE:
            lost = change.name in rules.lost
            return Why.LOST if lost else Why.NOT_FOUND if ttl_ms is None else Why.STOPPED
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
    return Why.CHANCE_OVER if rules.deadline(change.name) is not None else Why.HASH_ALONE


def _server(rules: "Rules", name: bytes, known: dict[tuple[str, ...], ServerEvidence | None]) -> ServerEvidence | None:
    """Return what the Redis of a node's heartbeat said, the same object for all nodes of that Redis."""
    holders = rules.faults.server.holders(name) if rules.faults.server else ()
    if holders not in known:
        known[holders] = next((each.evidence() for each in reversed(rules.faults.holding(name))), None)
    return known[holders]


def is_ongoing(fault: Fault) -> bool:
    """Return whether a fault lasts."""
    return fault.end == ONGOING


def is_missing(ttl_ms: int) -> bool:
    """Return whether this PTTL says that the key does not exist."""
    return ttl_ms == MISSING


def arrivals(names: Iterable[bytes], changes: Iterable[Change], at: float) -> Iterator[Change]:
    """Yield a change for each node that was seen alive for the first time, unless it has one already."""
    known = {change.name for change in changes}
    return (Change(name, None, State.ONLINE, at) for name in names if name not in known)
