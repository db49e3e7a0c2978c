"""Posts to one Alertmanager over HTTP or HTTPS: a timeout that adapts to its answers, and times that suit its clock.

``HttpConfig`` is authentication and TLS, with the names of Prometheus's ``<http_config>``
(https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config).
Its files are read anew for each post, since secrets and certificates are rotated.
"""

import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import structlog

from exporter.errors import SettingsError
from exporter.settings import Section, Setting, existing_file, optional, sections_of
from exporter.settings.values import require
from exporter.settings.yaml_file import read_yaml

TIMEOUTS: Final = (5.0, 80.0)
"""The shortest and the longest timeout of a request, in seconds.

A request that times out doubles the timeout of the next one, and an answer halves it. So a lost connection costs 5 s if
Alertmanager answers quickly, and an Alertmanager that needs 30 s still gets its posts.
"""
ALERTS: Final = "/api/v2/alerts"
"""The path to which alerts are posted."""
TOLERANCE: Final = 60.0
"""Largest difference of two clocks that agree, in seconds."""
_MOST_READ: Final = 8 * 2**20
_MOST_SHOWN: Final = 200

log = structlog.get_logger(__name__)


class BasicAuth(Section):
    """User name and password."""

    joint = "_"
    username: Setting[str | None] = optional(str, "user name")
    password_file: Setting[Path | None] = optional(existing_file, "file with the password")


class Authorization(Section):
    """A bearer token."""

    joint = "_"
    credentials_file: Setting[Path | None] = optional(existing_file, "file with the token")


class TlsConfig(Section):
    """The authorities to trust, and the certificate to present."""

    joint = "_"
    ca_file: Setting[Path | None] = optional(existing_file, "authorities to trust")
    cert_file: Setting[Path | None] = optional(existing_file, "certificate to present")
    key_file: Setting[Path | None] = optional(existing_file, "its key")


class HttpConfig(NamedTuple):
    """The HTTP client's configuration towards Alertmanager."""

    basic_auth: BasicAuth = BasicAuth()
    authorization: Authorization = Authorization()
    tls_config: TlsConfig = TlsConfig()

    @classmethod
    def load(cls, path: Path | None) -> "HttpConfig":
        """Return the configuration in a file; without a path, the configuration without authentication.

        Raises:
            SettingsError: The file cannot be used; its text is a line for each mistake.
        """
        try:
            config = sections_of(read_yaml(path) if path else None, cls)
            basic, token, tls = (section.given for section in config)
            require(not (basic and token), "give one of basic_auth and authorization")
            require(len(basic) != 1, "basic_auth: username goes with password_file")
            require(len(tls & {"cert_file", "key_file"}) != 1, "tls_config: cert_file goes with key_file")
        except ValueError as error:
            raise SettingsError("\n".join(f"--alertmanager.config-file: {line}" for line in error.args)) from None
        return config

    def headers(self) -> Mapping[str, str]:
        """Return the headers that authenticate; the secret is read anew.

        Raises:
            OSError, ValueError: The file cannot be read, or holds more than the secret.
        """
        path = self.basic_auth.password_file or self.authorization.credentials_file
        if path is None:
            return {}
        kind, secret = "Bearer", path.read_text(encoding="utf-8").strip()
        if self.basic_auth.given:
            kind, secret = "Basic", base64.b64encode(f"{self.basic_auth.username}:{secret}".encode()).decode()
        require(len(secret.splitlines()) <= 1, f"{path} holds more than one line")
        return {"Authorization": f"{kind} {secret}"}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; certificates are read anew.

        Raises:
            OSError: A file cannot be read, or holds no certificate.
        """
        tls = self.tls_config
        context = ssl.create_default_context(cafile=tls.ca_file)
        # Python 3.13 refuses a private CA without a key usage extension, which Alertmanager and Prometheus accept.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        return context


class Reply(NamedTuple):
    """The result of a post.

    Attributes:
        problem: What was wrong, in one line; empty if the post was accepted.
        timed_out: Whether no answer came in time. Alertmanager may still read the post, minutes later.
        date: The ``Date`` of the answer, empty if it is missing; None if there was no answer.
    """

    problem: str
    timed_out: bool = False
    date: str | None = None


class Transport:
    """Sends posts to one Alertmanager, each on a connection of its own. For one thread.

    Args:
        url: Its address, with the path prefix if it has one.
        config: Authentication and TLS.
        timeouts: See ``TIMEOUTS``.

    Attributes:
        url: See above.
    """

    def __init__(self, url: str, config: HttpConfig, *, timeouts: tuple[float, float] = TIMEOUTS) -> None:
        self.url, self._address, self._config = url, urlsplit(url), config
        self._shortest, self._longest = timeouts
        self._timeout = self._shortest

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> Reply:
        """Send alerts, and return the result. An empty list shows whether Alertmanager accepts posts."""
        try:
            status, date, text = self._post(json.dumps(alerts, ensure_ascii=False).encode())
        except TimeoutError:
            reply = Reply(f"no answer within {self._timeout:g} s", timed_out=True)
            self._timeout = min(2 * self._timeout, self._longest)
            return reply
        except (OSError, HTTPException, ValueError) as error:
            reason = _line(str(error)) or type(error).__name__
            if isinstance(error, ConnectionError | socket.gaierror):
                reason = f"cannot connect: {error.strerror or error} (is it running there? see --alertmanager.url)"
            return Reply(reason)
        self._timeout = max(self._timeout / 2, self._shortest)
        shown = text[:_MOST_SHOWN].decode("utf-8", "replace")
        return Reply("" if status == HTTPStatus.OK else _line(f"HTTP {status} {shown}"), date=date)

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Return the status, the ``Date`` and the text of an answer."""
        headers = {"Content-Type": "application/json", "Connection": "close", **self._config.headers()}
        connection = HTTPConnection(self._address.netloc, timeout=self._timeout)
        if self._address.scheme == "https":
            context = self._config.context()
            connection = HTTPSConnection(self._address.netloc, timeout=self._timeout, context=context)
        with closing(connection):
            connection.request("POST", self._address.path + ALERTS, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Date", ""), answer.read(_MOST_READ)


def _line(text: str) -> str:
    return " ".join(text.split())


class Clocks:
    """The two clocks of the times in posts to an Alertmanager. Turns monotonic times into the texts of a post.

    Alertmanager judges an alert by its own clock. An ``endsAt`` in its past means that the
    alert is over: Alertmanager answers 200 and notifies nobody. A ``startsAt`` in its future
    delays the notification by ``group_wait``. Without ``endsAt``, Alertmanager refuses a
    ``startsAt`` that is further ahead than ``resolve_timeout``. Neither clock can be trusted
    alone: the exporter's clock may be wrong, and the ``Date`` may come from a proxy. So:

    - ``startsAt`` comes from the earlier of the two clocks.
    - ``endsAt`` comes from the later one, if the two agree to within ``TOLERANCE``. An alert
      then lasts at most that much longer than its sender meant.
    - If they do not agree, or there is no readable ``Date``, ``endsAt`` is left out.
      Alertmanager then sets it by its own clock, ``resolve_timeout`` (5 min by default) after
      the last post.

    One case remains: two clocks that agree and are both wrong, such as those of an exporter and
    a proxy on the same machine. An alert is lost if both are behind by ``Pace.lasts``.

    Args:
        url: The Alertmanager, for the log.
        wall: Returns Unix time.
        monotonic: Returns monotonic seconds.
    """

    def __init__(
        self, url: str, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._wall, self._monotonic = url, wall, monotonic
        # Its clock less the monotonic one, by the last answer: up to a second too low, since a Date has whole seconds.
        self._date: float | None = None
        self._warned = False

    def observe(self, date: str | None, received: float) -> None:
        """Record the ``Date`` of an answer.

        Args:
            date: The header's text; None if it is missing.
            received: Monotonic time at which the answer was received.
        """
        self._date = None
        with suppress(ValueError, IndexError, OverflowError):  # it is no date
            unix = mktime_tz(parsedate_tz(date or "") or ())  # type: ignore[arg-type]
            self._date = unix - received if unix >= 0 else None
        *_, agree = self._clocks()
        if not agree and not self._warned:
            log.warning(
                "Alertmanager's Date differs from this clock: its resolve_timeout ends alerts", url=self._url, date=date
            )
        self._warned = not agree

    def times(self, starts: float, ends: float, *, over: bool = False) -> dict[str, str]:
        """Return ``startsAt`` and ``endsAt`` of an alert: without ``endsAt`` if it lasts and the clocks do not agree.

        If it is over, both are in the past by every clock.
        """
        earlier, later, agree = self._clocks()
        times = {"startsAt": _rfc3339(starts + earlier)}
        if over or agree:
            times["endsAt"] = _rfc3339(ends + (earlier if over else later))
        return times

    def _clocks(self) -> tuple[float, float, bool]:
        """Return the earlier and the later clock, each less the monotonic one, and whether they agree."""
        ours = self._wall() - self._monotonic()
        date = ours if self._date is None else self._date
        return min(ours, date), max(ours, date), self._date is not None and abs(ours - date) <= TOLERANCE


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
