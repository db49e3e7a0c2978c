"""Checks of passwords with bcrypt: one at a time, and in an order that guessers cannot turn to their advantage.

A password that was right before needs no check. Of the others, those of addresses without a wrong guess come
first, and of equals the newest: whoever guesses waits for an answer and so cannot always be the newest.
A wrong guess is answered later and later, for the address that makes many of them.
"""

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

MOST_WAITING: Final = 256
"""Checks that wait at most. Beyond it the one that waits in vain longest is told to come again."""
_MOST_VERIFIED: Final = 100
"""Passwords that are remembered as right. When there are more, the oldest is forgotten."""
_MOST_ADDRESSES: Final = 10_000
_FREE_GUESSES: Final = 10
"""Wrong guesses of an address that are answered at once: people mistype."""
_DELAY: Final = 0.2
"""Seconds by which each further guess of the address is answered later."""
_LONGEST_DELAY: Final = 10.0
_FORGIVEN: Final = 60.0
"""Seconds without a wrong guess after which an address begins anew."""


class Verdict(Enum):
    """What came of a check."""

    RIGHT = "right"
    WRONG = "wrong"
    BUSY = "busy"


@dataclass(slots=True)
class _Waiting:
    user: str
    password: bytes
    hashed: str
    known: bool
    guilty: bool
    done: "asyncio.Future[Verdict]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class PasswordCheck:
    """Checks users and passwords. The state belongs to the event loop; bcrypt runs in a thread of its own.

    Args:
        spent: Called with what was done when too many checks wait.
        clock: Returns monotonic seconds.
        matches: Returns whether a password has a hash.
    """

    def __init__(
        self,
        spent: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        matches: Callable[[bytes, str], bool] | None = None,
    ) -> None:
        self._spent, self._clock, self._matches = spent, clock, matches or _matches
        self._key = os.urandom(32)
        self._verified: dict[bytes, None] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._running: dict[bytes, _Waiting] = {}
        self._guesses: dict[str, tuple[int, float]] = {}  # by address: how many wrong ones, and when the last was made
        self._bcrypt = ThreadPoolExecutor(1, thread_name_prefix="bcrypt")

    async def check(self, users: Mapping[str, str], user: str, password: bytes, address: str) -> Verdict:
        """Return whether a user has a password.

        Args:
            users: The hash of each user's password.
            user: The user.
            password: The password.
            address: The address of the client.
        """
        # bcrypt is slow. If an unknown user were refused without it, the answer's time would show which users exist.
        # bcrypt in each request would slow down each scrape. So a verified password is remembered.
        hashed = users.get(user) or self._decoy_hash(users, user)
        pair = hmac.digest(self._key, b"\0".join((user.encode(), password, hashed.encode())), hashlib.sha256)
        if pair in self._verified and user in users:
            return Verdict.RIGHT
        waiting = self._running.get(pair) or self._waiting.get(pair)
        if waiting is None:
            waiting = _Waiting(user, password, hashed, user in users, self.wrong_guesses(address) > 0)
            self._waiting[pair] = waiting
            self._make_room()
            self._run_next()
        return await asyncio.shield(waiting.done)

    def wrong_guesses(self, address: str) -> int:
        """Return how many wrong guesses an address has made lately."""
        count, last = self._guesses.get(address, (0, 0.0))
        return count if self._clock() - last < _FORGIVEN else 0

    def delay(self, address: str) -> float:
        """Record a wrong guess of an address, and return the seconds after which it is to be answered."""
        count = self.wrong_guesses(address) + 1
        self._guesses.pop(address, None)
        self._guesses[address] = count, self._clock()
        if len(self._guesses) > _MOST_ADDRESSES:
            del self._guesses[next(iter(self._guesses))]
        return min(_LONGEST_DELAY, _DELAY * max(0, count - _FREE_GUESSES))

    def close(self) -> None:
        """Stop the thread."""
        self._bcrypt.shutdown(wait=False, cancel_futures=True)

    def _make_room(self) -> None:
        if len(self._waiting) <= MOST_WAITING:
            return
        pair = next((pair for pair, waiting in self._waiting.items() if waiting.guilty), next(iter(self._waiting)))
        self._waiting.pop(pair).done.set_result(Verdict.BUSY)
        self._spent("a password was not checked, and the request was answered with 503")

    def _run_next(self) -> None:
        if self._running or not self._waiting:
            return
        newest = list(reversed(self._waiting))
        pair = next((pair for pair in newest if not self._waiting[pair].guilty), newest[0])
        waiting = self._running[pair] = self._waiting.pop(pair)
        loop = asyncio.get_running_loop()
        try:
            checked = loop.run_in_executor(self._bcrypt, self._matches, waiting.password, waiting.hashed)
        except RuntimeError:  # the machine has no thread left
            self._running.pop(pair).done.set_result(Verdict.BUSY)
            return
        checked.add_done_callback(lambda done: self._take(pair, done))

    def _take(self, pair: bytes, checked: "asyncio.Future[bool]") -> None:
        waiting = self._running.pop(pair)
        right = not checked.cancelled() and not checked.exception() and checked.result() and waiting.known
        if right:
            self._verified[pair] = None
            if len(self._verified) > _MOST_VERIFIED:
                del self._verified[next(iter(self._verified))]
        waiting.done.set_result(Verdict.RIGHT if right else Verdict.WRONG)
        if not checked.cancelled():
            self._run_next()

    def _decoy_hash(self, users: Mapping[str, str], user: str) -> str:
        """Return the hash to check an unknown user's password against.

        Hashes of different cost take different time. So each unknown name gets the hash of one known
        user, always the same one. Its refusal then takes as long as the refusal of a known user.
        """
        hashes = sorted(users.values())
        return hashes[int.from_bytes(hmac.digest(self._key, user.encode(), hashlib.sha256)) % len(hashes)]


def _matches(password: bytes, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415 - most installations have no users

    try:
        return bcrypt.checkpw(password, hashed.encode())
    except ValueError:  # the password is longer than bcrypt allows
        return False
