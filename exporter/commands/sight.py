"""What is seen of the nodes, wherever it comes from: Redis itself, or a running exporter."""

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
class Sight:
    """All nodes at one moment.

    Attributes:
        wall: Unix time, by the clock of the reader.
        rows: The nodes, with ages, sorted by id.
        place: Where they were read.
        remembers: Whether the reader had watched the nodes before, and so may know since when a node is offline.
    """

    wall: float
    rows: Sequence[Row]
    place: str
    remembers: bool


See = Callable[[], Sight]
"""Looks again. Raises an ExporterError, in one line, when nothing can be seen."""


def sight_of(snapshot: Snapshot, settings: Settings, offline_since: OfflineSince | None = None) -> Sight:
    """Return what a read of Redis saw.

    Args:
        snapshot: What was read.
        settings: Where it was read.
        offline_since: Returns since when a node is offline; None if the reader had not watched the nodes before.
    """
    ttl, wall = settings.heartbeat.ttl, snapshot.wall
    rows = [with_ages(row, ttl, wall) for row in rows_of(snapshot, offline_since or unknown)]
    return Sight(wall, rows, redis_place(settings), remembers=offline_since is not None)


def look_once(settings: Settings) -> See:
    """Return a function that looks at Redis itself, each time for the first time."""

    def see() -> Sight:
        fleet = Fleet(settings)
        try:
            return sight_of(fleet.look(), settings)
        finally:
            fleet.close()

    return see


def watch(fleet: Fleet) -> See:
    """Return a function that looks through a started fleet."""
    return lambda: sight_of(fleet.read(), fleet.settings, judged(fleet.judge))


def ask(url: str, ttl: float) -> See:
    """Return a function that asks a running exporter.

    Args:
        url: Where its status page is; a user and a password in it are sent as basic auth.
        ttl: Seconds that a heartbeat lives.

    Raises:
        SettingsError: The URL cannot be used.
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

    def see() -> Sight:
        answer, wall = _get(request, place)
        if not answer["redis_up"]:
            raise SourceError(f"the exporter at {place} cannot read Redis: see its log")
        return Sight(wall, [with_ages(row, ttl, wall) for row in answer["nodes"]], place, remembers=True)

    return see


def _get(request: urllib.request.Request, place: str) -> tuple[dict[str, Any], float]:
    """Return the answer and the exporter's time."""
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
        raise ExporterError(f"what answers at {place} is no ginkgo-exporter (see --exporter.url)")
    if not date:
        return answer, time.time()
    second = parsedate_to_datetime(date).timestamp()  # cut off: within it, our own clock is as good as any
    return answer, min(max(second, time.time()), second + 1)


def redis_place(settings: Settings) -> str:
    """Return where Redis is, without user and password."""
    places = (urlsplit(url.get_secret_value()) for url in settings.redis.url)
    return ", ".join(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" for parts in places)
