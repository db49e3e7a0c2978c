"""Lists all nodes at one moment, from Redis or from a running exporter."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.liveness.offline import OfflineSince, judged, unknown
from exporter.settings import Settings
from exporter.snapshot.rows import Row, rows_of, with_ages
from exporter.snapshot.snapshot import Snapshot

_TIMEOUT: Final = 10.0
_LONGEST: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listing:
    """All nodes at one moment.

    Attributes:
        wall: Unix time, by the clock of the reader.
        rows: The nodes, with ages, sorted by id.
        place: The address of Redis or of the exporter that they were read from.
        remembers: Whether the reader watched the nodes before. Then it may know since when a node is offline.
    """

    wall: float
    rows: Sequence[Row]
    place: str
    remembers: bool


ReadListing = Callable[[], Listing]
"""Reads the nodes again. Raises an ExporterError with one line if they cannot be read."""


def listing_of(snapshot: Snapshot, settings: Settings, offline_since: OfflineSince | None = None) -> Listing:
    """Return the listing of a snapshot.

    Args:
        snapshot: The nodes.
        settings: They name the address of Redis and the TTL.
        offline_since: Returns since when a node is offline; None if the reader did not watch the nodes before.
    """
    ttl, wall = settings.heartbeat.ttl, snapshot.wall
    rows = [with_ages(row, ttl, wall) for row in rows_of(snapshot, offline_since or unknown)]
    return Listing(wall, rows, redis_place(settings), remembers=offline_since is not None)


def from_redis(settings: Settings) -> ReadListing:
    """Return a function that reads Redis. It remembers nothing between two calls."""

    def read() -> Listing:
        fleet = Fleet(settings)
        try:
            return listing_of(fleet.look(), settings)
        finally:
            fleet.close()

    return read


def from_fleet(fleet: Fleet) -> ReadListing:
    """Return a function that reads through a started fleet."""
    return lambda: listing_of(fleet.read(), fleet.settings, judged(fleet.judge))


def from_exporter(url: str, ttl: float, clock: Callable[[], float] = time.time) -> ReadListing:
    """Return a function that asks a running exporter.

    Args:
        url: Address of its status page. A user and a password in it are sent as basic auth.
        ttl: Seconds that a heartbeat lives.
        clock: Returns Unix time.

    Raises:
        SettingsError: The URL is invalid.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        good = False
    if not good:
        raise SettingsError("--exporter.url: not an address such as http://localhost:19121")
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    request = urllib.request.Request(f"{place}/api/v1/nodes")  # noqa: S310 - the scheme is checked above
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")

    def read() -> Listing:
        answer, wall = _get(request, place, clock)
        if not answer["redis_up"]:
            raise SourceError(f"the exporter at {place} cannot read Redis: see its log")
        return Listing(wall, [with_ages(row, ttl, wall) for row in answer["nodes"]], place, remembers=True)

    return read


def _get(request: urllib.request.Request, place: str, clock: Callable[[], float]) -> tuple[dict[str, Any], float]:
    """Return the answer, and Unix time by the exporter's clock."""
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - as above
            answer, date = json.loads(response.read(_LONGEST)), response.headers["Date"]
    except urllib.error.HTTPError as error:
        hint = " (give them as http://USER:PASSWORD@…)" if error.code == 401 else ""  # noqa: PLR2004
        raise ExporterError(f"the exporter at {place} answers {error.code} {printable(error.reason)}{hint}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        why = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else reason
        text = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
        raise ExporterError(f"cannot reach the exporter at {place}: {text} (see --exporter.url)") from None
    except (OSError, HTTPException) as error:
        raise ExporterError(
            f"the exporter at {place} did not answer in full: {error or type(error).__name__}"
        ) from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not {"redis_up", "nodes"} <= answer.keys():
        raise ExporterError(f"the server at {place} is not a ginkgo-exporter (see --exporter.url)")
    if not date:
        return answer, clock()
    second = parsedate_to_datetime(date).timestamp()
    # The header has whole seconds. Our own clock gives the fraction, as long as it agrees with the header.
    return answer, min(max(second, clock()), second + 1)


def redis_place(settings: Settings) -> str:
    """Return the addresses of Redis without user and password."""
    places = (urlsplit(url.get_secret_value()) for url in settings.redis.url)
    return ", ".join(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" for parts in places)
