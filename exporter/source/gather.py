"""The one way in which Redis is asked: packed requests to each server that holds the keys, replies for each key.

``exchange`` asks one server: it sends one request ahead, so that Redis works while replies are parsed. ``gather`` runs
it over all servers at the same time, and follows the redirections of a cluster once.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from redis.exceptions import AskError, BusyLoadingError, ClusterDownError, MovedError

from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import MOST_BYTES, Pool, linked
from exporter.source.protocol import CHUNK, commands_of, pack, plain_error

if TYPE_CHECKING:
    from exporter.source.cluster import Cluster
    from exporter.source.server import OneServer

    Servers: TypeAlias = OneServer | Cluster

Until = Callable[[], float]
"""Returns until when to wait for a server, in monotonic seconds."""

T = TypeVar("T")

PARTS: Final = 8
"""Requests into which one is divided whose replies are too large."""
NO_ERRORS: Final[Mapping[str, SourceError]] = {}
_ASKING: Final = pack(b"ASKING")
_NOT_SERVED: Final = frozenset((AskError, MovedError, BusyLoadingError, ClusterDownError))
"""The errors with which a server says that it does not serve a key now."""


Exchange = Generator[list[Any], None, None]


class Request(NamedTuple):
    """Packed commands, and the number of their replies."""

    packed: bytes
    replies: int


def exchange(pool: Pool, until: Until, requests: Sequence[Request], most: int = MOST_BYTES) -> Exchange:
    """Yield once when the first request is sent, and then the replies to each request.

    Args:
        pool: Connections to the server.
        until: The time that the server has.
        requests: At least one.
        most: Bytes that the replies to one request may have.

    Raises:
        SourceTooLargeError: The next replies have more bytes.
        SourceError: The server cannot be asked.
    """
    with linked(pool, until()) as link:
        link.send(requests[0].packed)
        yield []
        for request, after in zip_longest(requests, requests[1:]):
            link.deadline = until()
            if after:
                link.send(after.packed)
            yield link.receive(request.replies, most)


class Batch(NamedTuple):
    """A request about some of a question's keys.

    Attributes:
        request: The request.
        positions: The keys; empty for a request about the server itself.
        asking: Whether the slot of the keys is on its way to the server.
    """

    request: Request
    positions: Sequence[int] = ()
    asking: bool = False


class Question:
    """The same commands about each of some keys, packed for the servers that hold the keys.

    Args:
        servers: The servers.
        keys: The keys.
        request: Returns the packed commands about a key.
        each: The number of replies about a key.
        first: A request about each server itself, which is sent first; None for no such request.

    Attributes:
        batches: The requests to each server, by its address.
    """

    def __init__(
        self,
        servers: "Servers",
        keys: Sequence[bytes],
        request: Callable[[bytes], bytes],
        each: int,
        first: bytes | None = None,
    ) -> None:
        self.servers, self.keys, self.each, self._request = servers, keys, each, request
        opening = [] if first is None else [Batch(Request(first, 1))]
        self.batches = {address: opening + self.batches_of(mine) for address, mine in servers.places(keys).items()}

    def batches_of(self, positions: Sequence[int], *, asking: bool = False) -> list[Batch]:
        """Return requests about some of the keys; with ``asking`` to a server to which their slot is on its way."""
        return [
            self._batch(positions[start : start + CHUNK], asking=asking) for start in range(0, len(positions), CHUNK)
        ]

    def divided(self, batch: Batch) -> list[Batch]:
        """Return the same commands in several requests."""
        return [self._batch(part, asking=batch.asking) for part in parts_of(batch.positions)]

    def _batch(self, positions: Sequence[int], *, asking: bool) -> Batch:
        requests = [self._request(self.keys[position]) for position in positions]
        if asking:  # each command needs its own ASKING
            requests = [_ASKING + command for request in requests for command in commands_of(request)]
        return Batch(Request(b"".join(requests), self.each * len(positions) * (1 + asking)), positions, asking)


def parts_of(whole: Sequence[T]) -> list[Sequence[T]]:
    """Divide what is too large together; few steps lead to a single key, since Redis copies a large value in each."""
    step = -(-len(whole) // PARTS)
    return [whole[start : start + step] for start in range(0, len(whole), step)]


class Gathered(NamedTuple):
    """What all servers replied.

    Attributes:
        replies: The replies about each key; an error reply, such as a missing right, is an exception in its place, and
            so is a ``SourceTooLargeError`` where a key has too many bytes. None if the key's server cannot be read.
        errors: Why a server cannot be read, by its address.
        first: The reply of each server to the request about itself.
    """

    replies: list[tuple[Any, ...] | None]
    errors: dict[str, SourceError]
    first: dict[str, Any]


def gather(
    question: Question, deadline: float, most: int = MOST_BYTES, failed: Mapping[str, SourceError] = NO_ERRORS
) -> Gathered:
    """Ask all servers at the same time. Whatever happens to one server costs the keys of this server only.

    Args:
        question: The question.
        deadline: Monotonic seconds.
        most: Bytes that the replies to one request may have.
        failed: Servers that are not asked any more, and why.
    """
    gathering = _Gathering(question, deadline, most)
    asked = {address: some for address, some in question.batches.items() if some and address not in failed}
    gathering.ask(asked)
    gathering.follow()
    for address in asked:
        question.servers.note(address, gathering.gathered.errors.get(address))
    gathering.gathered.errors.update(failed)
    return gathering.gathered


class _Gathering:
    def __init__(self, question: Question, deadline: float, most: int) -> None:
        self._question, self._servers, self._deadline, self._most = question, question.servers, deadline, most
        self._redirected: dict[tuple[str, bool], list[int]] = {}
        self.gathered = Gathered([None] * len(question.keys), {}, {})

    def ask(self, batches: Mapping[str, list[Batch]]) -> None:
        """Send each server its first request, silent servers last; then receive from each, silent servers first."""
        order = sorted(batches, key=self._servers.silent.__contains__)
        limits = {address: self._servers.limit(address, self._deadline) for address in order}
        talks = {address: self._begun(address, limits[address], batches[address]) for address in order}
        for address in reversed(order):
            self._receive(address, limits[address], talks[address], batches[address])

    def _begun(self, address: str, until: Until, batches: Sequence[Batch]) -> Iterator[list[Any]]:
        """Return an exchange whose first request was sent; it has no replies if the server cannot be asked."""
        if not batches:
            return iter(())
        try:
            pool = self._servers.pool(address, self._deadline)
            talk = exchange(pool, until, [batch.request for batch in batches], self._most)
            next(talk)
        except SourceError as error:
            self.gathered.errors[address] = error
            return iter(())
        return talk

    def _receive(self, address: str, until: Until, talk: Iterator[list[Any]], batches: list[Batch]) -> None:
        """Take all replies of a server. A request whose replies are too large is divided, for the next time too."""
        done = 0
        while done < len(batches):
            try:
                for replies in talk:
                    self._take(address, batches[done], replies)
                    done += 1
            except SourceTooLargeError as error:
                batch = batches[done]
                if len(batch.positions) > 1:
                    batches[done : done + 1] = self._question.divided(batch)
                else:
                    self._take(address, batch, [error] * batch.request.replies)
                    done += 1
                talk = self._begun(address, until, batches[done:])
            except SourceError as error:
                self.gathered.errors[address] = error
                return
            else:
                return

    def _take(self, address: str, batch: Batch, replies: list[Any]) -> None:
        if not batch.positions:
            (self.gathered.first[address],) = replies
            return
        if batch.asking:
            replies = replies[1::2]  # the others are the replies to ASKING
        found, each = self.gathered.replies, self._question.each
        for position, some in zip(batch.positions, zip(*[iter(replies)] * each, strict=True), strict=True):
            found[position] = some
        if not _NOT_SERVED.isdisjoint(map(type, replies)):
            for position in batch.positions:
                self._drop_not_served(address, position)

    def _drop_not_served(self, address: str, position: int) -> None:
        """Take back the replies about a key that the server does not serve; remember where the key is."""
        error = next((reply for reply in self.gathered.replies[position] or () if type(reply) in _NOT_SERVED), None)
        if error is None:
            return
        self.gathered.replies[position] = None
        if isinstance(error, AskError):  # MovedError is one too
            host = error.host or address.rpartition(":")[0]  # a missing host means the one that was asked
            place = f"{host}:{error.port}", isinstance(error, MovedError)
            self._redirected.setdefault(place, []).append(position)
        elif "Hash slot not served" not in str(error):  # else the server still serves its other slots
            self.gathered.errors[address] = plain_error(error)

    def follow(self) -> None:
        """Ask for redirected keys once more, where they are now."""
        places, self._redirected = self._redirected, {}
        if moved_to := next((address for address, has_moved in places if has_moved), None):
            self._servers.moved(moved_to, self._deadline)  # once, however many keys have moved
        for (address, has_moved), positions in places.items():
            self.ask({address: self._question.batches_of(positions, asking=not has_moved)})
