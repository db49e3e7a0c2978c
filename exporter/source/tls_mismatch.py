"""Tells why a connection with TLS to a port without it fails, and the reverse: Redis itself closes or says nothing."""

import socket
import ssl
from contextlib import suppress
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

import structlog

from exporter.errors import SourceError
from exporter.settings import Redis

PATIENCE: Final = 1.0
"""Seconds for each of at most two attempts."""
_PORT: Final = 6379
_NO_TLS: Final = "the port answers without TLS: write redis:// in place of rediss:// in --redis.url"
_TLS: Final = "the port speaks TLS: write rediss:// in place of redis:// in --redis.url"

log = structlog.get_logger(__name__)


def explained(error: SourceError, redis: Redis) -> SourceError:
    """Return an error of a read of Redis; if the scheme of the address explains it, its text says so."""
    hint = tls_mismatch(redis)
    return type(error)(f"{error}; {hint}") if hint else error


class SchemeHint:
    """Logs once, at the first outage, that the scheme of the address is wrong.

    Args:
        redis: The settings.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis, self._asked = redis, False

    def __call__(self, error: str, _: float) -> None:
        """Hear of the begin or the end of an outage: ``liveness.outages.OnOutage``."""
        if error and not self._asked:
            self._asked = True
            with suppress(RuntimeError):  # the system allows no further thread
                Thread(target=self._look, name="scheme-hint", daemon=True).start()

    def _look(self) -> None:
        if hint := tls_mismatch(self._redis):
            log.error("Redis cannot be read for this reason", hint=hint)


def tls_mismatch(redis: Redis, patience: float = PATIENCE) -> str:
    """Return what is wrong with the scheme of the first address; empty if nothing is, or if that cannot be seen.

    The function takes at most about three times ``patience``, whatever the host and the name server do.

    Args:
        redis: The settings, after a read of Redis has failed.
        patience: Seconds for each attempt.
    """
    found: list[str] = []
    thread = Thread(target=lambda: found.append(_mismatch(redis, patience)), name="tls-mismatch", daemon=True)
    with suppress(RuntimeError):  # the system allows no further thread
        thread.start()
        thread.join(3 * patience)
    return found[0] if found else ""


def _mismatch(redis: Redis, patience: float) -> str:
    try:
        address = urlsplit(redis.url[0].get_secret_value())
        place = address.hostname or "localhost", address.port or _PORT
    except ValueError:
        return ""
    if address.scheme == "unix":
        return ""
    answers = _answers_plainly(place, patience)
    if address.scheme == "rediss":
        return _NO_TLS if answers else ""
    return _TLS if not answers and _speaks_tls(place, patience) else ""


def _answers_plainly(place: tuple[str, int], patience: float) -> bool:
    """Return whether a server answers a PING without TLS, be it with an error."""
    with suppress(OSError), socket.create_connection(place, patience) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) in (b"+", b"-")
    return False


def _speaks_tls(place: tuple[str, int], patience: float) -> bool:
    """Return whether a server takes part in a TLS handshake, be it one that it refuses."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over this connection
    try:
        with socket.create_connection(place, patience) as connection, context.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
