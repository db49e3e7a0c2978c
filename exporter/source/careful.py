"""Reads nodes whose values may be very large: their lengths first, and then only what has a usual size."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Flag
from typing import Any, Final

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import Pool, linked
from exporter.source.replies import OTHER_COUNT, expected, is_wrong_type
from exporter.source.requests import KeyNames, pack

LONG: Final = 4096
"""Bytes: a longer value needs room."""
MOST_VALUE: Final = 2**20
"""Bytes of the longest value that is read if there is room for it."""
ROOM: Final = 6 * 2**20
"""Bytes of all long values in one read of all nodes; the shorter ones of a chunk come first."""
TOO_LARGE: Final = b"(too large)"
"""Stands in the place of a larger value: it is no number, time or status, so it counts as an invalid value."""
_GROUP: Final = 200
"""Nodes that are asked for at once."""
_BATCH: Final = 2 * 2**20
"""Bytes that are asked for at once."""
_HALVINGS: Final = 30
"""Times in one read that a batch is divided because its values grew; each costs a connection."""
_WORDS: Final = tuple(field.encode() for field in FIELDS)

Lengths = list[int]
"""The lengths of a node's values in the order of their commands; -1 in the place of a value that is too large."""


class Keys(Flag):
    """The keys of each node that are read: the hash is read before the heartbeat, as everywhere."""

    HASH = 1
    HEARTBEAT = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class CarefulReply:
    """What Redis held of some nodes.

    Attributes:
        replies: For each node those of ``KeyNames.whole_node`` that belong to the keys: EXISTS and HMGET of the hash,
            PTTL and GET of the heartbeat. ``TOO_LARGE`` stands in the place of values that were left out.
        large: How many values needed room.
        too_large: How many values were left out.
        room: Bytes of room that are left.
    """

    replies: list[list[Any]]
    large: int
    too_large: int
    room: int


def read_carefully(  # noqa: PLR0913, PLR0917 - what a read depends on
    pool: Pool, deadline: float, keys: KeyNames, names: Sequence[bytes], room: int = ROOM, which: Keys = Keys.BOTH
) -> CarefulReply:
    """Read nodes; a value for which there is no room is ``TOO_LARGE``.

    Args:
        pool: Connections to the server.
        deadline: Monotonic seconds.
        keys: The names of the nodes' keys.
        names: The nodes.
        room: Bytes of long values that may be read.
        which: The keys that are read.

    Raises:
        SourceError: Redis gave an unexpected answer: it may refuse HSTRLEN or STRLEN to the exporter's user.
    """
    return _CarefulRead(pool, deadline, keys, names, which).run(room)


class _CarefulRead:
    def __init__(self, pool: Pool, deadline: float, keys: KeyNames, names: Sequence[bytes], which: Keys) -> None:
        self._pool, self._deadline, self._keys, self._names = pool, deadline, keys, names
        self._hash, self._beat = Keys.HASH in which, Keys.HEARTBEAT in which
        self._fields = len(_WORDS) if self._hash else 0
        self._lengths: list[Lengths] = []
        self._halvings = 0

    def run(self, room: int) -> CarefulReply:
        for start in range(0, len(self._names), _GROUP):
            self._lengths += self._lengths_of(range(start, min(start + _GROUP, len(self._names))))
        large, left = _choose(self._lengths, room)
        replies: list[list[Any]] = []
        for positions in _batches(self._lengths):
            replies += self._replies(positions)
        too_large = sum(node.count(-1) for node in self._lengths)
        return CarefulReply(replies, large, too_large, left)

    def _replies(self, positions: Sequence[int]) -> list[list[Any]]:
        """Return the replies about a batch of nodes.

        A value may have grown since its length was read. So lengths are read once more just before the values, and a
        batch that is too large for all that is divided. In the end no value of the batch is read.
        """
        with suppress(SourceTooLargeError):
            for position, now in zip(positions, self._lengths_of(positions), strict=True):
                _leave_out_grown(self._lengths[position], now)
            return self._values(positions)
        if len(positions) > 1 and self._halvings < _HALVINGS:
            self._halvings += 1
            middle = len(positions) // 2
            return self._replies(positions[:middle]) + self._replies(positions[middle:])
        for position in positions:
            self._lengths[position] = [-1] * len(self._lengths[position])
        return self._values(positions)

    def _lengths_of(self, positions: Sequence[int]) -> list[Lengths]:
        """Return the lengths of each node's values; 0 where a key has another type."""
        count = self._fields + self._beat
        request = b"".join(self._ask_lengths(self._names[position]) for position in positions)
        with linked(self._pool, self._deadline) as link:
            replies = link.ask(request, count * len(positions))
        lengths = [0 if is_wrong_type(reply) else expected(reply, int) for reply in replies]
        return [lengths[start : start + count] for start in range(0, len(lengths), count)]

    def _ask_lengths(self, name: bytes) -> bytes:
        words = [pack(b"HSTRLEN", self._keys.metrics + name, word) for word in _WORDS[: self._fields]]
        return b"".join((*words, pack(b"STRLEN", self._keys.heartbeat + name) if self._beat else b""))

    def _values(self, positions: Sequence[int]) -> list[list[Any]]:
        count = 2 * self._hash + 2 * self._beat
        request = b"".join(self._ask_values(self._names[position], self._lengths[position]) for position in positions)
        with linked(self._pool, self._deadline) as link:
            replies = link.ask(request, count * len(positions))
        nodes = (replies[start : start + count] for start in range(0, len(replies), count))
        return [self._completed(node, self._lengths[position]) for position, node in zip(positions, nodes, strict=True)]

    def _ask_values(self, name: bytes, lengths: Lengths) -> bytes:
        """Ask for what is not too large; where all of it is too large, ask for a number."""
        request = b""
        if self._hash:
            words = [word for word, length in zip(_WORDS, lengths, strict=False) if length >= 0]
            exists = self._keys.exists(name)
            request = exists + (pack(b"HMGET", self._keys.metrics + name, *words) if words else exists)
        if self._beat:
            get = pack(b"STRLEN" if lengths[-1] < 0 else b"GET", self._keys.heartbeat + name)
            request += self._keys.pttl(name) + get
        return request

    def _completed(self, replies: list[Any], lengths: Lengths) -> list[Any]:
        """Put ``TOO_LARGE`` into the places of the values that were not asked for."""
        if self._hash and not is_wrong_type(replies[1]):
            small = [length >= 0 for length in lengths[: self._fields]]
            row = expected(replies[1], list) if any(small) else []
            if len(row) != sum(small):
                raise SourceError(OTHER_COUNT)
            values = iter(row)
            replies[1] = [next(values, None) if is_small else TOO_LARGE for is_small in small]
        if self._beat and lengths[-1] < 0 and not is_wrong_type(replies[-1]):
            replies[-1] = TOO_LARGE if expected(replies[-1], int) else None
        return replies


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


def _leave_out_grown(lengths: Lengths, now: Lengths) -> None:
    """Mark the values that have become long, or longer than the room that was given to them."""
    for field, (before, length) in enumerate(zip(lengths, now, strict=True)):
        if length > max(before, LONG):
            lengths[field] = -1


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
