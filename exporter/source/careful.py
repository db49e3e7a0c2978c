"""Reads nodes whose values may be very large: their lengths first, and then only what has a usual size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.contract import FIELDS
from exporter.source.connection import Link
from exporter.source.reading import MISSING
from exporter.source.replies import NO_FIELDS, expected, is_wrong_type
from exporter.source.requests import KeyNames, pack

LONG: Final = 4096
"""Bytes: a longer value needs room."""
MOST_VALUE: Final = 2 * 2**20
"""Bytes of the longest value that is read if there is room for it."""
ROOM: Final = 12 * 2**20
"""Bytes of all long values in one read of all nodes; the shorter ones of a chunk come first."""
TOO_LARGE: Final = b"(too large)"
"""Stands in the place of a larger value: it is no number, time or status, so it counts as an invalid value."""
_GROUP: Final = 200
"""Nodes that are asked for at once."""
_BATCH: Final = 4 * 2**20
"""Bytes that are asked for at once."""
_WORDS: Final = tuple(field.encode() for field in FIELDS)
_BEAT: Final = len(_WORDS)

Lengths = list[int]
"""The lengths of a node's fields, and of its heartbeat; -1 in the place of a value that is too large."""


@dataclass(frozen=True, slots=True)
class CarefulReply:
    """What Redis held of some nodes; every list has an item for each node.

    Attributes:
        rows: The values of the contract's fields.
        ttl_ms: The heartbeats' PTTL.
        beats: The heartbeats' values.
        without_hash: Positions of nodes that have no hash.
        large: How many values needed room.
        too_large: How many of these were left out.
        room: Bytes of room that are left.
    """

    rows: list[Any]
    ttl_ms: list[Any]
    beats: list[Any]
    without_hash: frozenset[int]
    large: int
    too_large: int
    room: int


def read_carefully(link: Link, keys: KeyNames, names: Sequence[bytes], room: int = ROOM) -> CarefulReply:
    """Read nodes; a value for which there is no room is ``TOO_LARGE``.

    The hash is read before the heartbeat, as everywhere.

    Args:
        link: A connection.
        keys: The names of the nodes' keys.
        names: The nodes.
        room: Bytes of long values that may be read.

    Raises:
        SourceError: Redis gave an unexpected answer: it may refuse HSTRLEN or STRLEN to the exporter's user.
    """
    lengths: list[Lengths] = []
    for start in range(0, len(names), _GROUP):
        lengths += _lengths(link, keys, names[start : start + _GROUP])
    large, left = _choose(lengths, room)
    rows: list[Any] = []
    ttl_ms: list[Any] = []
    beats: list[Any] = []
    without_hash: set[int] = set()
    for positions in _batches(lengths):
        request = b"".join(_request(keys, names[position], lengths[position]) for position in positions)
        replies = link.ask(request, 4 * len(positions))
        for position, (exists, row, ttl, beat) in zip(positions, zip(*[iter(replies)] * 4, strict=True), strict=True):
            if not expected(exists, int):
                without_hash.add(position)
            rows.append(_row(row, lengths[position]))
            beats.append(_beat(beat, lengths[position][_BEAT]))
            ttl_ms.append(MISSING if beats[-1] is None else expected(ttl, int))
    too_large = sum(node.count(-1) for node in lengths)
    return CarefulReply(rows, ttl_ms, beats, frozenset(without_hash), large, too_large, left)


def _lengths(link: Link, keys: KeyNames, names: Sequence[bytes]) -> list[Lengths]:
    """Return the lengths of each node's values; 0 where a key has another type."""
    request = b"".join(
        b"".join(pack(b"HSTRLEN", keys.metrics + name, word) for word in _WORDS)
        + pack(b"STRLEN", keys.heartbeat + name)
        for name in names
    )
    count = len(_WORDS) + 1
    lengths = [0 if is_wrong_type(reply) else expected(reply, int) for reply in link.ask(request, count * len(names))]
    return [lengths[start : start + count] for start in range(0, len(lengths), count)]


def _choose(lengths: list[Lengths], room: int) -> tuple[int, int]:
    """Mark the values for which there is no room; return how many are long, and the room that is left."""
    long = sorted(
        (length, position, field)
        for position, node in enumerate(lengths)
        for field, length in enumerate(node)
        if length > LONG
    )
    for length, position, field in long:
        if length > MOST_VALUE or length > room:
            lengths[position][field] = -1
        else:
            room -= length
    return len(long), room


def _batches(lengths: list[Lengths]) -> Iterator[list[int]]:
    """Yield the positions of all nodes, in batches of a bounded size."""
    batch: list[int] = []
    size = 0
    for position, node in enumerate(lengths):
        mine = sum(length for length in node if length > 0)
        if batch and (size + mine > _BATCH or len(batch) >= _GROUP):
            yield batch
            batch, size = [], 0
        batch.append(position)
        size += mine
    if batch:
        yield batch


def _request(keys: KeyNames, name: bytes, lengths: Lengths) -> bytes:
    """Ask for what is not too large; four replies, the second and the last a number where all of it is too large."""
    words = [word for word, length in zip(_WORDS, lengths, strict=False) if length >= 0]
    key, beat = keys.metrics + name, keys.heartbeat + name
    return b"".join(
        (
            keys.exists(name),
            pack(b"HMGET", key, *words) if words else keys.exists(name),
            keys.pttl(name),
            pack(b"STRLEN" if lengths[_BEAT] < 0 else b"GET", beat),
        )
    )


def _row(reply: Any, lengths: Lengths) -> Sequence[bytes | None]:
    if is_wrong_type(reply):
        return NO_FIELDS
    small = [length >= 0 for length in lengths[:_BEAT]]
    values = iter(expected(reply, list) if any(small) else ())
    return [next(values, None) if is_small else TOO_LARGE for is_small in small]


def _beat(reply: Any, length: int) -> bytes | None:
    if reply is None or is_wrong_type(reply):
        return None
    if length < 0:
        return TOO_LARGE if expected(reply, int) else None
    value: bytes = expected(reply, bytes)
    return value
