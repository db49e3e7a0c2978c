"""Checks an exporter during a fault: every scrape is answered and right, and the fault leaves nothing behind."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import redis

from exporter.contract import EVENTS, NUMBERS
from lab.nodes import FIELDS, beat
from lab.servers import Exporter, RedisServer, Series, wait_for

TTL: Final = 3.0
TIMEOUT: Final = 2.0
FLAGS: Final = ("--heartbeat.ttl", "3s", "--discovery.interval", "200ms", "--redis.timeout", "2s")
SCRAPE: Final = 5.0
"""Timeout of a scrape, in seconds. It is longer than the exporter's timeout for Redis, for a busy machine."""
SPARE_CONNECTIONS: Final = 3
"""New connections that are no leak: each thread of the exporter opens its own when two threads first read at once."""
SPARE_BYTES: Final = 8 * 2**20

STEADY: Final = {
    metric.name: float(FIELDS[metric.field]) * metric.multiply / metric.divide
    for metric in NUMBERS
    if metric is not EVENTS
}
"""Metrics that have the same values of every node of the tests."""


class Platform:
    """Nodes that beat through all faults. They beat more often than real nodes, for a busy machine.

    Each beat writes its number as the number of events, so that the witness recognizes
    an old value.
    """

    def __init__(self, server: RedisServer, *names: str, ttl: float = TTL) -> None:
        self.names = names
        self._ttl = ttl
        self._client = server.client(socket_timeout=0.5, socket_connect_timeout=0.5)
        self._tried = 0
        self._tried_at = time.monotonic()
        self._late = float("-inf")  # when the machine last kept the nodes from beating in time
        self._written: list[tuple[float, int]] = []  # when Redis had the number for sure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on)

    def _beat_on(self) -> None:
        while not self._stop.wait(0.1):
            self._beat()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._tried_at > self._ttl / 2:
            self._late = now
        self._tried_at = now
        self._tried += 1
        written = True
        for name in self.names:
            try:
                beat(self._client, name, self._ttl, total_events=self._tried)
            except redis.RedisError:
                written = False
        if written:
            self._written.append((time.monotonic(), self._tried))

    def redis_loses(self) -> None:
        """Note that Redis is about to lose its last writes."""
        self._written.append((time.monotonic(), 0))

    def numbers_since(self, start: float) -> tuple[int, int]:
        """Return the least and the greatest number that a read may show that began at ``start`` and ended now."""
        greatest = self._tried
        written = list(self._written)
        before = [number for at, number in written if at <= start]
        return min(before[-1:] + [number for at, number in written if at > start], default=0), greatest

    @property
    def beats_in_time(self) -> bool:
        """Return whether the nodes beat in time for the last TTL; on a very busy machine they may be late."""
        now = time.monotonic()
        return now - self._tried_at < self._ttl / 2 and now - self._late > self._ttl

    def rest(self) -> None:
        """Beat no more."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        self._client.close()


@dataclass(frozen=True)
class Vitals:
    """The descriptors, threads and memory of a process."""

    descriptors: int
    threads: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Self:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:  # noqa: PTH123
            pages = int(statm.read().split()[1])
        return cls(len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), pages * 4096)  # noqa: PTH208

    def back_to(self, before: Self) -> bool:
        return (
            self.descriptors <= before.descriptors + SPARE_CONNECTIONS
            and self.threads <= before.threads
            and self.resident <= before.resident + SPARE_BYTES
        )


class Witness:
    """Scrapes without pause, and compares each answer with the values that the nodes wrote."""

    def __init__(self, exporter: Exporter, platform: Platform, dead: str) -> None:
        self.exporter, self.platform, self.dead = exporter, platform, dead
        self.expected = {**dict.fromkeys(platform.names, 1.0), dead: 0.0}
        self.scrapes: list[Series] = []
        wait_for(lambda: self.scrape().get("ginkgo_node_up") == self.expected, "for all nodes to be known")
        for _ in range(5):
            self.scrape()
        self.before = Vitals.of(exporter.pid)

    def scrape(self) -> Series:
        start = time.monotonic() - TIMEOUT  # it may share a read that began before it
        series = self.exporter.scrape(SCRAPE)
        self.assert_true(series, *self.platform.numbers_since(start))
        self.scrapes.append(series)
        return series

    def assert_true(self, series: Series, least: int, greatest: int) -> None:
        """Check the values; a value may be missing, but not be wrong."""
        if series["ginkgo_redis_up"] == {"": 0}:
            assert_says_that_redis_is_down(series)
            return
        up = series.get("ginkgo_node_up", {})
        assert up.keys() <= self.expected.keys()
        assert not up.get(self.dead), "the dead stay dead"
        if self.platform.beats_in_time:
            assert up.items() <= self.expected.items(), f"{up}: nobody else died"
        for metric, value in STEADY.items():
            assert set(series.get(metric, {}).values()) <= {value}, metric
        events = series.get("ginkgo_node_events_total", {})
        numbers = [events[name] for name in self.platform.names if name in events]
        assert all(least <= number <= greatest for number in numbers), (least, numbers, greatest)
        assert set(series["ginkgo_exporter_internal_errors_total"].values()) <= {0.0}

    @contextmanager
    def scraping(self) -> Iterator[list[Series]]:
        """Scrape as long as the block lasts; the test fails with the first scrape that fails."""
        first = len(self.scrapes)
        stop = threading.Event()
        failed: list[BaseException] = []
        collected: list[Series] = []

        def scrape() -> None:
            try:
                while not stop.wait(0.02):
                    collected.append(self.scrape())
            except BaseException as error:  # noqa: BLE001 - told to the test
                failed.append(error)

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            yield collected
        finally:
            stop.set()
            thread.join()
            if failed:
                raise failed[0]
        assert len(self.scrapes) > first

    def assert_recovered(self, server: RedisServer) -> None:
        """Check that the next complete scrape equals the data in Redis, and that the exporter leaks nothing."""
        wait_for(lambda: self.scrape().get("ginkgo_node_up") == self.expected, "for all nodes to be right again")
        self.platform.rest()
        series = self.scrape()
        with server.client() as client:
            for name in self.platform.names:
                held = client.hget(f"node:metrics:{name}", "total_events")
                assert series["ginkgo_node_events_total"][name] == float(held or "nan")
                assert [series[metric][name] for metric in STEADY] == list(STEADY.values())
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """Check that descriptors, threads and memory are as before, and that the log has no traceback."""

        def back() -> bool:
            self.exporter.get()
            return Vitals.of(self.exporter.pid).back_to(self.before)

        wait_for(back, f"for {Vitals.of(self.exporter.pid)} to go back to {self.before}")
        assert "Traceback" not in self.exporter.output()


def assert_says_that_redis_is_down(series: Series) -> None:
    assert series["ginkgo_redis_up"] == {"": 0}
    assert not [name for name in series if name.startswith("ginkgo_node_")]
    assert "ginkgo_nodes" not in series
    assert "ginkgo_exporter_build_info" in series
