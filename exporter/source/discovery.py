"""Discovery of node names: which nodes have keys in Redis, found by SCAN in the background."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from redis.exceptions import NoPermissionError

from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.plain_error import plain_error
from exporter.source.requests import KeyNames, pack
from exporter.source.rights import Rights

COUNT: Final = 1000
"""Keys that one SCAN looks at: well under a millisecond of Redis's time."""
SHARE: Final = 0.02
"""Share of Redis's time that discovery may take."""

_STATISTICS: Final = pack(b"INFO", b"commandstats")
_SCANS: Final = re.compile(rb"\ncmdstat_scan:calls=(\d+),usec=(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one scan.

    Attributes:
        names: The ids of all nodes that have a hash or a heartbeat.
        busy: Seconds of Redis's time that it took, by Redis's own statistics; where these cannot be read, the way to
            Redis and back counts too. A Redis that hung meanwhile adds nothing.
        complete: Whether all servers were scanned; else names that were found before may still have keys.
    """

    names: frozenset[bytes]
    busy: float
    complete: bool = True


def pause_after(busy: float, interval: float) -> float:
    """Return the seconds to wait before the next discovery, so that all of them take ``SHARE`` at most."""
    return max(interval, busy / SHARE)


def discover(pool: Pool, keys: KeyNames, timeout: float, rights: Rights | None = None, server: str = "") -> Found:
    """Scan one server for node names; no call takes Redis longer than ``COUNT`` keys.

    Args:
        pool: Connections to the server.
        keys: Where nodes' keys are.
        timeout: Seconds for each call.
        rights: Where a missing right to SCAN is noted.
        server: The address of the server; empty for the only one.

    Raises:
        SourceError: A call failed, or took longer than ``timeout``.
    """
    names: set[bytes] = set()
    calls: list[float] = []
    rights = rights or Rights()
    before = _scans(pool, timeout)
    for page, seconds in _pages(pool, _pattern(keys.metrics, keys.heartbeat), timeout, rights, server):
        calls.append(seconds)
        names.update(key[len(keys.metrics) :] for key in page if key.startswith(keys.metrics))
        names.update(key[len(keys.heartbeat) :] for key in page if key.startswith(keys.heartbeat))
    names.discard(b"")
    # The lower quartile leaves out calls during which Redis hung, but not the way to Redis and back.
    each = min(sorted(calls)[len(calls) // 4], _mean(before, _scans(pool, timeout)))
    return Found(frozenset(names), each * len(calls))


def _scans(pool: Pool, timeout: float) -> tuple[int, int]:
    """Return how often Redis has run SCAN, and the microseconds that it took; zeros where Redis does not tell."""
    with linked(pool, time.monotonic() + timeout) as link:
        (reply,) = link.ask(_STATISTICS, 1)
    found = _SCANS.search(reply) if isinstance(reply, bytes) else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _mean(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return the seconds that Redis took for a SCAN, whoever asked for it; infinity where that is not known."""
    if after[0] <= before[0]:  # the statistics were reset, so that all of them are new
        before = (0, 0)
    calls, microseconds = after[0] - before[0], after[1] - before[1]
    return microseconds / calls / 1e6 if calls > 0 and microseconds >= 0 else float("inf")


def _pages(
    pool: Pool, pattern: bytes, timeout: float, rights: Rights, server: str
) -> Iterator[tuple[list[bytes], float]]:
    cursor = b"0"
    while True:
        start = time.monotonic()
        # A connection is lent for one page only: none is held while Redis is left alone.
        with linked(pool, start + timeout) as link:
            (reply,) = link.ask(pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % COUNT), 1)
        match reply:
            case [bytes(cursor), list(page)] if set(map(type, page)) <= {bytes}:
                rights.granted("scan", server)
            case NoPermissionError():
                raise rights.refused("scan", server)
            case Exception():
                raise plain_error(reply)
            case _:
                raise SourceError(f"Redis gave an unexpected answer to SCAN: {type(reply).__name__}")
        yield page, time.monotonic() - start
        if cursor == b"0":
            return


def _pattern(first: bytes, second: bytes) -> bytes:
    """Return one glob for both prefixes, since two scans would cost twice.

    Letter by letter it allows what either prefix has there; the few other keys
    that this lets in are left out afterwards.
    """
    length = min(len(first), len(second))
    classes = [
        b"[" + b"".join(b"\\" + bytes([letter]) for letter in sorted({a, b})) + b"]"
        for a, b in zip(first[:length], second[:length], strict=True)
    ]
    return b"".join(classes) + b"*"
