"""The door: who may connect and who may ask, with certificates and users that may change at any time."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import bcrypt
import structlog
from tornado.httputil import HTTPServerRequest

from exporter.errors import SettingsError
from exporter.web.config import TlsServer, WebConfig, tls_context

_REMEMBERED: Final = 100
_AGAIN: Final = 1.0
"""Seconds after which a configuration that was refused is tried again."""
_WAITING: Final = 32

log = structlog.get_logger(__name__)


class Door:
    """Checks who comes, by a web configuration that is read again whenever one of its files changes.

    A file that cannot be used any more is logged, and the last good one stays in
    force. Its state is the event loop's; bcrypt runs in a thread of its own.

    Args:
        path: The web configuration file; None for an open door.

    Raises:
        SettingsError: A file cannot be used at the start.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._config = WebConfig.load(path)
        tls = self._config.tls_server_config
        self._context = tls_context(tls) if tls else None
        self._seen = self._stamps()
        self._refusal, self._again_at = "", 0.0
        self._known: dict[bytes, bool] = {}
        self._key = os.urandom(32)
        self._waiting = 0
        self._bcrypt = ThreadPoolExecutor(1, thread_name_prefix="bcrypt")

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        """The headers that every answer carries."""
        return self._config.http_server_config.headers.items()

    def tls(self) -> ssl.SSLContext | None:
        """Return the context for the next connection, made of the files as they are now; None without TLS."""
        self._reload()
        return self._context

    async def admits(self, request: HTTPServerRequest) -> bool:
        """Return whether a request may be answered: its user and password, its certificate's names."""
        self._reload()
        tls = self._config.tls_server_config
        if tls and tls.client_allowed_sans and not _has_name(request, tls.client_allowed_sans):
            return False
        if not self._config.basic_auth_users:
            return True
        return await self._knows(request.headers.get("Authorization", ""))

    @property
    def wants_user(self) -> bool:
        """Whether a user name and a password are asked for."""
        return bool(self._config.basic_auth_users)

    def close(self) -> None:
        """Stop the thread."""
        self._bcrypt.shutdown(wait=False, cancel_futures=True)

    async def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            if scheme.lower() != "basic":
                return False
            user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
            name = user.decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        # An unknown user costs as much as a known one, and a right password costs bcrypt only once.
        users = self._config.basic_auth_users
        hashed = users.get(name) or self._stand_in(name)
        pair = hmac.digest(self._key, b"\0".join((user, password, hashed.encode())), hashlib.sha256)
        if pair in self._known and name in users:
            return True
        if self._waiting >= _WAITING:
            return False
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._bcrypt, _matches, password, hashed)
        finally:
            self._waiting -= 1
        if right and name in users:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[pair] = True
            return True
        return False

    def _stand_in(self, name: str) -> str:
        """Return the hash to check an unknown user's password against: always the same known user's.

        Hashes may differ in their cost, and so in the time that they take: an unknown
        user takes the time of one of them, as a known one does.
        """
        hashes = sorted(self._config.basic_auth_users.values())
        return hashes[int.from_bytes(hmac.digest(self._key, name.encode(), hashlib.sha256)) % len(hashes)]

    def _reload(self) -> None:
        if self._path is None:
            return
        stamps, now = self._stamps(), time.monotonic()
        # What was refused may name files that are not there yet: it is tried again though none of the old ones changes.
        if stamps == self._seen and not (self._refusal and now >= self._again_at):
            return
        self._seen, self._again_at = stamps, now + _AGAIN
        before, self._refusal = self._refusal, self._read_anew(self._path)
        if self._refusal and self._refusal != before:
            log.warning("the web configuration cannot be used, the last one stays in force", error=self._refusal)

    def _read_anew(self, path: Path) -> str:
        """Take over the files as they are now, or return why that cannot be done."""
        try:
            config = WebConfig.load(path)
            tls = config.tls_server_config
            context = tls_context(tls) if tls else None
        except SettingsError as error:
            return str(error)
        if bool(tls) != bool(self._context):
            return "TLS cannot be turned on or off without a restart"
        if self._config.basic_auth_users and not config.basic_auth_users:
            return "the users cannot all be taken away without a restart"  # a file that is being written may be empty
        self._config, self._context = config, context
        self._seen = self._stamps()
        log.info("the web configuration was read anew")
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
    """Return what changes when a file does, also when a link to it is turned (as Kubernetes does)."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password, hashed.encode())
    except ValueError:  # longer than bcrypt takes
        return False


def _has_name(request: HTTPServerRequest, allowed: Iterable[str]) -> bool:
    certificate = request.get_ssl_certificate()
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return any(value in allowed for _, value in names)
