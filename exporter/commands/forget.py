"""``ginkgo-exporter forget``: deletes the hashes of crashed nodes that will not return.

The command decides which nodes may be deleted, and prints a line for each. ``exporter.commands.deletion`` deletes.
"""

import argparse
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.commands.deletion import NEVER_EXPIRES, Deleter, NodeKeys
from exporter.commands.exit_codes import ExitCode
from exporter.commands.listing import from_exporter
from exporter.errors import SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.settings import Settings
from exporter.snapshot.rows import Row, duration
from exporter.source.names import shown_id
from exporter.source.protocol import CHUNK

WOULD: Final = "would be deleted"
DELETED: Final = "deleted"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one node.

    Attributes:
        shown: The node's id as the user gave it, or as it is shown.
        name: The node's id in Redis if the node may be deleted; None if it is kept.
        text: The line to print.
    """

    shown: str
    name: bytes | None
    text: str


@dataclass(frozen=True, slots=True)
class Age:
    """The time for which a node has been offline.

    Attributes:
        seconds: Minimum in seconds; None if unknown.
        text: The reason to print if the node is deleted.
        doubt: The reason to print if the node is kept because the time is too short or unknown.
    """

    seconds: float | None
    text: str
    doubt: str


AgeOf = Callable[[NodeKeys], Age]
"""Returns for how long a node without heartbeat has been offline."""


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete the hashes that the arguments name, print a line for each, and return the exit code."""
    options = vars(arguments)
    limit: float | None = options["offline_longer_than"]
    if sum(map(bool, (options["node"], limit, options["rehomed"]))) != 1:
        raise SettingsError("forget: name nodes, or give --offline-longer-than or --rehomed (and only one of these)")
    if options["exporter.url"] and not limit:
        raise SettingsError("--exporter.url: goes with --offline-longer-than")
    if settings.redis.mode != "standalone":
        raise SettingsError(
            "forget: --redis.mode must be standalone: with Sentinel, give the master's own address; in a cluster"
            " a node's two keys lie on different servers, and no transaction spans them"
        )
    ttl = settings.heartbeat.ttl
    url = options["exporter.url"]
    age_of = ages_by_exporter(url, ttl) if url else ages_by_idle_time(ttl)
    deleter = Deleter(settings)
    try:
        found = deleter.found()
        if options["rehomed"]:
            decisions = rehomed(deleter, settings)
        elif limit:
            decisions = offline_for(deleter, found, limit, age_of, idle=not url)
        else:
            decisions = named(deleter, found, options["node"])
        return _carry_out(deleter, decisions, sure=options["yes"], strict=bool(options["node"]))
    finally:
        deleter.close()


def _carry_out(deleter: Deleter, decisions: Iterator[Decision], *, sure: bool, strict: bool) -> int:
    """Delete the hashes that may be deleted, or print which would be, and return the exit code."""
    done = kept = 0
    refused: Mapping[str, str] | None = None
    for decision in decisions:
        text = decision.text
        if decision.name is None:
            kept += 1
        else:
            if refused is None:
                refused = deleter.refused(decision.name)
                if sure and refused:
                    raise SourceError(_refusals_in_words(refused))
            refusal = deleter.delete(decision.name) if sure else None
            done, kept = done + (refusal is None), kept + (refusal is not None)
            text = refusal or (text.replace(WOULD, DELETED) if sure else text)
        print(f"{printable(decision.shown)}: {text}")  # noqa: T201
    nodes = f"{done} node{'' if done == 1 else 's'}"
    print(  # noqa: T201
        f"{nodes} deleted, {kept} not" if sure else f"Dry run: {nodes} would be deleted, {kept} not; --yes deletes"
    )
    if refused:
        raise SourceError(f"--yes would fail: {_refusals_in_words(refused)}")
    return ExitCode.FAILURE if kept and strict else ExitCode.SUCCESS


def _refusals_in_words(refused: Mapping[str, str]) -> str:
    return f"Redis refuses {', '.join(refused)}: {next(iter(refused.values())).removeprefix('Redis: ')}"


def named(deleter: Deleter, found: Collection[bytes], texts: Sequence[str]) -> Iterator[Decision]:
    """Yield a decision for each node that was named.

    Args:
        deleter: Looks at the nodes' keys.
        found: All nodes.
        texts: The nodes' ids, as in Redis or as they are shown.
    """
    for text in texts:
        name, refusal = _matching(found, text)
        if name is not None:
            (keys,) = deleter.look([name])
            refusal = keys.refusal
        yield Decision(text, None if refusal else name, refusal or WOULD)


def offline_for(
    deleter: Deleter, found: Collection[bytes], limit: float, age_of: AgeOf, *, idle: bool
) -> Iterator[Decision]:
    """Yield a decision for each node that has no expiring heartbeat.

    Args:
        deleter: Looks at the nodes' keys.
        found: All nodes.
        limit: Minimum time offline of a node that is deleted, in seconds.
        age_of: Returns for how long a node has been offline.
        idle: Whether ``age_of`` needs the idle time.
    """
    names = sorted(found)
    for start in range(0, len(names), CHUNK):
        for keys in deleter.look(names[start : start + CHUNK], idle=idle):
            shown = shown_id(keys.name)
            if keys.refusal == NEVER_EXPIRES:
                yield Decision(shown, None, keys.refusal)
            if keys.refusal:
                continue
            age = age_of(keys)
            if age.seconds is not None and age.seconds > limit:
                yield Decision(shown, keys.name, f"{WOULD}, {age.text}")
            else:
                yield Decision(shown, None, f"kept: {age.doubt}")


def rehomed(deleter: Deleter, settings: Settings) -> Iterator[Decision]:
    """Yield a decision for each offline node whose portfolios all run on other nodes, by the plan and the lists.

    Args:
        deleter: Looks at the nodes' keys.
        settings: Where the plan and the nodes are.

    Raises:
        SourceError: Redis, or the plan, cannot be read.
    """
    fleet = Fleet(settings)
    try:
        snapshot = fleet.look()
    finally:
        fleet.close()
    if snapshot.portfolios_error:
        raise SourceError(f"the portfolios cannot be read: {snapshot.portfolios_error}")
    names = sorted(snapshot.portfolios.reading.leftovers.rehomed) if snapshot.portfolios else []
    for start in range(0, len(names), CHUNK):
        for keys in deleter.look(names[start : start + CHUNK]):
            text = keys.refusal or f"{WOULD}, its portfolios run on other nodes"
            yield Decision(shown_id(keys.name), None if keys.refusal else keys.name, text)


def ages_by_idle_time(ttl: float) -> AgeOf:
    """Return a function that calculates the age from the idle time of a node's hash.

    The keys do not hold the time at which a node went offline. But each beat writes the hash. So the last beat is at
    least as long ago as the last use of the hash. The heartbeat lived for one TTL after the last beat.
    """

    def age_of(keys: NodeKeys) -> Age:
        if keys.idle is None:
            doubt = "Redis does not tell for how long its hash was not used; name the node, or use --exporter.url"
            return Age(None, "", doubt)
        seconds = max(0.0, keys.idle - ttl)
        doubt = f"its hash was read or written {duration(keys.idle)} ago; name the node, or use --exporter.url"
        return Age(seconds, f"offline for at least {duration(seconds)}", doubt)

    return age_of


def ages_by_exporter(url: str, ttl: float) -> AgeOf:
    """Ask a running exporter once, and return a function that takes the age from its answer.

    The exporter judges all nodes when it is asked, so it needs neither scrapes nor push.

    Raises:
        ExporterError: The exporter does not answer, or cannot read Redis.
    """
    answer = from_exporter(url, ttl)()
    rows = {row["node_id"]: row for row in answer.rows}

    def age_of(keys: NodeKeys) -> Age:
        return _age_of_row(rows.get(shown_id(keys.name)), answer.wall)

    return age_of


def _age_of_row(row: Row | None, now: float) -> Age:
    if row is None:
        return Age(None, "", "the exporter does not list it: see its --redis.url and --nodes.forget-after")
    if row["state"] != State.OFFLINE:
        return Age(None, "", f"the exporter says that it is {row['state']}")
    if row["offline_since"] is None:
        return Age(None, "", "the exporter does not say since when it is offline")
    seconds = max(0.0, now - row["offline_since"])
    text = f"offline for {'' if row['offline_since_exact'] else 'at least '}{duration(seconds)}"
    return Age(seconds, text, text)


def _matching(found: Collection[bytes], text: str) -> tuple[bytes | None, str | None]:
    """Return the node that a text names, or why no node is found."""
    exact = os.fsencode(text)
    if exact in found:
        return exact, None
    alike = [name for name in found if text in (shown_id(name), printable(shown_id(name)))]
    if len(alike) == 1:
        return alike[0], None
    return None, "kept: several nodes show like that" if alike else "not found in Redis"
