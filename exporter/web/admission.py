"""Admission: decides which connections and requests are accepted.

TLS certificates, users and headers come from the web configuration. Its files may change at any time.
"""

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from tornado.httputil import HTTPServerRequest

from exporter.errors import SettingsError
from exporter.web.password_check import PasswordCheck, Verdict

if TYPE_CHECKING:
    from exporter.web.config import TlsServer, WebConfig

_RETRY: Final = 1.0
"""Seconds after which a rejected configuration is read again."""
log = structlog.get_logger(__name__)


class Admission:
    """Checks connections and requests against a web configuration.

    The configuration is read again when one of its files changes. If a changed file is invalid, the
    error is logged and the last valid configuration stays in force. The state belongs to the event
    loop; bcrypt runs in a thread of its own.

    Args:
        path: The web configuration file. None accepts all requests, without TLS.
        clock: Returns monotonic seconds.
        spent: Called with what was done when too many passwords wait to be checked.

    Raises:
        SettingsError: A file is invalid at the start.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._config: WebConfig | None = None
        self._context: ssl.SSLContext | None = None
        if path:
            self._config, self._context = _loaded(path)
        self._seen = self._stamps()
        self._rejection, self._retry_at = "", 0.0
        self._passwords = PasswordCheck(spent, clock)

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        """Headers that are added to every answer."""
        return self._config.http_server_config.headers.items() if self._config else ()

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context for the next connection, from the current files.

        None if TLS is off.
        """
        self._reload()
        return self._context

    async def admits(self, request: HTTPServerRequest) -> Verdict:
        """Return whether a request may be answered; ``BUSY`` if that could not be found out.

        The request needs a valid user and password if the configuration has users. Its client
        certificate needs an allowed name if the configuration has ``client_allowed_sans``.
        """
        self._reload()
        if self._config is None:
            return Verdict.RIGHT
        tls, users = self._config.tls_server_config, self._config.basic_auth_users
        if tls and tls.client_allowed_sans and not _has_name(request, tls.client_allowed_sans):
            return Verdict.WRONG
        return await self._check_user(request, users) if users else Verdict.RIGHT

    @property
    def wants_user(self) -> bool:
        """Whether requests need a user name and a password."""
        return bool(self._config and self._config.basic_auth_users)

    def close(self) -> None:
        """Stop the bcrypt thread."""
        self._passwords.close()

    async def _check_user(self, request: HTTPServerRequest, users: Mapping[str, str]) -> Verdict:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "basic":
                return Verdict.WRONG
            user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
            name = user.decode()
        except (binascii.Error, UnicodeDecodeError):
            return Verdict.WRONG
        address = str(request.remote_ip)
        verdict = await self._passwords.check(users, name, password, address)
        if verdict is Verdict.WRONG:
            await asyncio.sleep(self._passwords.delay(address))
        return verdict

    def reload(self) -> None:
        """Read the configuration and its files now, whether they have changed or not, and log what came of it."""
        if self._path is None:
            log.info("there is nothing to reload: no --web.config.file is given, and other settings need a restart")
            return
        self._seen, self._rejection = (), ""
        self._reload()

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
            config, context = _loaded(path)
        except SettingsError as error:
            return str(error)
        if bool(context) != bool(self._context):
            return "TLS cannot be turned on or off without a restart"
        if self.wants_user and not config.basic_auth_users:
            # A file that is being written may be empty for a moment. It must not open the exporter to everybody.
            return "the users cannot all be removed without a restart"
        self._config, self._context = config, context
        self._seen = self._stamps()
        log.info("the web configuration was reloaded")
        return ""

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        tls = self._config.tls_server_config if self._config else None
        return tuple(map(_stamp, (self._path, *_files(tls))))


def _loaded(path: Path) -> "tuple[WebConfig, ssl.SSLContext | None]":
    """Return the configuration in a file, and the TLS context that it asks for.

    Raises:
        SettingsError: A file is invalid.
    """
    from exporter.web.config import WebConfig, tls_context  # noqa: PLC0415 - most installations have no such file

    config = WebConfig.load(path)
    return config, tls_context(config.tls_server_config) if config.tls_server_config else None


def _files(tls: "TlsServer | None") -> Iterable[Path]:
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


def _has_name(request: HTTPServerRequest, allowed: Iterable[str]) -> bool:
    certificate = request.get_ssl_certificate()
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    return any(value in allowed for _, value in names)
