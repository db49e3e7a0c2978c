"""Reads nodes whose values may be very large: their lengths first, and then only what has a usual size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.contract import FIELDS
from exporter.source.connection import Link
from exporter.source.reading import MISSING
from exporter.source.replies import NO_FIELDS, expected, is_wrong_type
from exporter.source.requests import KeyNames, pack

MOST_VALUE: Final = 4096
"""Bytes of a value that is read from a node of such a chunk."""
TOO_LARGE: Final = b"(too large)"
"""Stands in the place of a larger value: it is no number, time or status, so it counts as an invalid value."""
_GROUP: Final = 200
"""Nodes that are asked for at once: their values have 8 MB at most."""
_WORDS: Final = tuple(field.encode() for field in FIELDS)


@dataclass(frozen=True, slots=True)
class CarefulReply:
    """What Redis held of some nodes; every list has an item for each node.

    Attributes:
        rows: The values of the contract's fields.
        ttl_ms: The heartbeats' PTTL.
        beats: The heartbeats' values.
        without_hash: Positions of nodes that have no hash.
        too_large: How many values were too large.
    """

    rows: list[Sequence[bytes | None]]
    ttl_ms: list[int]
    beats: list[bytes | None]
    without_hash: frozenset[int]
    too_large: int


def read_carefully(link: Link, keys: KeyNames, names: Sequence[bytes]) -> CarefulReply:
    """Read nodes; a value larger than ``MOST_VALUE`` is ``TOO_LARGE``.

    The hash is read before the heartbeat, as everywhere.

    Raises:
        SourceError: Redis gave an unexpected answer: it may refuse HSTRLEN or STRLEN to the exporter's user.
    """
    rows: list[Sequence[bytes | None]] = []
    ttl_ms: list[int] = []
    beats: list[bytes | None] = []
    without_hash: set[int] = set()
    too_large = 0
    for start in range(0, len(names), _GROUP):
        group = names[start : start + _GROUP]
        sizes = _sizes(link, keys, group)
        requests = (_request(keys, name, lengths) for name, lengths in zip(group, sizes, strict=True))
        replies = link.ask(b"".join(requests), 4 * len(group))
        for lengths, (exists, row, ttl, beat) in zip(sizes, zip(*[iter(replies)] * 4, strict=True), strict=True):
            if not expected(exists, int):
                without_hash.add(len(rows))
            rows.append(_row(row, lengths[:-1]))
            beats.append(_beat(beat, lengths[-1]))
            ttl_ms.append(MISSING if beats[-1] is None else expected(ttl, int))
            too_large += sum(length > MOST_VALUE for length in lengths)
    return CarefulReply(rows, ttl_ms, beats, frozenset(without_hash), too_large)


def _sizes(link: Link, keys: KeyNames, names: Sequence[bytes]) -> list[Sequence[int]]:
    """Return for each node the lengths of its fields, and of its heartbeat; 0 where a key has another type."""
    count = len(_WORDS) + 1
    request = b"".join(
        b"".join(pack(b"HSTRLEN", keys.metrics + name, word) for word in _WORDS)
        + pack(b"STRLEN", keys.heartbeat + name)
        for name in names
    )
    lengths = [0 if is_wrong_type(reply) else expected(reply, int) for reply in link.ask(request, count * len(names))]
    return [lengths[start : start + count] for start in range(0, len(lengths), count)]


def _request(keys: KeyNames, name: bytes, lengths: Sequence[int]) -> bytes:
    """Ask for what is not too large; four replies, the second and the last a number where all of it is too large."""
    words = [word for word, length in zip(_WORDS, lengths, strict=False) if length <= MOST_VALUE]
    key, beat = keys.metrics + name, keys.heartbeat + name
    return b"".join(
        (
            keys.exists(name),
            pack(b"HMGET", key, *words) if words else keys.exists(name),
            keys.pttl(name),
            pack(b"STRLEN" if lengths[-1] > MOST_VALUE else b"GET", beat),
        )
    )


def _row(reply: Any, lengths: Sequence[int]) -> Sequence[bytes | None]:
    if is_wrong_type(reply):
        return NO_FIELDS
    small = [length <= MOST_VALUE for length in lengths]
    values = iter(expected(reply, list) if any(small) else ())
    return [next(values, None) if is_small else TOO_LARGE for is_small in small]


def _beat(reply: Any, length: int) -> bytes | None:
    if reply is None or is_wrong_type(reply):
        return None
    if length > MOST_VALUE:
        return TOO_LARGE if expected(reply, int) else None
    value: bytes = expected(reply, bytes)
    return value
