"""``ginkgo-exporter forget``: deletes the hashes of crashed nodes that will not return.

``forget`` decides for every mode whether a hash may be deleted, and deletes it in one transaction with that decision
(https://redis.io/docs/latest/develop/using-commands/transactions/).
"""

import argparse
import json
import os
import sys
import time
from contextlib import closing
from typing import Any

from redis import Redis, RedisError, ResponseError, WatchError
from redis.client import Pipeline

from exporter.commands.asking import NODES, RunningExporter
from exporter.commands.command_line import ExitCode, say
from exporter.contract import LOADED_FIELD
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import undecided
from exporter.liveness import State
from exporter.settings import Keys, Settings
from exporter.snapshot.rows import rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.source import open_source
from exporter.source.connection import plain_error
from exporter.source.reading import MISSING, NO_EXPIRY, shown_id


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete the hashes that the arguments name, print a line for each, and return the exit code.

    Raises:
        SettingsError: The arguments do not fit together.
        ExporterError: Nothing proves that a silent node is dead, or Redis refuses a command; nothing is deleted.
    """
    options = vars(arguments)
    if sum(map(bool, (options["node"], options["offline_longer_than"], options["rehomed"]))) != 1:
        raise SettingsError("forget: name nodes, or give --offline-longer-than or --rehomed (and only one of these)")
    if bool(options["exporter.url"]) != bool(options["offline_longer_than"]):
        raise SettingsError("forget: --offline-longer-than and --exporter.url go together")
    if settings.redis.mode != "standalone":
        raise SettingsError(
            "forget: --redis.mode must be standalone: with Sentinel, give the master's own address; in a cluster"
            " a node's two keys lie on different servers, and no transaction spans them"
        )
    reasons = list[str]()
    done = "deleted" if options["yes"] else "would be deleted"
    may = {"with_portfolios": options["with_portfolios"], "sure": options["yes"]}
    source = open_source(settings)
    with closing(Fleet(settings, source=source)) as fleet:
        try:
            snapshot = _proven(fleet, settings.heartbeat.beat)
            with source.client() as client:
                for text, name in _meant(
                    options, snapshot, dict(zip(fleet.discovery.names.shown, fleet.discovery.names.raw, strict=True))
                ):
                    why, lost = forget(client, settings.keys, name, **may) if name else ("not found in Redis", "")
                    trace = f", and with it what may be the last trace of {lost}" if lost else ""
                    say(f"{printable(text)}: {f'kept: {why}' if why else done + trace}")
                    reasons.append(why)
        except (RedisError, OSError) as error:
            raise plain_error(error) from None
    kept = sum(map(bool, reasons))
    say(f"{len(reasons) - kept} {done}, {kept} kept{'' if options['yes'] else ': a dry run; --yes deletes'}")
    return ExitCode.FAILURE if kept and options["node"] else ExitCode.SUCCESS


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
        raise ExporterError("forget: Redis refuses INFO to this user, so old data cannot be told from new; grant +info")
    if any((server.refused or {}).values()):
        say("Redis refused some writes since it started. Waiting to see whether it still does.", file=sys.stderr)
        time.sleep(1.5 * beat)
        snapshot = fleet.look()
    if fleet.view().refused_since is not None:
        raise SourceError("Redis refuses writes, so no node can beat and a silent node may live. Nothing is deleted.")
    if doubts := undecided(rows_of(snapshot)):
        raise SourceError(f"{' '.join(doubts)} Nothing is deleted.")
    return snapshot


def _meant(options: dict[str, Any], snapshot: Snapshot, found: dict[str, bytes]) -> list[tuple[str, bytes | None]]:
    """Return the nodes that the options mean: each as text, and its id in Redis; None if it is not there.

    Args:
        options: The options.
        snapshot: All nodes.
        found: Their ids as text, and in Redis.

    Raises:
        ExporterError: The exporter, or the plan, cannot be read.
    """
    if options["rehomed"]:
        if snapshot.problem:
            raise SourceError(f"the portfolios cannot be read: {snapshot.problem}")
        return [
            (shown_id(name), name) for name in sorted(snapshot.account.leftovers.rehomed if snapshot.account else ())
        ]
    texts, limit = options["node"], options["offline_longer_than"]
    if limit:
        rows = RunningExporter(options["exporter.url"]).rows(NODES)
        dead = [row for row in rows if row["state"] == State.OFFLINE and (row["offline_seconds"] or 0) > limit]
        texts = [row["node_id"] for row in dead]
    known = {printable(text): name for text, name in found.items()} | found
    return [(text, known.get(shown_id(os.fsencode(text)))) for text in texts]


def forget(client: "Redis", keys: Keys, name: bytes, *, with_portfolios: bool, sure: bool) -> tuple[str, str]:
    """Delete a node's hash if that node has no heartbeat, and no plan lacks a portfolio that the hash names.

    The hash may be the last trace of such a portfolio. All keys that decide are watched, so a write to one of them
    cancels the deletion.

    Args:
        client: A client of the Redis.
        keys: The names of its keys.
        name: The node.
        with_portfolios: Whether the hash may name portfolios in no plan.
        sure: Whether the hash is deleted; if not, it is only decided.

    Returns:
        Why the hash is kept, empty if it is not; and the portfolios in no plan that it names.

    Raises:
        SourceError: Redis refuses transactions; the hash is kept.
        RedisError: Redis did not answer, or refused a command; the hash is kept.
    """
    heartbeat, metrics = keys.heartbeat_prefix.encode() + name, keys.metrics_prefix.encode() + name
    try:
        with client.pipeline() as transaction:
            # redis-py sends a transaction in one write. Without the right to MULTI, UNLINK would run alone.
            transaction.watch(heartbeat)
            transaction.multi()
            transaction.execute()
            transaction.watch(heartbeat, metrics, keys.plan)
            ttl: Any = transaction.pttl(heartbeat)
            if ttl != MISSING:
                endless = "its heartbeat never expires; delete that key first if the node is dead"
                return endless if ttl == NO_EXPIRY else "it is online", ""
            if not transaction.exists(metrics):
                return "it left nothing", ""
            unplanned = _unplanned(transaction, metrics, keys.plan)
            if unplanned and not with_portfolios:
                return (
                    f"its hash lists portfolios that the plan lacks: {unplanned}; --with-portfolios deletes the hash",
                    unplanned,
                )
            if sure:
                transaction.multi()
                transaction.unlink(metrics)
                transaction.execute()
    except WatchError:
        return "a node wrote to its keys, or the scheduler to the plan, at this moment; try again", ""
    except ResponseError as error:
        if "without MULTI" not in str(error):
            raise
        raise SourceError("Redis refuses MULTI to this user (docs/how-to/redis.md lists the rights)") from None
    return "", unplanned


def _unplanned(transaction: "Pipeline", metrics: bytes, plan: str) -> str:
    """Return the portfolios that a hash names and the plan does not; empty if it names no portfolios, or unreadably."""
    reply: Any = transaction.hmget(metrics, [LOADED_FIELD])
    try:
        listed = sorted({each for each in json.loads(reply[0] or b"[]") if isinstance(each, str)})
    except (ValueError, TypeError):
        return ""
    planned: Any = transaction.hmget(plan, listed) if listed else []
    return ", ".join(printable(each) for each, node in zip(listed, planned, strict=True) if node is None)
