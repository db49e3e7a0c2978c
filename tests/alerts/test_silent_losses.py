"""What loses money silently ends in the right alert: real Redis, exporter, Prometheus, Alertmanager and webhook.

Each fault happens to an installation of its own, and all of them share one Prometheus and one Alertmanager.
Everything is five times as fast as in production.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faster import faster, faster_routes, faster_rules
from small_platform import FAULTS, SPEED, TTL, Platform

from lab.monitoring import Alertmanager, Prometheus, Webhook
from lab.servers import Exporter, running_redis, wait_for

SECONDS = {") >= 120\n": ") >= 24\n", "_ttl_seconds > 0) < 15\n": "_ttl_seconds > 0) < 3\n"}
"""Numbers of seconds in the rules, and what they are here."""
PATIENCE = 600.0


def told(webhook: Webhook) -> dict[str, set[str]]:
    """Return the names of the pages and tickets that were sent about each installation."""
    names: dict[str, set[str]] = {installation: set() for installation in FAULTS}
    for alert in webhook.messages("firing"):
        if alert["labels"]["severity"] in ("critical", "warning"):
            names[alert["labels"].get("cluster", "")].add(alert["labels"]["alertname"])
    return names


@pytest.fixture
def platforms(tmp_path: Path, stack: ExitStack) -> dict[str, Platform]:
    shared = stack.enter_context(running_redis(tmp_path / "redis"))
    refusing = stack.enter_context(running_redis(tmp_path / "refusing"))
    started = {}
    for number, (installation, fault) in enumerate(FAULTS.items()):
        server = refusing if installation == "writes-are-refused" else shared
        client = stack.enter_context(server.client(db=number))
        started[installation] = stack.enter_context(Platform(client, fault.portfolios))
    return started


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.server("prometheus")
def test_each_silent_loss_of_the_platform_ends_in_its_alert_and_in_no_other(
    platforms: dict[str, Platform], tmp_path: Path, stack: ExitStack
) -> None:
    webhook = stack.enter_context(Webhook())
    exporters, targets = [], []
    for installation, platform in platforms.items():
        options = platform.client.get_connection_kwargs()
        url = f"redis://127.0.0.1:{options['port']}/{options['db']}"
        flags = ("--redis.url", url, "--heartbeat.ttl", f"{TTL:.0f}s", "--discovery.interval", "2s")
        exporter = Exporter(tmp_path / installation, *flags)
        stack.callback(exporter.stop)
        exporters.append(exporter)
        targets.append({"targets": [f"127.0.0.1:{exporter.port}"], "labels": {"cluster": installation}})
    wait_for(lambda: all(exporter.is_ready() for exporter in exporters), "for all exporters", PATIENCE)
    alertmanager = Alertmanager(tmp_path, faster_routes(SPEED, webhook.url))
    stack.callback(alertmanager.stop)
    (tmp_path / "rules.yml").write_text(faster_rules(SPEED, SECONDS))
    prometheus = Prometheus(
        tmp_path,
        {
            "global": {"scrape_interval": faster("15s", SPEED), "evaluation_interval": faster("15s", SPEED)},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "ginkgo-exporter", "static_configs": targets}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]},
        },
        f"--query.lookback-delta={faster('5m', SPEED)}",
    )
    stack.callback(prometheus.stop)

    before = faster("2m", SPEED)
    all_well = f"count(ginkgo_portfolios%7Bstate%3D%22traded%22%7D%20offset%20{before})"
    wait_for(lambda: prometheus.value(all_well) == len(FAULTS), "for two quiet minutes", PATIENCE)
    assert told(webhook) == {installation: set() for installation in FAULTS}, "nothing has happened yet"

    for installation, fault in FAULTS.items():
        platforms[installation].suffer(fault.happens)
    wait_for(
        lambda: all(fault.expected <= told(webhook)[installation] for installation, fault in FAULTS.items()),
        "for the alert of each loss",
        PATIENCE,
    )
    for installation, fault in FAULTS.items():
        assert told(webhook)[installation] <= fault.expected | fault.also, installation
