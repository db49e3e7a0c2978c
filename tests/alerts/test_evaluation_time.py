"""Prometheus evaluates all rules together in at most twice the time of the first release, with 10,000 nodes."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest
import yaml
from alert_rules import RULES, Rule, rules
from history import History

from lab.monitoring import Prometheus
from lab.nodes import FIELDS, heartbeat_key, metrics_key
from lab.servers import Exporter, RedisServer, running_redis, wait_for

NODES: Final = 10_000
EARLIER: Final = "c9958d1"
"""The commit of the first release, whose rules are evaluated in the same Prometheus."""
AT_MOST: Final = 2.0
"""Limit of the time for one evaluation of all rules, as a ratio to the rules of the first release."""
EVALUATIONS: Final = 7
"""Number of evaluations. Their median counts, since a scrape or garbage collection slows some of them down."""

PREFIX: Final = "first_"
"""What the names of the first release's rules and recordings begin with."""
RECORDING: Final = re.compile(r"\b\w+(?::\w+)+")
"""A recording's name in an expression."""

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


def earlier_rules() -> Iterator[Rule]:
    """Yield the rules of the first release. Its recordings get names of their own, so that both sets can be loaded."""
    shown = ["git", "show", f"{EARLIER}:./{RULES.relative_to(RULES.parents[1])}"]
    text = subprocess.run(shown, cwd=RULES.parents[1], capture_output=True, text=True, check=True).stdout
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            rule["expr"] = RECORDING.sub(f"{PREFIX}\\g<0>", rule["expr"])
            name = "record" if "record" in rule else "alert"
            yield {name: PREFIX + rule[name]} | {key: rule[key] for key in rule if key != name}


def evaluation_times(folder: Path, exporter: Exporter) -> list[tuple[float, float]]:
    """Return the durations of several evaluations: all rules of the first release, and all rules of today, in seconds.

    All rules are in one group, and are evaluated one after the other. Prometheus would evaluate several groups at the
    same time, and they would slow each other down.
    """
    together = {"groups": [{"name": "together", "rules": [*earlier_rules(), *rules()]}]}
    (folder / RULES.name).write_text(yaml.safe_dump(together))
    with ExitStack() as stack:
        prometheus = Prometheus(folder, scraping(exporter.port, "15s", rule_files=[RULES.name]))
        stack.callback(prometheus.stop, signal.SIGKILL)
        taken: dict[str, tuple[float, float]] = {}
        deadline = time.monotonic() + 300
        while len(taken) < EVALUATIONS:
            time.sleep(1)  # frequent questions would take processor time from the evaluation that is measured
            (group,) = prometheus.rule_groups()
            assert all(rule["health"] != "err" for rule in group["rules"]), group
            if group["rules"][-1]["health"] == "ok":
                both = [0.0, 0.0]
                for rule in group["rules"]:
                    both[not rule["name"].startswith(PREFIX)] += float(rule["evaluationTime"])
                taken[group["lastEvaluation"]] = both[0], both[1]
            assert time.monotonic() < deadline
        assert prometheus.value("count(node:ginkgo_node_events:rate5m)") == NODES
        firing = {name for name, _ in prometheus.firing() if not name.startswith(PREFIX)}
        assert firing == {"GinkgoWatchdog", "GinkgoSchedulerStalled"}  # no scheduler looks at the plan
    return list(taken.values())


def scraping(port: int, interval: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a Prometheus that scrapes one target."""
    target = {"targets": [f"127.0.0.1:{port}"]}
    times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    job = {"job_name": "ginkgo-exporter", "honor_labels": True, "static_configs": [target]}
    return {"global": times, "scrape_configs": [job], **more}


@pytest.mark.timeout(900)
def test_all_rules_take_at_most_twice_the_time_of_the_first_release(exporter: Exporter, tmp_path: Path) -> None:
    with History(NODES, f"127.0.0.1:{exporter.port}") as history:
        prometheus = Prometheus(tmp_path, scraping(history.port, "5s"))
        wait_for(lambda: history.handed_over, "for an hour of history", 600)
        assert prometheus.stop() == 0
    both = evaluation_times(tmp_path, exporter)
    ratio = median(now / earlier for earlier, now in both)
    print([(round(earlier, 3), round(now, 3)) for earlier, now in both], round(ratio, 2))  # noqa: T201
    assert ratio < AT_MOST
