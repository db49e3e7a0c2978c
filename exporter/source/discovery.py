"""Discovery of node names: a SCAN in the background finds the nodes that have keys in Redis."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.contract import WORKER_PREFIXES
from exporter.source.connection import KeyNames, Pool, expected, pack

COUNT: Final = 1000
"""Keys that one SCAN command examines: it blocks Redis for well under a millisecond."""
SHARE: Final = 0.02
"""Share of Redis's time that discovery may use."""
PAGE: Final = 0.001
"""Seconds that Redis works on one page at most."""
WORKERS: Final = tuple(prefix.encode() for prefix in WORKER_PREFIXES.values())
"""What the keys of workers' heartbeats begin with."""
LONGEST_NAME: Final = 16 * 2**10
"""Bytes of a node's id: each of its series holds the id."""
SPARE: Final = 2
"""Times the number of nodes that may be exported that a scan finds before it ends."""

Spent = Callable[[str, str], None]
"""Told the name of a budget that was spent, and what was done about it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one discovery.

    Attributes:
        names: The ids of all nodes that have a hash or a heartbeat.
        busy: Seconds that Redis worked on the scan, about. Time during which Redis hung does not count.
        complete: Whether all servers were scanned in full. If not, names that are missing here may still have keys.
        workers: The keys of all workers' heartbeats.
    """

    names: frozenset[bytes]
    busy: float
    complete: bool = True
    workers: frozenset[bytes] = frozenset()


def pause_after(busy: float, interval: float) -> float:
    """Return the seconds until the next discovery, so that discovery uses at most ``SHARE`` of Redis's time."""
    return max(interval, busy / SHARE)


class Scan:
    """Scans servers for node names; each call examines ``COUNT`` keys.

    Args:
        keys: The names of the nodes' keys.
        most_nodes: Nodes that may be exported; a scan ends when it has found far more.
        spent: Told when a scan ends early, or leaves ids out.
    """

    def __init__(self, keys: KeyNames, most_nodes: int, spent: Spent) -> None:
        self._prefixes, self._most_nodes, self._spent = tuple(keys), most_nodes, spent
        self._pattern = _pattern(*keys, *WORKERS)

    def run(self, pool: Pool, timeout: float) -> Found:
        """Scan one server.

        Args:
            pool: Connections to the server.
            timeout: Seconds for each call.

        Raises:
            SourceError: A call failed, or took longer than ``timeout``.
        """
        names, workers, calls = set[bytes](), set[bytes](), list[float]()
        cursor, most = b"", SPARE * self._most_nodes
        while cursor != b"0" and len(names) <= most:
            start = time.monotonic()
            request = pack(b"SCAN", cursor or b"0", b"MATCH", self._pattern, b"COUNT", b"%d" % COUNT)
            with pool.lent(start + timeout) as link:
                (reply,) = link.ask(request, 1)
            calls.append(time.monotonic() - start)
            match reply:
                case [bytes(cursor), list(page)]:
                    # An id may be the rest of a key of either kind.
                    names.update(key[len(p) :] for p in self._prefixes for key in page if key.startswith(p))
                    workers.update(key for key in page if key.startswith(WORKERS))
                case _:
                    expected(reply, tuple)  # it is none: this raises what the reply means
        if len(names) > most:
            self._spent("discovery", f"a scan of Redis was ended: more than {most} ids")
        kept = frozenset(name for name in names if 0 < len(name) <= LONGEST_NAME)
        if too_long := len(names - kept - {b""}):
            self._spent("discovery", f"{too_long} ids of more than {LONGEST_NAME} bytes were left out")
        # The lower quartile leaves out the calls during which Redis hung. It contains the network's round trip.
        busy = len(calls) * min(sorted(calls)[len(calls) // 4], PAGE)
        return Found(kept, busy, len(names) <= most, frozenset(workers))


def _pattern(*prefixes: bytes) -> bytes:
    """Return one glob that matches all prefixes, because several scans would cost several times as much.

    At each place the glob allows the letters that the prefixes have there, up to the end of the shortest
    prefix. A few other keys match it too; the caller drops them.
    """
    classes = [
        b"[" + b"".join(b"\\" + bytes([letter]) for letter in sorted(set(letters))) + b"]"
        for letters in zip(*prefixes, strict=False)
    ]
    return b"".join(classes) + b"*"
