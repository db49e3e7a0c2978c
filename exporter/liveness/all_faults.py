"""The faults of every Redis that holds nodes' keys: each primary of a cluster has faults of its own."""

from collections.abc import Callable

from exporter.liveness.faults import NEVER, ONGOING, Fault, Kind, ServerFaults, chance
from exporter.source.reading import Reading, Server

Hit = Callable[[bytes], bool]
"""Returns whether something holds for a node: a fault of one primary of a cluster hits only that primary's nodes."""


class Faults:
    """The faults of every Redis that holds nodes' keys. Not thread-safe: the judge's lock guards it.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.

    Attributes:
        server: What Redis said about itself in its last answer; None before the first answer.
        at: When that answer came, in monotonic seconds.
    """

    def __init__(self, ttl: float, beat: float) -> None:
        self.server: Server | None = None
        self._ttl, self._beat = ttl, beat
        self._by_address: dict[str, ServerFaults] = {}
        self._moves: list[tuple[Fault, Hit]] = []
        self.at = NEVER
        self._asked = ONGOING  # when Redis was asked for the first time

    def ask(self, at: float) -> None:
        """Record that Redis is asked: if its first answer comes long after that, it was silent meanwhile."""
        self._asked = min(self._asked, at)

    @property
    def writes_refused_since(self) -> float | None:
        """Since when any Redis is assumed to refuse writes, in monotonic seconds; None while all take writes."""
        since = (each.writes_refused_since for each in self._by_address.values())
        return min((start for start in since if start is not None), default=None)

    @property
    def excuse_heartbeats(self) -> bool:
        """Whether a fault lasts, or ended so recently that it may still excuse a missing heartbeat."""
        moves = any(chance([fault], fault.end, self.at) < self._ttl + self._beat for fault, _ in self._moves)
        return moves or any(each.faults for each in self._by_address.values())

    @property
    def calm(self) -> bool:
        """Whether all servers that hold keys gave the last answer, and no fault counts."""
        server = self.server
        return server is not None and len(server.members) == len(server.addresses) and not self.excuse_heartbeats

    def shows_present_data(self, reading: Reading) -> bool:
        """Return whether Redis had not lost the data of a reading when it last answered.

        Readings overlap. So one that began before Redis lost its data may come after an answer that shows the loss.
        """
        server, now = reading.server, self.server
        if reading.at >= self.at or now is None:
            return True
        return server.placement == now.placement and all(
            (member.run_id, member.flushes) == (known.run_id, known.flushes)
            for address, member in server.members.items()
            if (known := now.members.get(address))
        )

    def observe(self, server: Server, at: float) -> list[tuple[Kind, Hit]]:
        """Record an answer, and return the faults that it is the first to show, each with the nodes that it hit.

        Args:
            server: What Redis said about itself; in a cluster, what each primary that answered said.
            at: Monotonic time of the answer. An answer that is older than the last one is ignored.
        """
        if at < self.at:
            return []
        before, self.server, self.at = self.server, server, at
        new: list[tuple[Kind, Hit]] = []
        if before and before.placement != server.placement:
            new.append(self._move(before, server, at))
        awaited = min(at, self._asked) if before is None else at
        for address in server.addresses:
            self._by_address.setdefault(address, ServerFaults(self._ttl, self._beat, awaited))
        for address, member in server.members.items():
            each = self._by_address.setdefault(address, ServerFaults(self._ttl, self._beat))
            new += [(kind, _held_by(server, address)) for kind in each.observe(member, at)]
        return new

    @property
    def moved(self) -> bool:
        """Whether slots have moved to other primaries so recently that nodes of one Redis may have different faults."""
        return bool(self._moves)

    def of(self, name: bytes) -> list[Fault]:
        """Return the faults that may still excuse a node's missing heartbeat."""
        return [fault for each in self.holding(name) for fault in each.faults] + [
            fault for fault, hit in self._moves if hit(name)
        ]

    def evicted_at(self, name: bytes) -> float:
        """Return when a Redis that holds a node's keys last showed new evictions; ``NEVER`` if it did not."""
        return max((each.evicted_at for each in self.holding(name)), default=NEVER)

    def observe_beats(self, reading: Reading) -> None:
        """Record the beats in a reading: a beat shows that the Redis of the heartbeat takes writes."""
        if self.writes_refused_since is not None and self.server:
            for name, ms in zip(reading.names, reading.ttl_ms, strict=True):
                if ms > 0 and (holder := self._by_address.get(self.server.holders(name)[-1])):
                    holder.observe_beat(reading.asked - self._ttl + min(ms / 1000, self._ttl))

    def heard_since(self, moment: float) -> Hit:
        """Return what tells whether each Redis of a node has answered since a moment, in monotonic seconds."""
        silent = {address for address, each in self._by_address.items() if each.answered_at < moment}
        server = self.server
        return lambda name: not silent or server is None or silent.isdisjoint(server.holders(name))

    def holding(self, name: bytes) -> list[ServerFaults]:
        """Return the faults of each Redis that holds a node's hash or heartbeat."""
        addresses = self.server.holders(name) if self.server else ()
        return [self._by_address[address] for address in addresses if address in self._by_address]

    def _move(self, before: Server, server: Server, at: float) -> tuple[Kind, Hit]:
        """Record that slots moved to other primaries.

        The nodes of these slots have had no chance since the last answer of the old primary.
        """
        silent = [each.silent_since for address, each in self._by_address.items() if address not in server.members]
        self._by_address = {it: each for it, each in self._by_address.items() if it in server.addresses}
        fault = Fault(Kind.MOVED, min(silent, default=at), at)
        self._moves = [(old, hit) for old, hit in self._moves if chance([old], old.end, at) < self._ttl + self._beat]
        self._moves.append((fault, hit := _moved(before, server)))
        return Kind.MOVED, hit


def _moved(before: Server, after: Server) -> Hit:
    return lambda name: before.holders(name) != after.holders(name)


def _held_by(server: Server, address: str) -> Hit:
    return lambda name: address in server.holders(name)
