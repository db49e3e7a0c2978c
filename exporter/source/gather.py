"""The one way in which Redis is asked: packed commands to each server that holds the keys, a reply for each command.

``Inquiry`` asks all servers at the same time. It sends each one request ahead, so that Redis works while replies are
parsed. It follows the redirections of a cluster once. A reply that could not be had is an exception in its place.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import MOST_BYTES, commands_of, pack

if TYPE_CHECKING:
    from exporter.source.cluster import Cluster
    from exporter.source.server import OneServer

    Servers: TypeAlias = OneServer | Cluster

_ASKING: Final = pack(b"ASKING")
_OF_VALUES: Final = (b"HMGET", b"GET")
_REDIRECTIONS: Final = frozenset((AskError, MovedError))


class Topology(NamedTuple):
    """Which server holds which key.

    Attributes:
        addresses: The servers.
        slots: The address of each slot's primary in a cluster; empty if there is one server, which holds all keys.
    """

    addresses: tuple[str, ...] = ("",)
    slots: tuple[str, ...] = ()

    def holder(self, key: bytes) -> str:
        """Return the address of the server that holds a key."""
        return self.slots[key_slot(key)] if self.slots else ""


class Batch(NamedTuple):
    """A request to one server: packed commands, and the position of each one's reply in the question's replies."""

    packed: bytes
    positions: Sequence[int]


class Question:
    """Commands, packed for the servers that they are for. Whoever asks the same again may keep it.

    Args:
        commands: The packed commands, each after the address of its server.

    Attributes:
        size: The number of commands.
        batches: The request to each server, by its address.
    """

    def __init__(self, commands: Sequence[tuple[str, bytes]]) -> None:
        self.size = len(commands)
        positions = defaultdict[str, list[int]](list)
        for position, (address, _) in enumerate(commands):
            positions[address].append(position)
        self.batches = {
            address: Batch(b"".join(commands[position][1] for position in some), some)
            for address, some in positions.items()
        }


class Inquiry:
    """What is asked until one deadline. A server that fails is not asked any more, and costs its own keys only.

    Args:
        servers: The servers.
        deadline: Monotonic seconds.
        most: Bytes of one reply, at most.
        too_large: Told the words of each command whose reply is larger, as soon as that shows.

    Attributes:
        errors: Why servers cannot be read, by their addresses.
    """

    def __init__(
        self,
        servers: "Servers",
        deadline: float,
        most: int = MOST_BYTES,
        too_large: Callable[[list[bytes]], None] = lambda _: None,
    ) -> None:
        self.errors: dict[str, SourceError] = {}
        self._servers, self._deadline, self._most, self._too_large = servers, deadline, most, too_large
        self._late = (time.monotonic() + deadline) / 2

    def fail(self, address: str, error: SourceError) -> None:
        """Record that a server cannot be read, and why: the first reason counts."""
        if address not in self.errors:
            self.errors[address] = error
            self._servers.note(address, error)

    def stream(self, questions: Sequence[Question]) -> Generator[list[Any], None, None]:
        """Yield the replies to each question as they come, each in the place of its command."""
        for found, question in zip(self._replies(questions), questions, strict=False):
            if self._servers.redirects and not _REDIRECTIONS.isdisjoint(map(type, found)):
                self._follow(question, found)
            yield found

    def _replies(self, questions: Sequence[Question]) -> Iterator[list[Any]]:
        """Send each server its first request, failing servers last; then receive from each, failing servers first."""
        failing = self._servers.failing.__contains__
        asked = {address for question in questions for address in question.batches}
        talks: dict[str, Iterator[list[Any]]] = {}
        for address in sorted(asked - self.errors.keys(), key=failing):
            batches = [question.batches[address] for question in questions if address in question.batches]
            talks[address] = self._exchange(address, batches)
            self._next(address, talks, 0)
        for question in questions:
            found = [None] * question.size
            for address in sorted(question.batches, key=failing, reverse=True):
                positions = question.batches[address].positions
                replies = self._next(address, talks, len(positions))
                if len(positions) == question.size:
                    found = replies
                else:
                    for position, reply in zip(positions, replies, strict=True):
                        found[position] = reply
            yield found
        for address in talks:
            self._next(address, talks, 0)  # this gives the connection back
            if address not in self.errors:
                self._servers.note(address, None)

    def _exchange(self, address: str, batches: Sequence[Batch]) -> Iterator[list[Any]]:
        """Yield once when the first request to a server is sent, and then the replies to each request.

        One request is sent ahead, until a reply is too large. Such a reply is a ``SourceTooLargeError``.

        Raises:
            SourceError: The server cannot be asked.
        """
        servers, left = self._servers, deque(batches)
        with suppress(SourceTooLargeError), servers.pool(address).lent(servers.limit(address, self._deadline)) as link:
            link.send(left[0].packed)
            yield []
            while left:
                link.deadline = servers.limit(address, self._deadline)
                if len(left) > 1:
                    link.send(left[1].packed)
                yield link.receive(len(left[0].positions), [], self._most)
                left.popleft()
        for batch in left:
            yield self._few_at_a_time(address, list(commands_of(batch.packed)))

    def _few_at_a_time(self, address: str, commands: list[list[bytes]]) -> list[Any]:
        """Return the replies to commands of which some have replies that are too large.

        Redis makes the replies to all commands that it has received. So after a reply that is too large few commands
        are sent, and then twice as many each time: an even number, so that ASKING and the next one stay together.
        When half of the time is over, the search for such replies ends: no values of the other keys are asked for.
        """
        servers, replies, size = self._servers, list[Any](), 2
        while some := commands[len(replies) : len(replies) + size]:
            try:
                with servers.pool(address).lent(servers.limit(address, self._deadline)) as link:
                    link.send(b"".join(pack(*words) for words in some))
                    link.receive(len(replies) + len(some), replies, self._most)
                size *= 2
            except SourceTooLargeError as error:
                self._too_large(commands[len(replies)])
                replies.append(error.with_traceback(None))  # a traceback holds what has come
                if time.monotonic() > self._late:
                    commands = [[b"PTTL", words[1]] if words[0] in _OF_VALUES else words for words in commands]
                size = 2
        return replies

    def _next(self, address: str, talks: Mapping[str, Iterator[list[Any]]], count: int) -> list[Any]:
        """Return a server's next replies: ``count`` errors if it cannot be read."""
        if address not in self.errors:
            try:
                return next(talks[address], [])
            except SourceError as error:
                self.fail(address, error)
        return [self.errors[address]] * count

    def _follow(self, question: Question, found: list[Any]) -> None:
        """Ask for redirected keys once more, where they are now."""
        redirected: list[int] = []
        commands: list[tuple[str, bytes]] = []
        for asked, batch in question.batches.items():
            for position, words in zip(batch.positions, commands_of(batch.packed), strict=True):
                if isinstance(error := found[position], AskError):
                    host = error.host or asked.rpartition(":")[0]  # a missing host means the one that was asked
                    commands += [(f"{host}:{error.port}", command) for command in (_ASKING, pack(*words))]
                    redirected.append(position)
        self._servers.doubt()
        (replies,) = self._replies([Question(commands)])
        for position, reply in zip(redirected, replies[1::2], strict=True):
            found[position] = reply
