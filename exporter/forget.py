"""``ginkgo-exporter forget``: deletes what crashed nodes left that will not return.

A node's hash is deleted only in one transaction with the check that it has no
heartbeat: the heartbeat is watched, so that a beat between check and deletion
undoes the deletion (https://redis.io/docs/latest/develop/using-commands/transactions/).
"""

import argparse
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import RedisError, ResponseError
from redis.exceptions import NoPermissionError

from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.names import shown_id
from exporter.plain import printable
from exporter.rows import duration
from exporter.settings import Settings
from exporter.source.connection import Link, linked, plain_error, pool_of
from exporter.source.discovery import discover
from exporter.source.reading import MISSING, NO_EXPIRY
from exporter.source.requests import CHUNK, KeyNames, pack
from exporter.source.standalone import StandaloneReader
from exporter.terminal.sight import ask

WOULD: Final = "would be deleted"
DELETED: Final = "deleted"
_BEAT: Final = "kept: it is online"
_NEVER_EXPIRES: Final = "kept: its heartbeat never expires; delete that key first if the node is dead"
_NO_HASH: Final = "kept: it left nothing"


@dataclass(frozen=True, slots=True)
class Left:
    """What a node left in Redis.

    Attributes:
        name: Its id, as Redis holds it.
        ttl_ms: Its heartbeat's PTTL.
        hashed: Whether its hash is there.
        idle: Seconds for which nobody read or wrote the hash; None if Redis does not tell.
    """

    name: bytes
    ttl_ms: int
    hashed: bool
    idle: int | None

    @property
    def refusal(self) -> str | None:
        """Why it is not to be deleted, if it is not."""
        if self.ttl_ms == NO_EXPIRY:
            return _NEVER_EXPIRES
        if self.ttl_ms != MISSING:
            return _BEAT
        return None if self.hashed else _NO_HASH


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete the hashes that the arguments name, say so line by line, and return the exit code."""
    options = vars(arguments)
    limit: float | None = options["offline_longer_than"]
    if bool(options["node"]) == bool(limit):
        raise SettingsError("forget: name nodes, or give --offline-longer-than (and not both)")
    if options["exporter.url"] and not limit:
        raise SettingsError("--exporter.url: goes with --offline-longer-than")
    if settings.redis.mode != "standalone":
        raise SettingsError(
            "forget: --redis.mode must be standalone: with Sentinel, give the master's own address; in a cluster"
            " a node's two keys lie on different servers, and no transaction spans them"
        )
    since = None
    if limit and options["exporter.url"]:
        sight = ask(options["exporter.url"], settings.heartbeat.ttl)()
        since = {row["node_id"]: sight.wall - row["offline_since"] for row in sight.rows if row["offline_since"]}
    broom = Broom(settings)
    try:
        found = broom.found()
        verdicts = broom.offline_for(found, limit, since) if limit else broom.named(found, options["node"])
        return _go_through(broom, verdicts, sure=options["yes"], strict=not limit)
    finally:
        broom.close()


def _go_through(broom: "Broom", verdicts: Iterator[tuple[str, bytes | None, str]], *, sure: bool, strict: bool) -> int:
    done = kept = 0
    for shown, name, what in verdicts:
        said = what
        if sure and name is not None:
            refused = broom.delete(name)
            said = refused or what.replace(WOULD, DELETED)
        took = said.startswith((WOULD, DELETED))
        done, kept = done + took, kept + (not took)
        print(f"{printable(shown)}: {said}")  # noqa: T201
    nodes = f"{done} node{'' if done == 1 else 's'}"
    print(  # noqa: T201
        f"{nodes} deleted, {kept} not" if sure else f"Dry run: {nodes} would be deleted, {kept} not; --yes deletes"
    )
    return 1 if kept and strict else 0


class Broom:
    """Looks at what nodes left, and deletes it.

    Args:
        settings: Where Redis is, and what its keys are called.
    """

    def __init__(self, settings: Settings) -> None:
        self._pool = pool_of(settings.redis)
        self._keys = KeyNames.of(settings.keys)
        self._timeout = settings.redis.timeout
        self._ttl = settings.heartbeat.ttl
        self._grace = settings.heartbeat.ttl + settings.heartbeat.beat

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()

    def found(self) -> Collection[bytes]:
        """Return the ids of all nodes that have keys.

        Raises:
            ExporterError: Redis cannot be read, or holds old data to which living nodes may not have beaten yet.
        """
        server = StandaloneReader(self._pool, self._keys).read((), self._deadline()).server
        if not server.told:
            raise ExporterError("forget: Redis refuses INFO to this user; grant +info, which tells old data from new")
        if server.restored and server.uptime < self._grace:
            raise ExporterError(
                f"Redis started {duration(server.uptime)} ago from saved data, so that living nodes may look dead:"
                f" try again in {duration(self._grace - server.uptime + 1)}"
            )
        return discover(self._pool, self._keys, self._timeout).names

    def named(self, found: Collection[bytes], texts: Sequence[str]) -> Iterator[tuple[str, bytes | None, str]]:
        """Yield for each node that was named: how it shows, its id if it may be deleted, and what becomes of it."""
        for text in texts:
            name, refusal = _matching(found, text)
            if name is not None:
                (left,) = self.look([name])
                refusal = left.refusal
            yield text, None if refusal else name, refusal or WOULD

    def offline_for(
        self, found: Collection[bytes], limit: float, since: Mapping[str, float] | None
    ) -> Iterator[tuple[str, bytes | None, str]]:
        """Yield the same for each node without heartbeat.

        For how long a node is offline its keys do not say. Redis tells for how long nobody
        touched the hash, which is never longer ago than the last beat: surely long enough,
        or not known.

        Args:
            found: All nodes.
            limit: Seconds after which they may go.
            since: Seconds for which nodes are offline, by the id that is shown, as a running exporter tells.
        """
        names = sorted(found)
        for start in range(0, len(names), CHUNK):
            for left in self.look(names[start : start + CHUNK], idle=since is None):
                shown = shown_id(left.name)
                if left.refusal:
                    if left.refusal == _NEVER_EXPIRES:
                        yield shown, None, left.refusal
                    continue
                seconds, doubt = self._offline_seconds(left, since)
                if seconds is not None and seconds > limit:
                    yield (
                        shown,
                        left.name,
                        f"{WOULD}, offline for {'at least ' if since is None else ''}{duration(seconds)}",
                    )
                else:
                    yield shown, None, f"kept: {doubt}"

    def _offline_seconds(self, left: Left, since: Mapping[str, float] | None) -> tuple[float | None, str]:
        """Return for how long a node is offline, if it is known, and what to say if that is too short."""
        if since is not None:
            seconds = since.get(shown_id(left.name))
            if seconds is None:
                return None, "the exporter does not know since when it is offline"
            return seconds, f"offline for {duration(seconds)}"
        if left.idle is None:
            return None, "Redis does not tell for how long its hash was not used; name the node, or use --exporter.url"
        return (
            max(0.0, left.idle - self._ttl),
            f"its hash was read or written {duration(left.idle)} ago; name the node, or use --exporter.url",
        )

    def look(self, names: Sequence[bytes], *, idle: bool = False) -> list[Left]:
        """Return what some nodes left, and touch none of it: PTTL, EXISTS and OBJECT leave the idle time alone."""
        request = b"".join(
            self._keys.pttl(name)
            + pack(b"EXISTS", self._keys.metrics + name)
            + (pack(b"OBJECT", b"IDLETIME", self._keys.metrics + name) if idle else b"")
            for name in names
        )
        each = 3 if idle else 2
        with linked(self._pool, self._deadline()) as link:
            replies = link.ask(request, each * len(names))
        return [
            Left(name, _number(ttl), bool(_number(exists)), _idle(rest[0]) if rest else None)
            for name, (ttl, exists, *rest) in zip(names, zip(*[iter(replies)] * each, strict=True), strict=True)
        ]

    def delete(self, name: bytes) -> str | None:
        """Delete a node's hash if it has no heartbeat, and return why not if it is kept.

        Raises:
            SourceError: Redis could not be asked, or refused.
        """
        with linked(self._pool, self._deadline()) as link:
            return delete(link, self._keys, name)

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout


def delete(link: Link, keys: KeyNames, name: bytes) -> str | None:
    """Delete a node's hash in one transaction with the check that it has no heartbeat.

    Returns:
        None if it is deleted, else why it is kept.

    Raises:
        SourceError: Redis refused.
    """
    heartbeat, metrics = keys.heartbeat + name, keys.metrics + name
    watched, ttl, exists = link.ask(pack(b"WATCH", heartbeat, metrics) + keys.pttl(name) + pack(b"EXISTS", metrics), 3)
    _refuse_errors(watched)
    refusal = Left(name, _number(ttl), bool(_number(exists)), None).refusal
    if refusal:
        _refuse_errors(*link.ask(pack(b"UNWATCH"), 1))
        return refusal
    *queued, done = link.ask(pack(b"MULTI") + pack(b"UNLINK", metrics) + pack(b"EXEC"), 3)
    _refuse_errors(*queued, done)
    return None if done is not None else "kept: a node wrote to its keys at this moment"


def _matching(found: Collection[bytes], text: str) -> tuple[bytes | None, str | None]:
    """Return the node that a text names, or why there is none."""
    exact = os.fsencode(text)
    if exact in found:
        return exact, None
    alike = [name for name in found if text in (shown_id(name), printable(shown_id(name)))]
    if len(alike) == 1:
        return alike[0], None
    return None, "kept: several nodes show like that" if alike else "not found in Redis"


def _number(reply: Any) -> int:
    _refuse_errors(reply)
    return int(reply)


def _idle(reply: Any) -> int | None:
    """Return the idle time; None if the server keeps none (an LFU policy) or the key has just gone."""
    if isinstance(reply, ResponseError) and not isinstance(reply, NoPermissionError):
        return None
    return None if reply is None else _number(reply)


def _refuse_errors(*replies: Any) -> None:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise plain_error(reply)
        if isinstance(reply, Exception):
            raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")
