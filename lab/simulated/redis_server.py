"""A simulated Redis: the platform's keys, expiry, outages, restarts and refused writes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from exporter.source.reading import REFUSALS, Reading, Server
from lab.readings import WALL, Pair, reading_of
from lab.simulated.platform_keys import PlatformKeys

TTL: Final = 30.0
"""Seconds that a heartbeat lives."""


class SimulatedRedis:
    """The keys of Redis, and whether it answers and takes writes.

    Args:
        clock: Returns the simulated time in seconds.

    Attributes:
        down: Whether it does not answer.
        refusing: The error with which it refuses writes; None while it takes writes.
        memory_used_ratio: used_memory / maxmemory; None without a limit.
        platform: The keys that are no node's: plan, states of portfolios, workers.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hashes: dict[str, Mapping[str, str]] = {}
        self._heartbeats: dict[str, float] = {}  # when each one expires
        self.platform = PlatformKeys(clock)
        self._dump: tuple[dict[str, Mapping[str, str]], dict[str, float], PlatformKeys] = {}, {}, self.platform.copy()
        self._run, self._started, self._restored = 1, clock() - 86_400, False
        self._refused = dict.fromkeys(REFUSALS, 0)
        self.down = False
        self.refusing: str | None = None
        self.memory_used_ratio: float | None = None

    @property
    def writable(self) -> bool:
        """Whether a write would succeed now; a refused write is counted."""
        if self.down:
            return False
        if self.refusing:
            self._refused[self.refusing] += 1
        return self.refusing is None

    def beat(self, name: str, fields: Mapping[str, str] | None, states: Mapping[str, Mapping[str, str]]) -> None:
        """Write the keys of a beat: the heartbeat, the hash unless it is None, and the states of portfolios."""
        if self.writable:
            self._heartbeats[name] = self._clock() + TTL
            if fields is not None:
                self._hashes[name] = fields
            self.platform.states |= states

    def worker_beats(self, key: str) -> None:
        """Write the heartbeat of another component."""
        if self.writable:
            self.platform.workers[key] = self._clock() + TTL

    def delete(self, name: str) -> None:
        """Delete both keys of a node."""
        if self.writable:
            self._heartbeats.pop(name, None)
            self._hashes.pop(name, None)

    def delete_hash(self, name: str) -> None:
        """Delete a node's hash alone."""
        self._hashes.pop(name, None)

    def save(self) -> None:
        """Take a snapshot, which a later restart can restore."""
        self._dump = dict(self._hashes), dict(self._heartbeats), self.platform.copy()

    def restart(self, *, data: str) -> None:
        """Answer again with another run id; ``data`` is "kept", "saved" (from the last snapshot) or "lost"."""
        if data == "saved":
            self._hashes, self._heartbeats, self.platform = (
                dict(self._dump[0]),
                dict(self._dump[1]),
                self._dump[2].copy(),
            )
        elif data == "lost":
            self._hashes, self._heartbeats, self.platform = {}, {}, PlatformKeys(self._clock)
        self._run, self._started, self._restored = self._run + 1, self._clock(), data != "lost"
        self._refused = dict.fromkeys(REFUSALS, 0)
        self.down = False

    def fields_of(self, name: str) -> Mapping[str, str]:
        """Return the fields of a node's hash; empty without a hash."""
        return self._hashes.get(name, {})

    def living(self) -> dict[str, Mapping[str, str]]:
        """Return the hash of each node that has a heartbeat, as the platform's scheduler sees them."""
        now = self._clock()
        return {name: self.fields_of(name) for name, end in sorted(self._heartbeats.items()) if end > now}

    def names(self) -> frozenset[bytes]:
        """Return the names of all nodes that have keys."""
        now = self._clock()
        living = {name for name, end in self._heartbeats.items() if end > now}
        return frozenset(name.encode() for name in living | self._hashes.keys())

    def server(self) -> Server:
        """Return the values of ``INFO``."""
        return Server(
            run_id=f"run-{self._run}",
            role="master",
            uptime=self._clock() - self._started,
            restored=self._restored,
            refused=dict(self._refused),
            last_save_ok=self.refusing != "MISCONF",
            memory_used_ratio=self.memory_used_ratio,
        )

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:  # noqa: ARG002 - simulated Redis answers at once
        """Return a reading of some nodes, as the exporter's ``Reader`` does."""
        return reading_of({name: self._pair(name.decode()) for name in names}, self._clock(), self.server(), names)

    def _pair(self, name: str) -> Pair:
        end = self._heartbeats.get(name, 0.0)
        fields = self._hashes.get(name)
        return Pair(
            ttl=end - self._clock() if end > self._clock() else None,
            fields=None if fields is None else {field: text.encode() for field, text in fields.items()},
            beat=datetime.fromtimestamp(WALL + end - TTL, UTC).isoformat().encode(),
        )
