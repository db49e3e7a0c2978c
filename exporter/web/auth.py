"""Authentication: which requests the web configuration admits, and the TLS certificate that is shown.

A password that was right before needs no check. Of the others the newest is checked first: a guesser waits for an
answer, so no guesser can always be the newest.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog
from tornado.httputil import HTTPServerRequest

from exporter.errors import SettingsError

MOST_WAITING: Final = 256
"""Checks that wait at most. Beyond it the oldest one is answered with 503."""
_MOST_VERIFIED: Final = 100
"""Passwords that are remembered as right. When there are more, the oldest is forgotten."""
OK: Final = HTTPStatus.OK
WRONG: Final = HTTPStatus.UNAUTHORIZED
BUSY: Final = HTTPStatus.SERVICE_UNAVAILABLE

log = structlog.get_logger(__name__)


def _matches(password: bytes, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415 - most installations have no users

    try:
        return bcrypt.checkpw(password, hashed.encode())
    except ValueError:  # the password is longer than bcrypt allows
        return False


class Passwords:
    """Checks users and passwords. Its state belongs to the event loop; bcrypt runs in a thread of its own.

    Args:
        spent: Called with what was done when too many checks wait.
        matches: Returns whether a password has a hash.
    """

    def __init__(self, spent: Callable[[str], None], matches: Callable[[bytes, str], bool] = _matches) -> None:
        self._spent, self._matches = spent, matches
        self._key = os.urandom(32)
        self._verified: dict[bytes, None] = {}
        self._waiting: dict[bytes, tuple[bytes, str, bool, asyncio.Future[HTTPStatus]]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._bcrypt = ThreadPoolExecutor(1, thread_name_prefix="bcrypt")

    async def check(self, users: Mapping[str, str], user: str, password: bytes) -> HTTPStatus:
        """Return whether a user has a password: ``OK``, ``WRONG``, or ``BUSY`` if too many checks wait.

        Args:
            users: The hash of each user's password.
            user: The user.
            password: The password.
        """
        # If an unknown user were refused without bcrypt, the answer's time would show which users exist. Hashes of
        # different cost take different time, so an unknown name always gets the hash of the same known user.
        seed = int.from_bytes(hmac.digest(self._key, user.encode(), hashlib.sha256))
        hashed = users.get(user) or sorted(users.values())[seed % len(users)]
        pair = hmac.digest(self._key, b"\0".join((user.encode(), password, hashed.encode())), hashlib.sha256)
        if pair in self._verified and user in users:
            return OK
        if pair not in self._waiting:
            done: asyncio.Future[HTTPStatus] = asyncio.get_running_loop().create_future()
            self._waiting[pair] = password, hashed, user in users, done
            if len(self._waiting) > MOST_WAITING:
                *_, oldest = self._waiting.pop(next(iter(self._waiting)))
                oldest.set_result(BUSY)
                self._spent("a password was not checked, and the request was answered with 503")
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(self._waiting[pair][-1])

    def close(self) -> None:
        """Stop the thread."""
        self._bcrypt.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Check the newest password until none waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            pair, (password, hashed, known, done) = self._waiting.popitem()
            try:
                matches = await loop.run_in_executor(self._bcrypt, self._matches, password, hashed)
            except RuntimeError:  # the machine has no thread left, or the exporter stops
                done.set_result(BUSY)
                continue
            if matches and known:
                self._verified[pair] = None
                if len(self._verified) > _MOST_VERIFIED:
                    del self._verified[next(iter(self._verified))]
            done.set_result(OK if matches and known else WRONG)


class Auth:
    """Checks requests against a web configuration, which is loaded again when one of its files changes.

    If a changed file is invalid, the error is logged and the last valid configuration stays in force. Its state belongs
    to the event loop.

    Args:
        path: The web configuration file. None admits all requests, without TLS.
        spent: Called with what was done when too many passwords wait to be checked.

    Attributes:
        tls: The TLS context for the next connection; None if TLS is off.
        users: The hash of each user's password; empty if everybody is admitted.

    Raises:
        SettingsError: A file is invalid at the start.
    """

    def __init__(self, path: Path | None, spent: Callable[[str], None]) -> None:
        self.tls: ssl.SSLContext | None = None
        self.users: Mapping[str, str] = {}
        self._path, self._passwords = path, Passwords(spent)
        self._files: Sequence[Path | None] = (path,)
        self._rejection = ""
        if path:
            self._load(path, first=True)
        self._seen = self._stamps()

    async def admits(self, request: HTTPServerRequest) -> HTTPStatus:
        """Return whether a request may be answered: ``OK``, ``WRONG``, or ``BUSY`` if that could not be found out.

        The request needs a valid user and password if the configuration has users.
        """
        if not self.users:
            return OK
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
            name = user.decode()
        except (binascii.Error, ValueError):
            return WRONG
        return await self._passwords.check(self.users, name, password) if scheme.lower() == "basic" else WRONG

    def reload(self, *, changed: bool = False) -> None:
        """Load the configuration and its files again, and log the result.

        Args:
            changed: Load them only if a file has changed, or if they are invalid: an invalid configuration may name
                a certificate that is written later.
        """
        if self._path is None:
            if not changed:
                log.info("there is nothing to reload: no --web.config.file is given, and other settings need a restart")
            return
        stamps, before = self._stamps(), self._rejection
        if changed and stamps == self._seen and not before:
            return
        self._seen, self._rejection = stamps, ""
        try:
            self._load(self._path)
        except SettingsError as error:
            self._rejection = str(error)
            if not changed or self._rejection != before:
                log.warning("the web configuration is invalid, the last valid one stays in force", error=str(error))
        else:
            self._seen = self._stamps()
            log.info("the web configuration was reloaded")

    def close(self) -> None:
        """Stop the bcrypt thread."""
        self._passwords.close()

    def _load(self, path: Path, *, first: bool = False) -> None:
        from exporter.web.config import WebConfig, tls_context  # noqa: PLC0415 - most installations have no such file

        config = WebConfig.load(path)
        server = config.tls_server_config
        tls = tls_context(server) if server else None
        if not first and bool(tls) != bool(self.tls):
            raise SettingsError("TLS cannot be turned on or off without a restart")
        if self.users and not config.basic_auth_users:
            # A file that is being written may be empty for a moment. It must not open the exporter to everybody.
            raise SettingsError("the users cannot all be removed without a restart")
        self.tls, self.users = tls, config.basic_auth_users
        self._files = (path, server.cert_file, server.key_file, server.client_ca_file) if server else (path,)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) if file else None for file in self._files]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when the file changes; None if the file is missing.

    It changes also when a symbolic link to the file is replaced, as Kubernetes does in a mounted Secret.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
