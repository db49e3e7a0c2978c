"""The benchmark's short form: that every way still scrapes every node, and what the limits say of work and memory."""

import shutil
from pathlib import Path

import pytest

from lab.bench import __main__ as report
from lab.bench import compare, footprint, idle, portfolios
from lab.bench.cases import OURS, Bench, Case, Way

pytestmark = pytest.mark.server("redis-server")

NODES = 200


def test_every_way_scrapes_every_node_and_is_reported() -> None:
    with Bench(Case(NODES), slow_ways=True) as bench:
        bench.warm_up()  # fails if a way leaves nodes out
        bench.round(0)
        bench.round(1)
        table = report.table(bench.ways).splitlines()
    others = 2 + (shutil.which("prometheus-redis-exporter") is not None)
    assert len(bench.ways) == 3 + others
    assert len(table) == 2 + len(bench.ways)
    for way, line in zip(bench.ways, table[2:], strict=True):
        assert line.startswith(f"| {way.name} | ")
        assert len(way.seconds) == len(way.blocks) == 2
        assert all(seconds > 0 for seconds in way.seconds)


def test_ten_scrapers_at_once_make_redis_work_for_two_at_most() -> None:
    with Bench(Case(NODES), slow_ways=False) as bench:
        bench.warm_up()
        assert bench.crowd(3) <= 2


def test_scrape_beside_many_other_keys_reads_no_more_than_its_nodes() -> None:
    with Bench(Case(NODES, 20_000), slow_ways=False) as bench:
        bench.warm_up()
        ours: Way = next(way for way in bench.ways if way.name == OURS)
        bench.redis.forget_statistics()
        ours.scraper.scrape()
        assert bench.redis.calls("hmget") == bench.redis.calls("pttl") == NODES


def test_two_working_trees_are_compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tree = str(Path(__file__).parents[2])
    monkeypatch.setattr("sys.argv", ["compare", tree, tree, "--nodes", "50", "--rounds", "2"])
    compare.main()
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"| {Path(tree).name} | ")
    assert "+0.0 %" in first
    assert second.count(" | ") == first.count(" | ")


def test_scrapes_with_and_without_a_plan_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["portfolios", "--nodes", "50", "--rounds", "2"])
    portfolios.main()
    *_, without, with_a_plan = capsys.readouterr().out.splitlines()
    assert without.startswith("| 0 portfolios | ")
    assert with_a_plan.startswith("| 250 portfolios | ")


def test_footprint_is_measured_beside_a_plain_script() -> None:
    head, _, *rows = footprint.table(5, 1).splitlines()
    assert head == "| 5 nodes, medians of 1 starts | ginkgo-exporter | plain script | ratio | goal |"
    assert len(rows) == 7
    for title, ours, script, *_ in (row.strip("| ").split(" | ") for row in rows):
        assert float(ours) > 0, title
        assert float(script) >= 0, title


def test_commands_and_cpu_of_an_idle_exporter_are_counted() -> None:
    first, second = measured = idle.measure(3, 0)
    assert (first.push, second.push) == (False, True)
    assert all(each.commands["info"] > 0 and each.cpu > 0 for each in measured)
    assert not {"setex", "hset"} & first.commands.keys(), "the nodes' own commands do not count"
    head, _, *lines = idle.table(measured).splitlines()
    assert [line.count("|") for line in lines] == [head.count("|")] * 2
