"""The benchmark's short form: every way still scrapes every node, and the exporter asks Redis for no more than that."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import bench
from lab.servers import ROOT

pytestmark = pytest.mark.server("prometheus-redis-exporter")


def test_every_way_is_measured_and_reported(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand = bench.Stand(tmp_path, stack)
        ways = [line for line in bench.scrapes(stand, 100, 2, 20_000) if line.startswith("| ")][1:]
        two = [line for line in bench.compare(stand, (ROOT, ROOT / "lab" / ".."), 50, 2, 1) if line.startswith("| ")]
        starts = [line for line in bench.footprint(stand, 1) if line.startswith("| ")]
        idle = [line for line in bench.idle(stand, 4, 0) if line.startswith("| ")]
    assert [len(lines) for lines in (ways, two, starts, idle)] == [6, 3, 5, 2]
    for line in (*ways, *two):
        _, _, milliseconds, rounds, floor, *_ = line.split("|")
        assert float(milliseconds.split()[0].replace(",", "")) > 0, line
        assert int(rounds) == 2, line
        assert float(floor) > 0, line
    assert "info" in idle[0] + idle[1]


def test_ten_scrapers_at_once_and_a_million_other_keys_make_redis_work_no_more(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand = bench.Stand(tmp_path, stack)
        redis, nodes = stand.redis(200, others=20_000)
        exporter = stand.exporter(redis)
        way = stand.way("ours", redis, nodes, exporter)
        way.warm_up()
        redis.control.config_resetstat()
        way.scraper.scrape()
        assert redis.calls()["hmget"] == redis.calls()["pttl"] == 200
        assert bench.crowd(redis, nodes, exporter) <= 2
