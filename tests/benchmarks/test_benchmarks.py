"""The benchmark's short form: every way still scrapes every node, and the exporter asks Redis for no more than that."""

import argparse
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import bench
from lab.servers import ROOT

pytestmark = pytest.mark.server("prometheus-redis-exporter")


@pytest.mark.parametrize("trees", [[], [ROOT, ROOT / "lab" / ".."]])
def test_every_way_is_measured_and_reported(tmp_path: Path, trees: list[Path]) -> None:
    arguments = argparse.Namespace(nodes=[100], others=20_000, portfolios=len(trees), trees=trees, rounds=2)
    _, *ways = [line for line in bench.scrapes(arguments, tmp_path) if line.startswith("| ")]
    assert len(ways) == (3 if trees else 5)
    for line in ways:
        _, _, milliseconds, rounds, floor, *_ = line.split("|")
        assert float(milliseconds.split()[0].replace(",", "")) > 0, line
        assert int(rounds) == 2, line
        assert float(floor) > 0, line


def test_a_start_and_an_idle_exporter_are_measured_and_the_machine_is_named(tmp_path: Path) -> None:
    lines = [*bench.starts(tmp_path, 1), *bench.idle(tmp_path, 3.0)]
    rows = [line.split("|")[2:-1] for line in lines if line.startswith("| ") and "---" not in line]
    assert [len(row) for row in rows] == [3, 3, 2, 2]
    assert all(float(figure.strip(" %").replace(",", "")) > 0 for row in rows for figure in row), rows
    assert re.match(r"20\d\d-\d\d-\d\d, \d+ cores, .*Python 3.*, Redis server v=\d", bench.machine())


def test_a_million_other_keys_make_redis_work_no_more(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand = bench.Stand(tmp_path, stack, 200, others=20_000)
        stand.add_exporter()
        stand.control.config_resetstat()
        stand.ways[1].scrape()
        calls = stand.control.info("commandstats")
        assert calls["cmdstat_hmget"]["calls"] == calls["cmdstat_pttl"]["calls"] == 200
