"""``ginkgo-exporter check``: tries everything that the settings name, once, and prints a line for each result."""

import argparse
import asyncio
import time
from collections.abc import Iterable, Iterator

from exporter.commands.alert_findings import try_alertmanager
from exporter.commands.config_files import read_files
from exporter.commands.exit_codes import ExitCode
from exporter.commands.finding import Finding
from exporter.commands.heartbeat_findings import heartbeat_findings
from exporter.commands.key_findings import key_findings
from exporter.errors import SourceError
from exporter.settings import Settings, unknown_variables
from exporter.source import Source, open_source
from exporter.source.names import names_of
from exporter.source.reading import Reading
from exporter.source.server import missing_right


def check(settings: Settings, _: argparse.Namespace | None = None) -> int:
    """Try Redis and each Alertmanager once and print the results. Return 0 if nothing must be changed, else 1.

    Raises:
        SettingsError: Files that the settings name are invalid; a line for each.
    """
    config, of_rules = read_files(settings)
    print("configuration: good")  # noqa: T201
    findings = [Finding(hint, "Correct its name, or remove it") for hint in unknown_variables()]
    good = _told("configuration", [*findings, *(of_rules if settings.alertmanager.url else ())]) and _check_redis(
        settings
    )
    for url in settings.alertmanager.url:
        problem, remark, found = asyncio.run(try_alertmanager(url, config, settings.alertmanager))
        print(f"alertmanager {url}: {problem or 'good, it took an empty post'}{remark}")  # noqa: T201
        good = _told(f"alertmanager {url}", found) and good and not problem
    return ExitCode.SUCCESS if good else ExitCode.FAILURE


def _told(subject: str, findings: Iterable[Finding]) -> bool:
    """Print findings. Return whether none of them must be changed."""
    must = False
    for finding in findings:
        print(finding.line(subject))  # noqa: T201
        must = must or finding.must
    return not must


def _check_redis(settings: Settings) -> bool:
    source = open_source(settings)
    try:
        start = time.monotonic()
        found = source.discover(settings.redis.timeout)
        names = names_of(found.names, settings.collector.max_nodes)
        reading = source.reader().read(names.raw, time.monotonic() + settings.redis.timeout)
        seconds = time.monotonic() - start
        findings = list(_redis_findings(source, settings, reading))
    except SourceError as error:
        print(f"redis: {error}")  # noqa: T201
        return False
    finally:
        source.close()
    beating = sum(ttl > 0 for ttl in reading.ttl_ms)
    state = "answers" if any(finding.must for finding in findings) else "good"
    print(  # noqa: T201
        f"redis: {state}, a {reading.server.role} with {len(names.raw)} nodes, {beating} of them beating,"
        f" found and read in {seconds:.3f} s"
    )
    return _told("redis", findings)


def _redis_findings(source: Source, settings: Settings, reading: Reading) -> Iterator[Finding]:
    for command in sorted(source.missing_rights()):
        fact, _, remedy = missing_right(command).partition(": ")
        yield Finding(fact, remedy[:1].upper() + remedy[1:], must=True)
    yield from key_findings(source, settings, reading)
    yield from heartbeat_findings(reading, settings.heartbeat)
    try:
        looked = source.plan(time.monotonic() + settings.redis.timeout)
    except SourceError as error:
        yield Finding(
            f"the plan cannot be read, so nothing is known of portfolios: {error}",
            "Give the user the rights for the plan and the portfolios (docs/how-to/redis.md)",
        )
    else:
        if looked.plan and looked.idle is None:
            yield Finding(
                "Redis does not say how long ago the scheduler looked at the plan, so GinkgoSchedulerStalled cannot"
                " fire",
                "Give the user +object|idletime and +client|no-touch. Redis with an LFU policy cannot tell",
            )
