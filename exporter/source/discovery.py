"""Discovery of node names: a SCAN in the background finds the nodes that have keys in Redis."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import NoPermissionError

from exporter.contract import WORKER_PREFIXES
from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.protocol import KeyNames, expected, pack
from exporter.source.server import Rights, missing_right

COUNT: Final = 1000
"""Keys that one SCAN command examines: it blocks Redis for well under a millisecond."""
SHARE: Final = 0.02
"""Share of Redis's time that discovery may use."""
FEW: Final = 2
"""Pages up to which a scan is too short to slow down discovery, so that Redis's statistics are not asked for."""
PAGE: Final = 0.001
"""Seconds that Redis works on one page at most, where it does not say."""
WORKERS: Final = tuple(prefix.encode() for prefix in WORKER_PREFIXES.values())
"""What the keys of workers' heartbeats begin with."""
LONGEST_NAME: Final = 16 * 2**10
"""Bytes of a node's id: each of its series holds the id."""

_ROOM: Final = 256
"""Bytes of ids that a scan keeps for each node that may be exported."""
_OVERHEAD: Final = 64
"""Bytes that Python needs for an id beside the id itself."""
_STATISTICS: Final = pack(b"INFO", b"commandstats")
_MEAN: Final = re.compile(rb"\ncmdstat_scan:.*?usec_per_call=([\d.]+)")

Spent = Callable[[str, str], None]
"""Told the name of a budget that was spent, and what was done about it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one discovery.

    Attributes:
        names: The ids of all nodes that have a hash or a heartbeat.
        busy: Seconds that Redis worked on the scan, by its own statistics. Where the statistics cannot be read, the
            network's round trips count too. Time during which Redis hung does not count.
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
        rights: Records whether SCAN is allowed.
        spent: Told when a scan ends early, or leaves ids out.
    """

    def __init__(self, keys: KeyNames, most_nodes: int, rights: Rights, spent: Spent) -> None:
        self._prefixes, self._most_nodes, self._rights, self._spent = tuple(keys), most_nodes, rights, spent
        self._pattern = _pattern(*keys, *WORKERS)

    def run(self, pool: Pool, address: str, timeout: float) -> Found:
        """Scan one server.

        Args:
            pool: Connections to the server.
            address: Its address.
            timeout: Seconds for each call.

        Raises:
            SourceError: A call failed, or took longer than ``timeout``.
        """
        names: set[bytes] = set()
        workers: set[bytes] = set()
        calls: list[float] = []
        too_long, room = 0, _ROOM * self._most_nodes
        for page, seconds in self._pages(pool, address, timeout):
            calls.append(seconds)
            for name in self._names_on(page) - names:
                if len(name) > LONGEST_NAME:
                    too_long += 1
                else:
                    names.add(name)
                    room -= len(name) + _OVERHEAD
            workers.update(key for key in page if key.startswith(WORKERS) and len(workers) < self._most_nodes)
            if room < 0:
                self._spent("discovery", f"a scan of Redis was ended: more than {len(names) - 1} ids")
                break
        if too_long:
            self._spent("discovery", f"{too_long} ids of more than {LONGEST_NAME} bytes were left out")
        busy = len(calls) * self._seconds_a_page(calls, pool, timeout)
        return Found(frozenset(names), busy, room >= 0, frozenset(workers))

    def _seconds_a_page(self, calls: Sequence[float], pool: Pool, timeout: float) -> float:
        """Return the seconds that Redis works on a page.

        The lower quartile of the calls ignores those during which Redis hung, but it contains the network's round
        trip. Redis's own mean contains no round trip, but the scans of other clients. The smaller of the two is nearer.
        """
        if len(calls) <= FEW:
            return PAGE
        with linked(pool, time.monotonic() + timeout) as link:
            (reply,) = link.ask(_STATISTICS, 1)
        mean = _MEAN.search(reply) if isinstance(reply, bytes) else None
        return min(sorted(calls)[len(calls) // 4], float(mean[1]) / 1e6 if mean else PAGE)

    def _names_on(self, page: Iterable[bytes]) -> set[bytes]:
        """Return the ids of the nodes that have a key on a page; an id may be the rest of a key of either kind."""
        names = {key[len(prefix) :] for prefix in self._prefixes for key in page if key.startswith(prefix)}
        return names - {b""}

    def _pages(self, pool: Pool, address: str, timeout: float) -> Iterator[tuple[list[bytes], float]]:
        """Yield each page of a scan, and how many seconds it took."""
        cursor = b""
        while cursor != b"0":
            start = time.monotonic()
            request = pack(b"SCAN", cursor or b"0", b"MATCH", self._pattern, b"COUNT", b"%d" % COUNT)
            # A connection is lent for one page only, so that a scan does not hold one while its caller works.
            with linked(pool, start + timeout) as link:
                (reply,) = link.ask(request, 1)
            is_refused = isinstance(reply, NoPermissionError)
            self._rights.note("scan", address, is_refused=is_refused)
            if is_refused:
                raise SourceError(missing_right("scan"))
            match reply:
                case [bytes(cursor), list(page)]:
                    yield page, time.monotonic() - start
                case _:
                    expected(reply, tuple)  # it is none: this raises what the reply means


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
