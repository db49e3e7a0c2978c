"""Lists all nodes at one moment, from Redis or from a running exporter."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from exporter.commands.exporter_api import ExporterApi
from exporter.fleet import Fleet
from exporter.liveness.offline import OfflineSince, first_look, judged
from exporter.settings import Settings
from exporter.snapshot.rows import Row, rows_of, with_ages
from exporter.snapshot.snapshot import Snapshot


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


def listing_of(snapshot: Snapshot, settings: Settings, offline_since: OfflineSince, *, remembers: bool) -> Listing:
    """Return the listing of a snapshot.

    Args:
        snapshot: The nodes.
        settings: They name the address of Redis and the TTL.
        offline_since: Knows since when a node is offline, and why it is undecided.
        remembers: Whether the reader watched the nodes before.
    """
    ttl, wall = settings.heartbeat.ttl, snapshot.wall
    rows = [with_ages(row, ttl, wall) for row in rows_of(snapshot, offline_since)]
    return Listing(wall, rows, redis_place(settings), remembers=remembers)


def from_redis(settings: Settings) -> ReadListing:
    """Return a function that reads Redis. It remembers nothing between two calls."""

    def read() -> Listing:
        fleet = Fleet(settings)
        try:
            return listing_of(fleet.look(), settings, first_look(fleet.judge), remembers=False)
        finally:
            fleet.close()

    return read


def from_fleet(fleet: Fleet) -> ReadListing:
    """Return a function that reads through a started fleet."""
    return lambda: listing_of(fleet.read(), fleet.settings, judged(fleet.judge), remembers=True)


def from_exporter(url: str, ttl: float, clock: Callable[[], float] = time.time) -> ReadListing:
    """Return a function that asks a running exporter.

    Args:
        url: Address of its status page. A user and a password in it are sent as basic auth.
        ttl: Seconds that a heartbeat lives.
        clock: Returns Unix time.

    Raises:
        SettingsError: The URL is invalid.
    """
    api = ExporterApi(url, clock)

    def read() -> Listing:
        rows, wall = api.rows("nodes")
        return Listing(wall, [with_ages(row, ttl, wall) for row in rows], api.place, remembers=True)

    return read


def redis_place(settings: Settings) -> str:
    """Return the addresses of Redis without user and password."""
    places = (urlsplit(url.get_secret_value()) for url in settings.redis.url)
    return ", ".join(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" for parts in places)
