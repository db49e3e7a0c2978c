"""How long Prometheus takes for all rules together, with 10,000 nodes."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import pytest
from alert_rules import RULES
from stack import Prometheus

from nodes import FIELDS, heartbeat_key, metrics_key
from servers import Exporter, RedisServer, binary, running_redis, wait_for

NODES: Final = 10_000
AT_MOST: Final = 2.0
"""Seconds for one evaluation of all groups."""
EVALUATIONS: Final = 7
"""Of each group, of which the median counts: some fall together with a scrape or with garbage collection."""

# A figure of this machine: to be taken on a quiet one.
pytestmark = [pytest.mark.server("prometheus"), pytest.mark.server("promtool"), pytest.mark.slow]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter of 10,000 nodes."""
    with running_redis(tmp_path / "redis") as server:
        fill(server)
        exporter = Exporter(tmp_path / "exporter", "--redis.url", server.url)
        yield exporter
        exporter.stop()


def fill(server: RedisServer) -> None:
    # Nodes that are well, without queue and drops: with a queue, those that take no events would all be stalled, and
    # 10,000 alerts cost more to render than the rules to evaluate.
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(NODES):
            pipeline.set(heartbeat_key(f"node-{number}"), "2026-01-06T12:30:45", px=600_000)
            pipeline.hset(metrics_key(f"node-{number}"), mapping={**FIELDS, "queue_size": "0", "dropped_events": "0"})
        pipeline.execute()


def evaluation_time(folder: Path, exporter: Exporter, *flags: str) -> float:
    """Return the seconds that an evaluation of all groups takes, after enough scrapes for rates."""
    target = {"targets": [f"127.0.0.1:{exporter.port}"]}
    config = {
        "global": {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "5s"},
        "rule_files": [RULES.name],
        "scrape_configs": [{"job_name": "ginkgo-exporter", "static_configs": [target]}],
    }
    # Groups with an interval of their own have to be seen evaluated too.
    (folder / RULES.name).write_text(RULES.read_text().replace("interval: 1m", "interval: 5s"))
    with ExitStack() as stack:
        prometheus = Prometheus(folder, config, *flags)
        stack.callback(prometheus.stop, signal.SIGKILL)
        wait_for(lambda: prometheus.value("count(node:ginkgo_node_events:rate5m)") == NODES, "for rates", 90)
        taken: dict[str, dict[str, float]] = {}
        wait_for(lambda: all_evaluated(prometheus, taken), "for evaluations", 120)
    medians = {name: median(seconds.values()) for name, seconds in taken.items()}
    print({name: round(seconds, 3) for name, seconds in medians.items()})  # noqa: T201
    return sum(medians.values())


def all_evaluated(prometheus: Prometheus, taken: dict[str, dict[str, float]]) -> bool:
    """Note what the latest evaluations took, by group and time; return whether there are enough of each."""
    for group in prometheus.rule_groups():
        assert all(rule["health"] != "err" for rule in group["rules"]), group
        if group["rules"][-1]["health"] == "ok":
            taken.setdefault(group["name"], {})[group["lastEvaluation"]] = float(group["evaluationTime"])
    return bool(taken) and all(len(seconds) >= EVALUATIONS for seconds in taken.values())


def test_all_rules_evaluate_within_two_seconds(exporter: Exporter, tmp_path: Path) -> None:
    assert evaluation_time(tmp_path, exporter) < AT_MOST


@pytest.mark.timeout(900)
def test_all_rules_evaluate_within_two_seconds_over_an_hour_of_history(exporter: Exporter, tmp_path: Path) -> None:
    backfill(tmp_path)
    assert evaluation_time(tmp_path, exporter) < AT_MOST


def backfill(folder: Path) -> None:
    """Write what the long windows read: a sample each 15 s, for every node, over the last hour or half hour."""
    now = int(time.time())
    history = folder / "history.om"
    with history.open("w") as file:
        for name, kind, minutes in (
            ("ginkgo_node_up", "gauge", 30),
            ("ginkgo_node_events_total", "counter", 30),
            ("node:ginkgo_node_backpressure:rate5m", "gauge", 65),
            ("node:ginkgo_node_events_total:max", "gauge", 65),
            ("node:ginkgo_node_dropped_events_total:max", "gauge", 65),
        ):
            file.write(f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}\n")
            times = range(now - minutes * 60, now, 15)
            for number in range(NODES):
                instance = 'instance="before",' if name.startswith("ginkgo") else ""
                series = f'{name}{{{instance}job="ginkgo-exporter",node_id="node-{number}"}} 1 '
                file.write("".join(f"{series}{at}\n" for at in times))
        file.write("# EOF\n")
    command = (binary("promtool"), "tsdb", "create-blocks-from", "openmetrics", history, folder / "prometheus")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    history.unlink()
