"""``ginkgo-exporter check``: tries everything that the settings name, once, and prints a line for each result."""

import argparse
import getpass
import json
import math
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

from exporter.commands.command_line import ExitCode, Finding, say
from exporter.errors import SettingsError, SourceError
from exporter.journal.sentences import shown
from exporter.push.alertmanager import Clocks
from exporter.push.alerts import PUSHED, load_rules
from exporter.push.transport import HttpConfig, Transport
from exporter.settings import Alertmanager, Settings, unknown_variables
from exporter.snapshot.rows import duration
from exporter.source import Source, open_source
from exporter.source.names import names_of, shown_id
from exporter.source.reading import MISSING, Reading
from exporter.source.server import missing_right
from exporter.web.config import WebConfig, tls_context

TEST_PAGE: Final = "GinkgoTestPage"
"""The alert that ``--page`` posts."""
_PAGE_LASTS: Final = 60.0
"""Seconds from the post of a test page to its end, and seconds that its begin lies back: it waits for no group."""
_WATCHDOG: Final = "GinkgoWatchdog"
"""The alert that Prometheus always posts."""
_OF_RULE: Final = ("alertname", "severity")
"""The labels that the rule gives it."""
_ALERTS: Final = "/api/v2/alerts?filter=" + quote(f'alertname="{_WATCHDOG}"')
_SLACK: Final = 1.0
"""Seconds by which a TTL may exceed the setting: clocks and rounding."""


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
    hints = [Finding(f"{hint}.", "", "Correct its name, or remove it.") for hint in unknown_variables()]
    good = _told("configuration", hints)
    good &= _check_redis(settings)
    for url in settings.alertmanager.url:
        good &= _check_alertmanager(url, config, settings, page=arguments.page)
    return ExitCode.SUCCESS if good else ExitCode.FAILURE


def _told(subject: str, findings: Iterable[Finding]) -> bool:
    """Print findings. Return whether none of them must be changed."""
    must = False
    for finding in findings:
        say(f"{subject}: {'must be changed' if finding.must else 'note'}: {' '.join(finding.sentences)}")
        must |= finding.must
    return not must


def read_files(settings: Settings) -> None:
    """Read the files that the settings name.

    Raises:
        SettingsError: Files are invalid; a line for each.
    """
    errors: list[str] = []
    for read in (
        lambda: HttpConfig.load(settings.alertmanager.config_file),
        lambda: load_rules(settings.alertmanager.rules_file, PUSHED),
        lambda: [tls_context(tls) for tls in [WebConfig.load(settings.web.config_file).tls_server_config] if tls],
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
    state = "answers" if any(finding.must for finding in findings) else "good"
    nodes = f"a {reading.server.role} with {len(names.raw)} nodes, {beating} of them beating"
    say(f"redis: {state}, {nodes}, found and read in {seconds:.3f} s")
    return _told("redis", findings)


def _redis_findings(source: Source, settings: Settings, reading: Reading) -> Iterator[Finding]:
    server = reading.server
    for address in sorted(set(server.addresses) - server.members.keys()):
        yield Finding(
            f"The primary {address or 'of the nodes'} cannot be read.",
            "Nothing is known of the nodes whose keys it holds.",
            "Start it, or let a replica take over.",
            must=True,
        )
    for command in sorted(source.missing_rights()):
        fact, _, remedy = missing_right(command).partition(": ")
        yield Finding(f"{fact}.", "", f"{remedy[:1].upper()}{remedy[1:]}.", must=True)
    if server.evicts:
        yield Finding(
            "Redis deletes keys when its memory is full (maxmemory-policy).",
            "A heartbeat that it deletes makes a living node look dead.",
            "Set maxmemory-policy to noeviction, or give the nodes a Redis of their own.",
        )
    yield from _key_findings(settings, reading)
    yield from heartbeat_findings(reading, settings.heartbeat.ttl)
    silent = {position for position, ms in enumerate(reading.ttl_ms) if ms == MISSING}
    if left := silent - reading.without_hash - reading.unread:
        yield Finding(
            f"Redis has {_count(len(left), 'hash', 'hashes')} of nodes that do not beat.",
            "A hash stays until it is deleted. A node that came back under another name has left its old one.",
            "See them with ginkgo-exporter nodes --state offline. Clear those whose portfolios run on other nodes with"
            " ginkgo-exporter forget --rehomed --yes.",
        )
    yield from _plan_findings(source, settings, reading)


def _plan_findings(source: Source, settings: Settings, reading: Reading) -> Iterator[Finding]:
    try:
        looked = source.plan(time.monotonic() + settings.redis.timeout)
    except SourceError as error:
        remedy = "Give the user the rights for the plan and the portfolios (docs/how-to/redis.md)."
        yield Finding(f"The plan cannot be read: {error}.", "Nothing is known of portfolios.", remedy)
        return
    if looked.plan and looked.idle is None and not reading.server.saving:
        yield Finding(
            "Redis does not say how long ago the scheduler looked at the plan.",
            "GinkgoSchedulerStalled cannot fire.",
            "Give the user +object|idletime and +client|no-touch. A cluster and an LFU policy cannot tell.",
        )


def _key_findings(settings: Settings, reading: Reading) -> Iterator[Finding]:
    """Yield that nothing is found under one of the prefixes."""
    beats, hashes = (shown(prefix) for prefix in (settings.keys.heartbeat_prefix, settings.keys.metrics_prefix))
    remedy = "See --keys.heartbeat-prefix, --keys.metrics-prefix, and the number of the database in --redis.url."
    if not reading.names:
        yield Finding(f"There is no node: no key begins with {beats} or {hashes}.", "", remedy)
    elif all(ms == MISSING for ms in reading.ttl_ms):
        yield Finding(f"No node has a heartbeat: no key begins with {beats}.", "All nodes are offline.", remedy)
    elif len(reading.without_hash) == len(reading.names):
        yield Finding(f"No node has a metrics hash: no key begins with {hashes}.", "", remedy)


def heartbeat_findings(reading: Reading, ttl: float) -> Iterator[Finding]:
    """Yield what is wrong with the heartbeats of a reading; ``ttl`` is the setting, in seconds."""
    nodes = {name: ms / 1000 for name, ms in zip(reading.names, reading.ttl_ms, strict=True) if ms != MISSING}
    endless = [shown(shown_id(name)) for name, left in nodes.items() if left < 0]
    longest = max(nodes, key=nodes.__getitem__, default=b"")
    if nodes and nodes[longest] > ttl + _SLACK:
        left = duration(math.ceil(nodes[longest]))
        yield Finding(
            f"The heartbeat of node {shown(shown_id(longest))} lives for {left} more, longer than --heartbeat.ttl"
            f" ({duration(ttl)}).",
            "Ages are wrong, and after a fault of Redis living nodes can be called offline.",
            "Set --heartbeat.ttl to the TTL that the nodes give to their heartbeats.",
            must=True,
        )
    if endless:
        fact = f"The heartbeats of {_count(len(endless), 'node')} never expire, such as that of {endless[0]}."
        yield Finding(fact, "They prove no life, so these nodes are offline.", "A node must write it with SETEX.")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


# --- Alertmanager --------------------------------------------------------------------------------


def _check_alertmanager(url: str, config: HttpConfig, settings: Settings, *, page: bool) -> bool:
    """Post nothing, or a test page, to an Alertmanager, and compare its labels with Prometheus's."""
    subject, own = f"alertmanager {url}", settings.alertmanager
    transport, clocks = Transport(url, config), Clocks(url)
    reply = transport.post([])
    clocks.observe(reply.date, reply.received)
    if reply.problem:
        say(f"{subject}: {reply.problem}")
        return False
    say(f"{subject}: good, it took an empty post")
    if page:
        alert = test_page(settings, clocks.firing(time.monotonic() - _PAGE_LASTS, time.monotonic() + _PAGE_LASTS))
        if problem := transport.post([alert]).problem:
            say(f"{subject}: it did not take the alert {TEST_PAGE}: {problem}")
            return False
        say(f"{subject}: it took the alert {TEST_PAGE}, test_id {alert['labels']['test_id']}: the phone must ring now")
    if not own.sole_writer and (posted := transport.get(_ALERTS)) is not None:
        return _told(subject, _compared(posted, own))
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
        "summary": f"Test page by {getpass.getuser()}@{socket.gethostname()}: nothing is wrong",
        "description": "Somebody ran ginkgo-exporter check --page. The alert ends by itself after a minute.",
    }
    if settings.web.external_url:
        annotations["runbook_url"] = f"{settings.web.external_url}/runbooks/{TEST_PAGE}"
    return {"labels": labels, "annotations": annotations, **times}


def _compared(body: bytes, settings: Alertmanager) -> Iterator[Finding]:
    """Yield the labels that Prometheus adds to all of its alerts there, and that pushed alerts do not have.

    Args:
        body: The answer of Alertmanager with the alerts that Prometheus always posts.
        settings: The labels of pushed alerts.
    """
    try:
        watchdogs = [dict(alert["labels"]) for alert in json.loads(body)]
    except (ValueError, TypeError, KeyError):  # another Alertmanager's form
        watchdogs = []
    added = [{name: text for name, text in labels.items() if name not in _OF_RULE} for labels in watchdogs]
    differing = [{name: text for name, text in each.items() if settings.labels.get(name) != text} for each in added]
    if not differing:
        yield Finding(
            f"It has no alert {_WATCHDOG}.",
            "So Prometheus posts no alerts of these rules to it, and its labels cannot be compared with"
            " --alertmanager.label.",
            "See alerting.alertmanagers and rule_files of Prometheus, or set --alertmanager.sole-writer without it.",
        )
    elif all(differing):
        fewest = sorted(min(differing, key=len).items())
        yield Finding(
            f"Prometheus writes its alerts there with {', '.join(f'{name}={shown(text)}' for name, text in fewest)}."
            " Pushed alerts lack this.",
            "So each page comes twice.",
            f"Give {' '.join(f'--alertmanager.label={name}={shown(text)}' for name, text in fewest)}.",
            must=True,
        )
