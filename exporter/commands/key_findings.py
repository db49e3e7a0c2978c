"""What the names of keys tell ``check``: whether the prefixes and the database are right."""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from exporter.commands.finding import Finding
from exporter.contract import WORKER_PREFIXES
from exporter.errors import SourceError
from exporter.journal.sentences import shown
from exporter.settings import Settings
from exporter.source import Source
from exporter.source.names import shown_id
from exporter.source.protocol import FAILURES
from exporter.source.reading import MISSING, Reading

_PAGES: Final = 20
_COUNT: Final = 1000
"""Keys that one SCAN examines. ``check`` looks at the names of about 20,000 keys in all."""
_LIKE: Final = 0.75
"""Smallest likeness of two prefixes, of 1, at which one is taken for a mistyped form of the other."""


def key_findings(source: Source, settings: Settings, reading: Reading) -> Iterator[Finding]:
    """Yield what is wrong with prefixes and database, if nothing is found under one of the prefixes.

    Args:
        source: The Redis installation.
        settings: They name the prefixes and the database.
        reading: All nodes that were found.
    """
    count = len(reading.names)
    prefixes = {
        "--keys.heartbeat-prefix": (settings.keys.heartbeat_prefix, not any(ms != MISSING for ms in reading.ttl_ms)),
        "--keys.metrics-prefix": (settings.keys.metrics_prefix, len(reading.without_hash) == count),
    }
    absent = {flag: prefix for flag, (prefix, missing) in prefixes.items() if missing}
    if not absent:
        return
    found, databases = _looked(source, settings)
    others = ", ".join(f"{number} ({_keys_of(keys)})" for number, keys in databases.items())
    own = _database(settings)
    if own not in databases and databases and not count:
        yield Finding(
            f"database {own} is empty, and there are keys in the databases {others}",
            "See the number at the end of --redis.url",
            must=True,
        )
        return
    known = {*(prefix for prefix, _ in prefixes.values()), *WORKER_PREFIXES.values(), settings.keys.portfolio_prefix}
    mistyped = False
    for flag, prefix in absent.items():
        if near := get_close_matches(prefix, found.keys() - known, 1, _LIKE):
            yield Finding(
                f"no key begins with {flag} ({shown(prefix)}), and there are keys that begin with {shown(near[0])}"
                f" ({_keys_of(found[near[0]])} among the first)",
                f"Set {flag} to what the nodes' keys begin with",
                must=True,
            )
            mistyped = True
    if mistyped:
        return
    if not count:
        names = " or ".join(f"{shown(prefix)} ({flag})" for flag, prefix in absent.items())
        yield Finding(
            f"there is no node: no key begins with {names}",
            "Start a node, or see the two prefixes and the number at the end of --redis.url",
        )
    elif "--keys.metrics-prefix" in absent:
        yield Finding(
            f"no node has a metrics hash: no key begins with {shown(settings.keys.metrics_prefix)}",
            "See --keys.metrics-prefix; if it is right, the nodes do not write their metrics",
        )
    elif "--keys.heartbeat-prefix" in absent:
        yield Finding(
            f"no node has a heartbeat: no key begins with {shown(settings.keys.heartbeat_prefix)}, so all nodes are"
            " offline",
            "See --keys.heartbeat-prefix; if it is right, no node runs",
        )


def _looked(source: Source, settings: Settings) -> tuple[dict[str, int], dict[int, int]]:
    """Return how many of the first keys have each prefix, and how many keys each database has."""
    prefixes: Counter[str] = Counter()
    try:
        with source.client(settings.keys.heartbeat_prefix.encode()) as client:
            databases: dict[str, dict[str, int]] = client.info("keyspace")
            for key in islice(client.scan_iter(count=_COUNT), _PAGES * _COUNT):
                if (end := key.rfind(b":")) > 0:
                    prefixes[shown_id(key[: end + 1])] += 1
    except (SourceError, *FAILURES):
        return prefixes, {}
    return prefixes, {int(name.removeprefix("db")): content["keys"] for name, content in databases.items()}


def _keys_of(count: int) -> str:
    return f"{count} {'key' if count == 1 else 'keys'}"


def _database(settings: Settings) -> int:
    path = urlsplit(settings.redis.url[0].get_secret_value()).path.strip("/")
    return int(path) if path.isdigit() and settings.redis.mode == "standalone" else 0
