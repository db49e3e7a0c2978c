"""Discovery of node names: a SCAN in the background finds the nodes that have keys in Redis."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from redis.exceptions import NoPermissionError

from exporter.contract import WORKER_PREFIXES
from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import Pool, linked
from exporter.source.limits import LONGEST_NAME, MOST_PAGES, MOST_SECONDS, NameBudget, Spent, nobody
from exporter.source.plain_error import plain_error
from exporter.source.requests import KeyNames, pack
from exporter.source.rights import Rights

COUNT: Final = 1000
"""Keys that one SCAN command examines: it blocks Redis for well under a millisecond."""
SHARE: Final = 0.02
"""Share of Redis's time that discovery may use."""
FEW: Final = 2
"""Pages up to which a scan is too short to slow down discovery, so that Redis's statistics are not asked for."""
PAGE: Final = 0.001
"""Seconds that Redis works on one page at most."""
WORKERS: Final = tuple(prefix.encode() for prefix in WORKER_PREFIXES.values())
"""What the keys of workers' heartbeats begin with."""

_STATISTICS: Final = pack(b"INFO", b"commandstats")
_NOTHING: Final = 0, 0
_SCANS: Final = re.compile(rb"\ncmdstat_scan:calls=(\d+),usec=(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one scan.

    Attributes:
        names: The ids of all nodes that have a hash or a heartbeat.
        busy: Seconds that Redis worked on the scan, by its own statistics. Where the statistics cannot be read, the
            network's round trips count too. Time during which Redis hung does not count.
        complete: Whether all servers were scanned. If not, names that are missing here may still have keys.
        cut: Whether a scan ended at one of the bounds in ``limits``; then it is not complete either.
        workers: The keys of all workers' heartbeats.
    """

    names: frozenset[bytes]
    busy: float
    complete: bool = True
    cut: bool = False
    workers: frozenset[bytes] = frozenset()


def pause_after(busy: float, interval: float) -> float:
    """Return the seconds until the next discovery, so that discovery uses at most ``SHARE`` of Redis's time."""
    return max(interval, busy / SHARE)


def discover(  # noqa: PLR0913 - what a scan depends on
    pool: Pool,
    keys: KeyNames,
    timeout: float,
    rights: Rights | None = None,
    server: str = "",
    *,
    most_nodes: int = 100_000,
    spent: Spent = nobody,
) -> Found:
    """Scan one server for node names; each call examines ``COUNT`` keys.

    Args:
        pool: Connections to the server.
        keys: The names of the nodes' keys.
        timeout: Seconds for each call.
        rights: Records whether SCAN is allowed; None to record nothing.
        server: The address of the server; empty if there is only one server.
        most_nodes: Nodes that may be exported; the scan ends when it has found many more.
        spent: Told when the scan ends at a bound, or leaves ids out.

    Raises:
        SourceError: A call failed, or took longer than ``timeout``.
    """
    found = NameBudget(most_nodes)
    workers: set[bytes] = set()
    calls: list[float] = []
    rights = rights or Rights()
    before, start, cut = _NOTHING, time.monotonic(), ""
    for page, seconds, stuck in _pages(pool, _pattern(keys.metrics, keys.heartbeat, *WORKERS), timeout, rights, server):
        calls.append(seconds)
        if len(calls) == FEW:
            before = _scans(pool, timeout)
        for prefix in (keys.metrics, keys.heartbeat):
            for key in page:
                if key.startswith(prefix):
                    found.add(key[len(prefix) :])
        workers.update(key for key in page if key.startswith(WORKERS) and len(workers) < most_nodes)
        if cut := "the same cursor again" if stuck else _bound(found, len(calls), time.monotonic() - start):
            break
    if cut or found.too_long:
        left_out = f"{found.too_long} ids of more than {LONGEST_NAME} bytes were left out"
        spent("discovery", f"a scan of Redis was ended: {cut}" if cut else left_out)
    # The lower quartile ignores calls during which Redis hung, but it contains the network's round trip. Redis's own
    # mean contains no round trip. The smaller of the two is nearer to the time that Redis worked.
    mean = _mean(before, _scans(pool, timeout)) if len(calls) > FEW else PAGE
    each = min(sorted(calls)[len(calls) // 4], mean)
    return Found(frozenset(found.names), each * len(calls), complete=not cut, cut=bool(cut), workers=frozenset(workers))


def _bound(found: NameBudget, pages: int, seconds: float) -> str:
    """Return at which bound a scan has arrived; an empty text if it may go on."""
    if found.spent:
        return f"more than {len(found.names) - 1} ids"
    if pages >= MOST_PAGES:
        return f"{MOST_PAGES} pages"
    return f"{MOST_SECONDS:g} s" if seconds >= MOST_SECONDS else ""


def _scans(pool: Pool, timeout: float) -> tuple[int, int]:
    """Return how often Redis has run SCAN, and the microseconds of all these calls; (0, 0) if Redis does not say."""
    with linked(pool, time.monotonic() + timeout) as link:
        (reply,) = link.ask(_STATISTICS, 1)
    found = _SCANS.search(reply) if isinstance(reply, bytes) else None
    return (int(found[1]), int(found[2])) if found else _NOTHING


def _mean(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return the mean seconds of a SCAN between two readings of the statistics, of all clients; infinity if unknown."""
    if after[0] <= before[0]:  # the statistics were reset in between, so all calls in them are new
        before = _NOTHING
    calls, microseconds = after[0] - before[0], after[1] - before[1]
    return microseconds / calls / 1e6 if calls > 0 and microseconds >= 0 else float("inf")


def _pages(
    pool: Pool, pattern: bytes, timeout: float, rights: Rights, server: str
) -> Iterator[tuple[list[bytes], float, bool]]:
    """Yield each page of a scan, how many seconds it took, and whether its cursor is the one that was asked with.

    A server that answers so would be asked without end. The caller has to stop, and has not seen all names.
    """
    cursor = b"0"
    while True:
        asked = cursor
        start = time.monotonic()
        request = pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % COUNT)
        try:
            reply = _reply(pool, request, start + timeout)
        except SourceTooLargeError:  # once more: the next connection follows the protocol exactly
            reply = _reply(pool, request, start + timeout)
        match reply:
            case [bytes(cursor), list(page)] if set(map(type, page)) <= {bytes}:
                rights.granted("scan", server)
            case NoPermissionError():
                raise rights.refused("scan", server)
            case Exception():
                raise plain_error(reply)
            case _:
                raise SourceError(f"Redis gave an unexpected answer to SCAN: {type(reply).__name__}")
        yield page, time.monotonic() - start, cursor == asked != b"0"
        if cursor == b"0":
            return


def _reply(pool: Pool, request: bytes, deadline: float) -> object:
    # A connection is lent for one page only, so that a scan does not hold one while its caller works.
    with linked(pool, deadline) as link:
        reply: object = link.ask(request, 1)[0]
    return reply


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
