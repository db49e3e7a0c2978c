"""``ginkgo-exporter forget``: deletes the hashes of crashed nodes that will not return.

``Hashes`` decides for every mode what may be deleted, and deletes it in one transaction with that decision
(https://redis.io/docs/latest/develop/using-commands/transactions/).
"""

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from redis import Redis, RedisError, ResponseError, WatchError
from redis.client import Pipeline

from exporter.commands.asking import NODES, RunningExporter, asking
from exporter.commands.command_line import ExitCode, say
from exporter.contract import LOADED_FIELD
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.sentences import undecided
from exporter.liveness import State
from exporter.settings import Keys, Settings
from exporter.snapshot.rows import Row, duration, rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.source import open_source
from exporter.source.names import shown_id
from exporter.source.protocol import CHUNK, plain_error
from exporter.source.reading import MISSING, NO_EXPIRY

ONLINE: Final = "kept: it is online"
NEVER_EXPIRES: Final = "kept: its heartbeat never expires; delete that key first if the node is dead"
NO_HASH: Final = "kept: it left nothing"
WROTE: Final = "kept: a node wrote to its keys, or the scheduler to the plan, at this moment; try again"
_BEATS_WATCHED: Final = 1.5

Candidate = tuple[str, bytes | None, str]
"""A node as it is shown; its id in Redis, or None if it is kept; and why it is kept, or what is known of it."""


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete the hashes that the arguments name, print a line for each, and return the exit code.

    Raises:
        SettingsError: The arguments do not fit together.
        ExporterError: Nothing proves that a silent node is dead, or Redis refuses a command; nothing is deleted.
    """
    options = vars(arguments)
    if sum(map(bool, (options["node"], options["offline_longer_than"], options["rehomed"]))) != 1:
        raise SettingsError("forget: name nodes, or give --offline-longer-than or --rehomed (and only one of these)")
    if options["exporter.url"] and not options["offline_longer_than"]:
        raise SettingsError("--exporter.url: goes with --offline-longer-than")
    if settings.redis.mode != "standalone":
        raise SettingsError(
            "forget: --redis.mode must be standalone: with Sentinel, give the master's own address; in a cluster"
            " a node's two keys lie on different servers, and no transaction spans them"
        )
    source = open_source(settings)
    with closing(Fleet(settings, source=source)) as fleet:
        try:
            snapshot = _proven(fleet, settings.heartbeat.beat)
            with source.client(b"") as client:
                hashes = Hashes(client, settings.keys, fleet.names.raw, sure=options["yes"])
                return _carry_out(hashes, _candidates(settings, options, snapshot, fleet.names.raw), options)
        except (RedisError, OSError) as error:
            raise plain_error(error) from None


def _proven(fleet: Fleet, beat: float) -> Snapshot:
    """Read all nodes.

    Args:
        fleet: Reads and judges the nodes.
        beat: Seconds from one beat of a node to the next.

    Raises:
        ExporterError: Nothing proves that a silent node is dead.
    """
    snapshot, server = fleet.look(), fleet.view().server
    if not server or not server.info_allowed:
        raise ExporterError("forget: Redis refuses INFO to this user; grant +info, which tells old data from new")
    if any((server.refused or {}).values()):
        say("Redis has refused writes since it started. Watching whether it still does.", file=sys.stderr)
        time.sleep(_BEATS_WATCHED * beat)
        snapshot = fleet.look()
    if fleet.view().refused_since is not None:
        raise SourceError("Redis refuses writes, so no node can beat and a silent node may live. Nothing is deleted.")
    if doubts := undecided(rows_of(snapshot)):
        raise SourceError(f"{' '.join(doubts)} Nothing is deleted.")
    return snapshot


def _candidates(
    settings: Settings, options: dict[str, Any], snapshot: Snapshot, found: Collection[bytes]
) -> Iterator[Candidate]:
    """Yield the nodes that the options mean; some of them are kept for a reason that Redis does not know."""
    if options["node"]:
        return _named(found, options["node"])
    if options["offline_longer_than"]:
        with asking(settings, options["exporter.url"]) as asked:
            if not isinstance(asked, RunningExporter):
                raise ExporterError("nobody knows since when nodes are offline: give --exporter.url, or name the nodes")
            return _offline_for(asked.rows(NODES), found, options["offline_longer_than"])
    if snapshot.problem:
        raise SourceError(f"the portfolios cannot be read: {snapshot.problem}")
    rehomed = sorted(snapshot.account.leftovers.rehomed) if snapshot.account else []
    return ((shown_id(name), name, ", its portfolios run on other nodes") for name in rehomed)


def _named(found: Collection[bytes], texts: list[str]) -> Iterator[Candidate]:
    for text in texts:
        exact = os.fsencode(text)
        alike = [name for name in found if text in (shown_id(name), printable(shown_id(name)))]
        names = [exact] if exact in found else alike
        unclear = "kept: the ids of several nodes look alike, so nobody can tell which node this is"
        why = "" if len(names) == 1 else unclear if names else "not found in Redis"
        yield text, None if why else names[0], why


def _offline_for(rows: Collection[Row], found: Collection[bytes], limit: float) -> Iterator[Candidate]:
    """Yield the nodes that an exporter calls offline; one that is so for less than ``limit`` seconds is kept."""
    names = {shown_id(name): name for name in found}
    for row in rows:
        node, seconds = row["node_id"], row["offline_seconds"]
        if row["state"] == State.OFFLINE and node in names and seconds is not None:
            text = f"offline for {'' if row['offline_since_exact'] else 'at least '}{duration(seconds)}"
            yield (node, names[node], f", {text}") if seconds > limit else (node, None, f"kept: {text}")


def _carry_out(hashes: "Hashes", candidates: Iterator[Candidate], options: dict[str, Any]) -> int:
    """Delete the hashes that may be deleted, or print which would be, and return the exit code."""
    counts = Counter[bool]()
    done = "deleted" if options["yes"] else "would be deleted"
    for shown, name, text in candidates:
        lost, why = ((), text) if name is None else hashes.forget(name, with_portfolios=options["with_portfolios"])
        trace = f", and with it the last trace of {_portfolios(lost)}" if lost else ""
        say(f"{printable(shown)}: {why or done + text + trace}")
        counts[bool(why)] += 1
    nodes = f"{counts[False]} node{'' if counts[False] == 1 else 's'} {done}, {counts[True]} not"
    say(nodes if options["yes"] else f"Dry run: {nodes}; --yes deletes")
    return ExitCode.FAILURE if counts[True] and options["node"] else ExitCode.SUCCESS


class Hashes:
    """The hashes of nodes in one Redis.

    Args:
        client: A client of that Redis.
        keys: The names of its keys.
        names: All nodes.
        sure: Whether hashes are deleted; if not, it is only decided.
    """

    def __init__(self, client: "Redis", keys: Keys, names: Sequence[bytes], *, sure: bool) -> None:
        self._client, self._sure = client, sure
        self._metrics, self._heartbeat = keys.metrics_prefix.encode(), keys.heartbeat_prefix.encode()
        self._plan = keys.plan.encode()
        self._traces = defaultdict[str, set[bytes]](set)  # the nodes whose hashes list a portfolio, and stay
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            with client.pipeline(transaction=False) as pipeline:
                for name in chunk:
                    pipeline.hmget(self._metrics + name, [LOADED_FIELD])
                for name, reply in zip(chunk, pipeline.execute(raise_on_error=False), strict=True):
                    for each in _listed(reply):
                        self._traces[each].add(name)

    def forget(self, name: bytes, *, with_portfolios: bool) -> tuple[Collection[str], str]:
        """Delete a node's hash if that node has no heartbeat and no portfolio's last trace would be lost.

        All keys that decide are watched, so a write to one of them cancels the deletion.

        Args:
            name: The node.
            with_portfolios: Whether a portfolio's last trace may be lost.

        Returns:
            The portfolios whose last trace is in the hash, and why the hash is kept; empty if it is not.

        Raises:
            RedisError: Redis did not answer, or refused a command; then the hash is kept.
        """
        heartbeat, metrics = self._heartbeat + name, self._metrics + name
        listed: list[str] = []
        lost: list[str] = []
        try:
            with self._client.pipeline() as transaction:
                # redis-py sends a transaction in one write. Without the right to MULTI, UNLINK would run alone.
                transaction.watch(heartbeat)
                transaction.multi()
                transaction.execute()
                transaction.watch(heartbeat, metrics, self._plan)
                listed, why = self._looked(transaction, heartbeat, metrics)
                planned = transaction.hmget(self._plan, listed) if listed else []
                unplanned = [each for each, node in zip(listed, planned, strict=True) if node is None]
                lost = [each for each in unplanned if not self._is_elsewhere(transaction, each, name)]
                if not why and lost and not with_portfolios:
                    why = f"kept: it alone names {_portfolios(lost)}, in no plan; --with-portfolios deletes it"
                if not why and self._sure:
                    transaction.multi()
                    transaction.unlink(metrics)
                    transaction.execute()
        except WatchError:
            why = WROTE
        except ResponseError as error:
            if "without MULTI" not in str(error):
                raise
            raise SourceError("Redis refuses MULTI to this user (docs/how-to/redis.md lists the rights)") from None
        if not why:
            for each in listed:
                self._traces[each].discard(name)
        return lost, why

    def _is_elsewhere(self, transaction: "Pipeline", portfolio: str, name: bytes) -> bool:
        """Return whether another node's hash still lists a portfolio, and watch that hash."""
        for other in self._traces[portfolio] - {name}:
            transaction.watch(self._metrics + other)
            if portfolio in _listed(transaction.hmget(self._metrics + other, [LOADED_FIELD])):
                return True
            self._traces[portfolio].discard(other)
        return False

    @staticmethod
    def _looked(transaction: "Pipeline", heartbeat: bytes, metrics: bytes) -> tuple[list[str], str]:
        """Return the portfolios that a hash lists, and why it must not be deleted; empty if it may be."""
        ttl: Any = transaction.pttl(heartbeat)
        if ttl != MISSING:
            return [], NEVER_EXPIRES if ttl == NO_EXPIRY else ONLINE
        if not transaction.exists(metrics):
            return [], NO_HASH
        return _listed(transaction.hmget(metrics, [LOADED_FIELD])), ""


def _listed(reply: object) -> list[str]:
    """Return the portfolios that a reply with a node's list names; none if it does not list them, or not readably."""
    try:
        ids = json.loads(reply[0] or b"[]") if isinstance(reply, list) else []
        return sorted({each for each in ids if isinstance(each, str)})
    except (ValueError, TypeError):
        return []


def _portfolios(ids: Collection[str]) -> str:
    return f"portfolio{'' if len(ids) == 1 else 's'} {', '.join(map(printable, ids))}"
