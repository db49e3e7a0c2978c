"""Prometheus evaluates all rules together within two seconds, with 10,000 nodes."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest
import yaml
from alert_rules import RULES, rules
from history import History
from stack import Prometheus

from nodes import FIELDS, heartbeat_key, metrics_key
from servers import Exporter, RedisServer, running_redis, wait_for

NODES: Final = 10_000
AT_MOST: Final = 2.0
"""Limit of the time for one evaluation of all rules, in seconds."""
EVALUATIONS: Final = 7
"""Number of evaluations. Their median counts, since a scrape or garbage collection slows some of them down."""

# The figure depends on the machine, and is right only on a quiet machine.
pytestmark = [pytest.mark.server("prometheus"), pytest.mark.slow]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter of 10,000 nodes."""
    with running_redis(tmp_path / "redis") as server:
        fill(server)
        exporter = Exporter(tmp_path / "exporter", "--redis.url", server.url)
        yield exporter
        exporter.stop()


def fill(server: RedisServer) -> None:
    # The nodes are well, without queue and drops, and have loaded what the plan gives them. They take no events: with a
    # queue all of them would be stalled, and 10,000 alerts need more time than the rules.
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(NODES):
            pipeline.set(heartbeat_key(f"node-{number}"), "2026-01-06T12:30:45", px=600_000)
            fields = {**FIELDS, "queue_size": "0", "dropped_events": "0", "loaded_portfolio_ids": f'["p{number}"]'}
            pipeline.hset(metrics_key(f"node-{number}"), mapping=fields)
            pipeline.hset("schedule:plan", f"p{number}", f"node-{number}")
        pipeline.execute()


def evaluation_times(folder: Path, exporter: Exporter) -> list[float]:
    """Return the durations of several evaluations of all rules, in seconds, one rule after the other.

    All rules are in one group. Prometheus would evaluate several groups at the same time, and they would slow each
    other down.
    """
    together = {"groups": [{"name": "together", "rules": list(rules())}]}
    (folder / RULES.name).write_text(yaml.safe_dump(together))
    with ExitStack() as stack:
        prometheus = Prometheus(folder, scraping(exporter.port, "15s", rule_files=[RULES.name]))
        stack.callback(prometheus.stop, signal.SIGKILL)
        taken: dict[str, float] = {}
        deadline = time.monotonic() + 300
        while len(taken) < EVALUATIONS:
            time.sleep(1)  # frequent questions would take processor time from the evaluation that is measured
            (group,) = prometheus.rule_groups()
            assert all(rule["health"] != "err" for rule in group["rules"]), group
            if group["rules"][-1]["health"] == "ok":
                taken[group["lastEvaluation"]] = float(group["evaluationTime"])
            assert time.monotonic() < deadline
        assert prometheus.value("count(node:ginkgo_node_events:rate5m)") == NODES
        expected = "GinkgoWatchdog|GinkgoSchedulerStalled"  # no scheduler looks at the plan
        assert not prometheus.value(f"count(ALERTS{{alertname!~'{expected}'}})")
    return list(taken.values())


def scraping(port: int, interval: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a Prometheus that scrapes one target."""
    target = {"targets": [f"127.0.0.1:{port}"]}
    times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    job = {"job_name": "ginkgo-exporter", "honor_labels": True, "static_configs": [target]}
    return {"global": times, "scrape_configs": [job], **more}


@pytest.mark.timeout(900)
def test_all_rules_evaluate_within_two_seconds_over_an_hour_of_history(exporter: Exporter, tmp_path: Path) -> None:
    with History(NODES, f"127.0.0.1:{exporter.port}") as history:
        prometheus = Prometheus(tmp_path, scraping(history.port, "5s"))
        wait_for(lambda: history.handed_over, "for an hour of history", 600)
        assert prometheus.stop() == 0
    seconds = evaluation_times(tmp_path, exporter)
    print([round(each, 3) for each in seconds])  # noqa: T201
    assert median(seconds) < AT_MOST
