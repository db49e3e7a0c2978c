"""``ginkgo-exporter check``: tries everything that the settings name, once, and prints a line for each result."""

import argparse
import math
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from exporter.commands.command_line import ExitCode, Finding, say
from exporter.errors import SettingsError, SourceError
from exporter.journal.event import shown
from exporter.push.alerts import load_rules
from exporter.push.transport import Clocks, HttpConfig, Transport
from exporter.settings import Settings, unknown_variables
from exporter.snapshot.rows import duration
from exporter.source import Source, open_source
from exporter.source.reading import MISSING, Reading, names_of, shown_id
from exporter.web import config

TEST_PAGE: Final = "GinkgoTestPage"
"""The alert that ``--page`` posts."""
_PAGE_LASTS: Final = 60.0
"""Seconds from the post of a test page to its end, and seconds that its begin lies back: it waits for no group."""


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Try Redis and each Alertmanager once and print the results. Return 0 if nothing must be changed, else 1.

    Raises:
        SettingsError: Files that the settings name are invalid; a line for each.
    """
    if arguments.page and not settings.alertmanager.url:
        raise SettingsError("--page: there is no --alertmanager.url to post to")
    read_files(settings)
    config = HttpConfig.load(settings.alertmanager.config_file)
    print("configuration: good")  # noqa: T201
    _tell("configuration", [Finding(f"{hint}. Correct its name, or remove it.") for hint in unknown_variables()])
    good = _check_redis(settings)
    for url in settings.alertmanager.url:
        good &= _check_alertmanager(url, config, settings, page=arguments.page)
    return ExitCode.SUCCESS if good else ExitCode.FAILURE


def _tell(subject: str, findings: Iterable[Finding]) -> None:
    for finding in findings:
        say(f"{subject}: {'must be changed' if finding.must else 'note'}: {finding.text}")


def read_files(settings: Settings) -> None:
    """Read the files that the settings name.

    Raises:
        SettingsError: Files are invalid; a line for each.
    """
    errors: list[str] = []
    for read in (
        lambda: HttpConfig.load(settings.alertmanager.config_file),
        lambda: load_rules(settings.alertmanager.rules_file),
        lambda: config.load(settings.web.config_file),
    ):
        try:
            read()
        except SettingsError as error:
            errors.append(str(error))
    if errors:
        raise SettingsError("\n".join(errors))


# --- Redis ---------------------------------------------------------------------------------------


def _check_redis(settings: Settings) -> bool:
    with closing(open_source(settings)) as source:
        start = time.monotonic()
        try:
            names = names_of(source.discover(settings.redis.timeout).names, settings.collector.max_nodes)
            reading = source.reader().read(names.raw, time.monotonic() + settings.redis.timeout)
            seconds = time.monotonic() - start
            findings = list(_redis_findings(source, settings, reading))
        except SourceError as error:
            say(f"redis: {error}")
            return False
    beating = sum(ttl > 0 for ttl in reading.ttl_ms)
    good = not any(finding.must for finding in findings)
    nodes = f"a {reading.server.role} with {len(names.raw)} nodes, {beating} of them beating"
    say(f"redis: {'good' if good else 'answers'}, {nodes}, found and read in {seconds:.3f} s")
    _tell("redis", findings)
    return good


def _redis_findings(source: Source, settings: Settings, reading: Reading) -> Iterator[Finding]:
    server = reading.server
    for address in sorted(set(server.addresses) - server.members.keys()):
        yield Finding(
            f"The primary {address or 'of the nodes'} cannot be read. Nothing is known of the nodes whose keys it"
            " holds. Start it, or let a replica take over.",
            must=True,
        )
    if not server.info_allowed:
        yield Finding(
            "Redis refuses INFO to the exporter's user. Restarts, failovers and refused writes of Redis cannot be seen,"
            " so living nodes may be called dead. Grant +info to the user of --redis.username (docs/how-to/redis.md"
            " lists all rights).",
            must=True,
        )
    if server.evicts:
        yield Finding(
            "Redis deletes keys when its memory is full (maxmemory-policy). A heartbeat that it deletes makes a living"
            " node look dead. Set maxmemory-policy to noeviction, or give the nodes a Redis of their own."
        )
    yield from key_findings(settings, reading)
    try:
        looked = source.plan(time.monotonic() + settings.redis.timeout)
    except SourceError as error:
        yield Finding(
            f"The plan cannot be read: {error}. Nothing is known of portfolios. Give the user the rights for the plan"
            " and the portfolios (docs/how-to/redis.md)."
        )
        return
    if looked.plan and looked.idle is None and not server.saving:
        yield Finding(
            "Redis does not say how long ago the scheduler looked at the plan. GinkgoSchedulerStalled cannot fire."
            " Give the user +object|idletime and +client|no-touch. A cluster and an LFU policy cannot tell."
        )


def key_findings(settings: Settings, reading: Reading) -> Iterator[Finding]:
    """Yield what is wrong with the keys of the nodes."""
    keys, ttl = settings.keys, settings.heartbeat.ttl
    silent = {position for position, ms in enumerate(reading.ttl_ms) if ms == MISSING}
    nodes = len(reading.names)
    for prefix, missing in ((keys.heartbeat_prefix, len(silent)), (keys.metrics_prefix, len(reading.without_hash))):
        if missing == nodes:
            yield Finding(
                f"No key begins with {shown(prefix)}. See --keys.heartbeat-prefix, --keys.metrics-prefix, and the"
                " number of the database in --redis.url."
            )
    longest, name = max(zip(reading.ttl_ms, reading.names, strict=True), default=(0, b""))
    if longest / 1000 > ttl + 1:  # a second for clocks and rounding
        yield Finding(
            f"The heartbeat of node {shown(shown_id(name))} lives for {duration(math.ceil(longest / 1000))} more,"
            f" longer than --heartbeat.ttl ({duration(ttl)}). Ages are wrong, and after a fault of Redis living nodes"
            " can be called offline. Set --heartbeat.ttl to the TTL that the nodes give to their heartbeats.",
            must=True,
        )
    if left := silent - reading.without_hash - reading.unread:
        yield Finding(
            f"Redis has hashes of {len(left)} nodes that do not beat. A hash stays until it is deleted. A node that"
            " came back under another name has left its old one. Clear those whose portfolios run on other nodes with"
            " ginkgo-exporter forget --rehomed --yes (without --yes it names them). See the others with"
            " ginkgo-exporter nodes --state offline."
        )


# --- Alertmanager --------------------------------------------------------------------------------


def _check_alertmanager(url: str, config: HttpConfig, settings: Settings, *, page: bool) -> bool:
    """Post nothing, or a test page, to an Alertmanager."""
    subject, transport, clocks = f"alertmanager {url}", Transport(url, config), Clocks(url)
    reply = transport.post([])
    if reply.problem:
        say(f"{subject}: {reply.problem}")
        return False
    clocks.observe(reply.date, time.monotonic())
    say(f"{subject}: good, it took an empty post")
    if page:
        alert = test_page(settings, clocks.times(time.monotonic() - _PAGE_LASTS, time.monotonic() + _PAGE_LASTS))
        if problem := transport.post([alert]).problem:
            say(f"{subject}: it did not take the alert {TEST_PAGE}: {problem}")
            return False
        say(f"{subject}: it took the alert {TEST_PAGE}, test_id {alert['labels']['test_id']}: the phone must ring now")
    return True


def test_page(settings: Settings, times: Mapping[str, str]) -> dict[str, Any]:
    """Return the alert that proves the way to the phone; ``times`` are its ``startsAt`` and ``endsAt``."""
    labels = {
        "alertname": TEST_PAGE,
        "severity": "critical",
        **settings.alertmanager.labels,
        "test_id": secrets.token_hex(4),
    }
    annotations = {
        "summary": f"Test page by {os.environ.get('USER', os.getuid())}@{socket.gethostname()}: nothing is wrong",
        "description": "Somebody ran ginkgo-exporter check --page. The alert ends by itself after a minute.",
    }
    return {"labels": labels, "annotations": annotations, **times}
