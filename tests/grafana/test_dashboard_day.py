"""Every query over a day of a thousand nodes, on a real Prometheus."""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grafana.proof import tsdb
from grafana.proof.expressions import Expression, expressions, fill, read
from grafana.proof.lives import END
from grafana.proof.tsdb import Prometheus

DASHBOARDS = [read(path) for path in sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))]
EXPRESSIONS = [found for dashboard in DASHBOARDS for found in expressions(dashboard)]
DAY, BLOCK = 86_400, 7_200
SCRAPE = 60
"""Seconds between two samples. With 15 s the data would be four times as large; only the parts that read the whole
range would cost more."""
COUNTERS = ("_total", "_bucket", "_count", "_sum")

pytestmark = [pytest.mark.slow, pytest.mark.server("prometheus"), pytest.mark.timeout(3_600)]


def series_at_the_end(prometheus: Prometheus) -> list[tuple[str, float, bool]]:
    """Return the text of each series that Prometheus has at the end of the hour, its value, and if it is a counter."""
    found = []
    for sample in prometheus.instant('{__name__=~".+"}'):
        labels = {name: value for name, value in sample["metric"].items() if name != "__name__"}
        name = sample["metric"]["__name__"]
        inner = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels.items())
        found.append((f"{name}{{{inner}}} ", float(sample["value"][1]), name.endswith(COUNTERS)))
    return found


def blocks(series: list[tuple[str, float, bool]]) -> Iterator[Iterator[str]]:
    """Yield a day of samples of these series, one block of two hours after the other."""
    first = (END - DAY) // BLOCK * BLOCK
    for begin in range(first, END, BLOCK):
        times = range(max(begin, END - DAY), min(begin + BLOCK, END + 1), SCRAPE)
        yield itertools.chain(
            (
                f"{text}{value + (at - END) * 0.01 if counts else value + at // SCRAPE % 7 * 0.01 * value:g} {at}\n"
                for text, value, counts in series
                for at in times
            ),
            ["# EOF\n"],
        )


@pytest.fixture(scope="module")
def a_day(thousand_nodes: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("day")
    for lines in blocks(series_at_the_end(thousand_nodes)):
        samples = folder / "samples.om"
        with samples.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(samples), str(folder / "data")],
            check=True,
            capture_output=True,
        )
        samples.unlink()
    with tsdb.running(folder, lookback=2 * SCRAPE) as prometheus:
        yield prometheus


def ask(prometheus: Prometheus, expression: Expression) -> Any:
    """Run a query over the day, with as many points as Grafana asks for."""
    points = expression.panel.get("maxDataPoints", 300)
    step = max(SCRAPE, DAY // points)
    known = {"__interval": f"{step}s", "__rate_interval": f"{max(step + SCRAPE, 4 * SCRAPE)}s", "__range": f"{DAY}s"}
    if expression.kind == "instant":
        return prometheus.instant(fill(expression.text, **known))
    return prometheus.over_time(fill(expression.text, **known), step, END - DAY)


@pytest.mark.parametrize("expression", [one for one in EXPRESSIONS if one.kind != "variable"], ids=str)
def test_day_of_a_thousand_nodes_is_answered_within_a_second(expression: Expression, a_day: Prometheus) -> None:
    # Processor time, because on a busy machine the wall clock would measure the other processes too.
    def cost() -> float:
        before = a_day.cpu_seconds()
        ask(a_day, expression)
        return a_day.cpu_seconds() - before

    assert min(cost() for _ in range(2)) < 1.0
