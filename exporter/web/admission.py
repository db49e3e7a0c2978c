"""Admission: decides which connections and requests are accepted.

TLS certificates, users and headers come from the web configuration. Its files may change at any time.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import bcrypt
import structlog
from tornado.httputil import HTTPServerRequest

from exporter.errors import SettingsError
from exporter.web.config import TlsServer, WebConfig, tls_context

_MOST_VERIFIED: Final = 100
"""Passwords that are remembered as right. When there are more, all are forgotten."""
_RETRY: Final = 1.0
"""Seconds after which a rejected configuration is read again."""
_MOST_WAITING: Final = 32
"""Requests that may wait for bcrypt at a time. Further requests are refused."""

log = structlog.get_logger(__name__)


class Admission:
    """Checks connections and requests against a web configuration.

    The configuration is read again when one of its files changes. If a changed file is invalid, the
    error is logged and the last valid configuration stays in force. The state belongs to the event
    loop; bcrypt runs in a thread of its own.

    Args:
        path: The web configuration file. None accepts all requests, without TLS.
        clock: Returns monotonic seconds.

    Raises:
        SettingsError: A file is invalid at the start.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._config = WebConfig.load(path)
        tls = self._config.tls_server_config
        self._context = tls_context(tls) if tls else None
        self._seen = self._stamps()
        self._rejection, self._retry_at = "", 0.0
        self._verified: set[bytes] = set()
        self._key = os.urandom(32)
        self._waiting = 0
        self._bcrypt = ThreadPoolExecutor(1, thread_name_prefix="bcrypt")

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        """Headers that are added to every answer."""
        return self._config.http_server_config.headers.items()

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context for the next connection, from the current files.

        None if TLS is off.
        """
        self._reload()
        return self._context

    async def admits(self, request: HTTPServerRequest) -> bool:
        """Return whether a request may be answered.

        The request needs a valid user and password if the configuration has users. Its client
        certificate needs an allowed name if the configuration has ``client_allowed_sans``.
        """
        self._reload()
        tls = self._config.tls_server_config
        if tls and tls.client_allowed_sans and not _has_name(request, tls.client_allowed_sans):
            return False
        if not self._config.basic_auth_users:
            return True
        return await self._is_user(request.headers.get("Authorization", ""))

    @property
    def wants_user(self) -> bool:
        """Whether requests need a user name and a password."""
        return bool(self._config.basic_auth_users)

    def close(self) -> None:
        """Stop the bcrypt thread."""
        self._bcrypt.shutdown(wait=False, cancel_futures=True)

    async def _is_user(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            if scheme.lower() != "basic":
                return False
            user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
            name = user.decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        # bcrypt is slow. If an unknown user were refused without it, the answer's time would show which users exist.
        # bcrypt in each request would slow down each scrape. So a verified password is remembered.
        users = self._config.basic_auth_users
        hashed = users.get(name) or self._decoy_hash(name)
        pair = hmac.digest(self._key, b"\0".join((user, password, hashed.encode())), hashlib.sha256)
        if pair in self._verified and name in users:
            return True
        if self._waiting >= _MOST_WAITING:
            return False
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._bcrypt, _matches, password, hashed)
        finally:
            self._waiting -= 1
        if right and name in users:
            if len(self._verified) >= _MOST_VERIFIED:
                self._verified.clear()
            self._verified.add(pair)
            return True
        return False

    def _decoy_hash(self, name: str) -> str:
        """Return the hash to check an unknown user's password against.

        Hashes of different cost take different time. So each unknown name gets the hash of one known
        user, always the same one. Its refusal then takes as long as the refusal of a known user.
        """
        hashes = sorted(self._config.basic_auth_users.values())
        return hashes[int.from_bytes(hmac.digest(self._key, name.encode(), hashlib.sha256)) % len(hashes)]

    def _reload(self) -> None:
        if self._path is None:
            return
        stamps, now = self._stamps(), self._clock()
        # A rejected configuration may name a certificate that is written later. No file known so far changes then,
        # so a rejected configuration is also read again after a while.
        if stamps == self._seen and not (self._rejection and now >= self._retry_at):
            return
        self._seen, self._retry_at = stamps, now + _RETRY
        before, self._rejection = self._rejection, self._load(self._path)
        if self._rejection and self._rejection != before:
            log.warning("the web configuration is invalid, the last valid one stays in force", error=self._rejection)

    def _load(self, path: Path) -> str:
        """Load the current files. Return why they are rejected, or an empty text if they are in force now."""
        try:
            config = WebConfig.load(path)
            tls = config.tls_server_config
            context = tls_context(tls) if tls else None
        except SettingsError as error:
            return str(error)
        if bool(tls) != bool(self._context):
            return "TLS cannot be turned on or off without a restart"
        if self._config.basic_auth_users and not config.basic_auth_users:
            # A file that is being written may be empty for a moment. It must not open the exporter to everybody.
            return "the users cannot all be removed without a restart"
        self._config, self._context = config, context
        self._seen = self._stamps()
        log.info("the web configuration was reloaded")
        return ""

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        tls = self._config.tls_server_config
        return tuple(map(_stamp, (self._path, *_files(tls))))


def _files(tls: TlsServer | None) -> Iterable[Path]:
    if tls:
        yield tls.cert_file
        yield tls.key_file
        if tls.client_ca_file:
            yield tls.client_ca_file


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return a value that changes when the file changes; None if the file is missing.

    It changes also when a symbolic link to the file is replaced, as Kubernetes does in a mounted Secret.
    """
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password, hashed.encode())
    except ValueError:  # the password is longer than bcrypt allows
        return False


def _has_name(request: HTTPServerRequest, allowed: Iterable[str]) -> bool:
    certificate = request.get_ssl_certificate()
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return any(value in allowed for _, value in names)
