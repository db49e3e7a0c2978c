"""Posts to one Alertmanager over HTTP or HTTPS, with a timeout that adapts to the time of its answers.

``HttpConfig`` is authentication and TLS, with the names of Prometheus's ``<http_config>``
(https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config).
A file that has changed is read again, since secrets and certificates are rotated.
"""

import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, FilePath, SecretStr, ValidationError, model_validator

from exporter.errors import SettingsError
from exporter.settings.yaml_file import read_yaml

CONNECT: Final = 2.0
"""Timeout of a TCP connection, in seconds. With TLS the handshake counts too, so the request's timeout is used."""
TIMEOUTS: Final = (5.0, 80.0)
"""The shortest and the longest timeout of a request, in seconds.

A request that times out doubles the timeout of the next one, up to the longest. An answer
sets the timeout to twice the time that the answer took. So a lost connection costs 5 s if
Alertmanager answers quickly, and an Alertmanager that needs 30 s still gets its posts.
"""
ALERTS: Final = "/api/v2/alerts"
"""The path to which alerts are posted."""
_MOST_READ: Final = 8 * 2**20
_MOST_SHOWN: Final = 200


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BasicAuth(_Section):
    """User name and password."""

    username: str
    password: SecretStr | None = None
    password_file: FilePath | None = None


class Authorization(_Section):
    """A token. Its type is ``Bearer`` by default."""

    type: str = "Bearer"
    credentials: SecretStr | None = None
    credentials_file: FilePath | None = None


class Tls(_Section):
    """The authorities to trust, and the certificate to present."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    insecure_skip_verify: bool = False


class HttpConfig(_Section):
    """The HTTP client's configuration towards Alertmanager."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: Tls = Tls()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        basic, token, tls = self.basic_auth, self.authorization, self.tls_config
        if basic and token:
            raise ValueError("give one of basic_auth and authorization")
        if basic and (basic.password is None) == (basic.password_file is None):
            raise ValueError("basic_auth: give one of password and password_file")
        if token and (token.credentials is None) == (token.credentials_file is None):
            raise ValueError("authorization: give one of credentials and credentials_file")
        if (tls.cert_file is None) != (tls.key_file is None):
            raise ValueError("tls_config: cert_file goes with key_file")
        return self

    @classmethod
    def load(cls, path: Path | None) -> "HttpConfig":
        """Return the configuration in a file; without a path, the configuration without authentication.

        Raises:
            SettingsError: The file cannot be used; its text is one line with the reason.
        """
        try:
            return cls.model_validate(read_yaml(path) or {} if path else {})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = "".join(f"{part}." for part in first["loc"]).rstrip(".")
            reason = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"--alertmanager.config-file: {place}{': ' if place else ''}{reason}") from None
        except ValueError as error:
            raise SettingsError(f"--alertmanager.config-file: {error}") from None

    def headers(self) -> Mapping[str, str]:
        """Return the headers that authenticate; secrets in files are read anew.

        Raises:
            OSError: A file cannot be read.
        """
        if self.basic_auth:
            password = _secret(self.basic_auth.password, self.basic_auth.password_file)
            pair = f"{self.basic_auth.username}:{password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if self.authorization:
            token = _secret(self.authorization.credentials, self.authorization.credentials_file)
            return {"Authorization": f"{self.authorization.type} {token}"}
        return {}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; files that have changed are read anew.

        Raises:
            OSError: A file cannot be read, or holds no certificate.
        """
        tls = self.tls_config
        changed = tuple(path.stat().st_mtime_ns for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        return _context(tls, changed)


@lru_cache(maxsize=1)
def _context(tls: Tls, changed: tuple[int, ...]) -> ssl.SSLContext:  # noqa: ARG001 - a part of the cache's key
    context = ssl.create_default_context(cafile=tls.ca_file)
    # Python 3.13 refuses a private CA without a key usage extension, which Alertmanager and Prometheus accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _secret(value: SecretStr | None, path: Path | None) -> str:
    return value.get_secret_value() if value else path.read_text(encoding="utf-8").strip() if path else ""


class Reply(NamedTuple):
    """The result of a post.

    Attributes:
        problem: What was wrong, in one line; empty if the post was accepted.
        sent: Monotonic time at which the post began.
        received: Monotonic time at which the post ended.
        answered: Whether an HTTP answer came, with any status.
        timed_out: Whether no answer came in time. Alertmanager may still read the post, minutes later.
        date: The answer's ``Date`` header; None if it is missing.
    """

    problem: str
    sent: float
    received: float
    answered: bool = False
    timed_out: bool = False
    date: str | None = None


class Transport:
    """Sends posts to one Alertmanager, each on a connection of its own. For one thread, but for ``close``.

    Args:
        url: Its address, with the path prefix if it has one.
        config: Authentication and TLS.
        timeouts: See ``TIMEOUTS``.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        config: HttpConfig,
        *,
        timeouts: tuple[float, float] = TIMEOUTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._config, self._clock = urlsplit(url), config, clock
        self._shortest, self._longest = timeouts
        self._timeout = self._shortest
        self._connection: HTTPConnection | None = None

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> Reply:
        """Send alerts, and return the result. An empty list shows whether Alertmanager accepts posts."""
        sent = self._clock()
        try:
            status, date, text = self._ask("POST", ALERTS, json.dumps(alerts, ensure_ascii=False).encode())
        except TimeoutError:
            problem = f"no answer within {self._timeout:g} s"
            self._timeout = min(2 * self._timeout, self._longest)
            return Reply(problem, sent, self._clock(), timed_out=True)
        except (ConnectionError, socket.gaierror) as error:
            reason = f"cannot connect: {error.strerror or error} (is it running there? see --alertmanager.url)"
            return Reply(reason, sent, self._clock())
        except (OSError, HTTPException, ValueError) as error:
            return Reply(_line(str(error)) or type(error).__name__, sent, self._clock())
        received = self._clock()
        self._timeout = min(max(2 * (received - sent), self._shortest), self._longest)
        shown = text[:_MOST_SHOWN].decode("utf-8", "replace")
        problem = "" if status == 200 else _line(f"HTTP {status} {shown}")  # noqa: PLR2004
        return Reply(problem, sent, received, answered=True, date=date)

    def get(self, path: str) -> bytes | None:
        """Return what Alertmanager answers to a GET of a path; None if it does not answer with 200."""
        with suppress(OSError, HTTPException, ValueError):
            status, _, text = self._ask("GET", path, None)
            return text if status == 200 else None  # noqa: PLR2004
        return None

    def close(self) -> None:
        """End a post that is under way; it fails. To be called from any thread."""
        with suppress(AttributeError, OSError):  # there is none, or none any more
            self._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, str | None, bytes]:
        """Return the status, the ``Date`` and the text of an answer."""
        host, port = self._address.hostname or "", self._address.port
        headers = {"Content-Type": "application/json", "Connection": "close", **self._config.headers()}
        if self._address.scheme == "https":
            context = self._config.context()
            connection: HTTPConnection = HTTPSConnection(host, port, timeout=self._timeout, context=context)
        else:
            connection = HTTPConnection(host, port, timeout=min(CONNECT, self._timeout))
        with closing(connection):
            self._connection = connection
            connection.connect()
            connection.sock.settimeout(self._timeout)
            connection.request(method, self._address.path + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Date"), answer.read(_MOST_READ)


def _line(text: str) -> str:
    return " ".join(text.split())
