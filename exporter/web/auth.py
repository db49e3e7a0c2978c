"""Authentication: which requests the web configuration admits, and the TLS certificate that is shown.

A password that was right before needs no check. Of the others the newest is checked first: a guesser waits for an
answer, so no guesser can always be the newest.
"""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog

from exporter.errors import SettingsError
from exporter.settings.values import require

MOST_WAITING: Final = 256
"""Checks that wait at most. Beyond it the oldest one is answered with 503."""
OK: Final = HTTPStatus.OK
WRONG: Final = HTTPStatus.UNAUTHORIZED
BUSY: Final = HTTPStatus.SERVICE_UNAVAILABLE

log = structlog.get_logger(__name__)


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt  # noqa: PLC0415 - most installations have no users

    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # the password is longer than bcrypt allows
        return False


class Auth:
    """Checks requests against a web configuration. Its state belongs to the event loop; bcrypt runs in a thread.

    Args:
        path: The web configuration file. None admits all requests, without TLS.
        spent: Called with what was done when too many passwords wait to be checked.
        matches: Returns whether a password has a hash.

    Attributes:
        tls: The TLS context for the next connection; None if TLS is off.
        users: The hash of each user's password; empty if everybody is admitted.

    Raises:
        SettingsError: A file is invalid at the start.
    """

    def __init__(
        self,
        path: Path | None,
        spent: Callable[[str], None],
        matches: Callable[[bytes, bytes], bool] = _matches,
    ) -> None:
        self.tls: ssl.SSLContext | None = None
        self.users: Mapping[str, str] = {}
        self._path, self._spent, self._matches = path, spent, matches
        self._verified: set[bytes] = set()
        self._checking = False
        self._waiting: list[asyncio.Future[bool]] = []  # each gets True when it is its turn, False if there is no room
        self._problem = ""
        if path:
            from exporter.web.config import load  # noqa: PLC0415 - most installations have no such file

            self.tls, self.users = load(path)

    def reload(self) -> None:
        """Load the configuration and its files again. If they are invalid, the last valid ones stay in force."""
        from exporter.web.config import load  # noqa: PLC0415 - as above

        try:
            tls, users = load(self._path)
            # A file that is being written may be empty for a moment. It must not open the exporter to everybody.
            require(
                (tls is None, not users) == (self.tls is None, not self.users),
                "TLS or users cannot be turned on or off without a restart",
            )
            self.tls, self.users, problem = tls, users, ""
        except (SettingsError, ValueError) as error:
            problem = str(error)
        if problem not in ("", self._problem):
            log.warning("the web configuration is invalid, the last valid one stays in force", error=problem)
        self._problem = problem

    async def admits(self, authorization: str) -> HTTPStatus:
        """Return whether a request may be answered: ``OK``, ``WRONG``, or ``BUSY`` if that could not be found out.

        Args:
            authorization: The request's header. It needs a valid user and password if the configuration has users.
        """
        if not self.users:
            return OK
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            return WRONG
        return await self._check(user, password) if scheme.lower() == "basic" else WRONG

    async def _check(self, user: str, password: str) -> HTTPStatus:
        # An unknown user gets a check, too, or the answer's time would show which users exist.
        hashed = self.users.get(user) or next(iter(self.users.values()))
        pair = hashlib.sha256(repr((user, password, hashed)).encode()).digest()
        if pair not in self._verified:
            if not await self._turn():
                return BUSY
            try:
                right = await asyncio.to_thread(self._matches, password.encode(), hashed.encode())
            finally:
                self._checking = bool(self._waiting)
                if self._waiting:
                    self._waiting.pop().set_result(True)
            if not right:
                return WRONG
            self._verified.add(pair)
        return OK if user in self.users else WRONG

    async def _turn(self) -> bool:
        """Wait until no other password is being checked; return False if too many newer ones wait."""
        if not self._checking:
            self._checking = True
            return True
        turn = asyncio.Future[bool]()
        self._waiting.append(turn)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.pop(0).set_result(False)
            self._spent("a password was not checked, and the request was answered with 503")
        return await turn
