"""Checks an exporter during a fault: every scrape is answered and right, and the fault leaves nothing behind."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Self

from beating import Beating
from redis.backoff import NoBackoff
from redis.retry import Retry

from exporter.contract import NUMBERS
from exporter.demo.platform import BEAT
from lab.oracle import shown
from lab.platform import RandomNode
from lab.servers import Exporter, RedisServer, Series, wait_for
from lab.truth import Recorder

TTL = 3.0
TIMEOUT = 2.0
FLAGS = ("--heartbeat.ttl", "3s", "--discovery.interval", "200ms", "--redis.timeout", "2s")
SCRAPE = 5.0
"""Timeout of a scrape, in seconds. It is longer than the exporter's timeout for Redis, for a busy machine."""
SPARE_CONNECTIONS = 3
"""New connections that are no leak: each thread of the exporter opens its own when two threads first read at once."""
SPARE_BYTES = 8 * 2**20


class RecordedNodes(Beating):
    """Nodes that beat through all faults, with random values. They beat ten times a second, for a busy machine.

    Attributes:
        recorder: What they may have written.
    """

    def __init__(self, server: RedisServer, *names: str, ttl: float = TTL) -> None:
        tries_once = Retry(NoBackoff(), 0)
        self._client = server.client(retry=tries_once, socket_timeout=0.5, socket_connect_timeout=0.5)
        self.recorder, self._ttl = Recorder(self._client), ttl
        nodes = [RandomNode(name, ttl=ttl, dice=Random(name)) for name in names]  # noqa: S311 - each run is alike
        super().__init__(self.recorder, nodes, BEAT / 0.1)

    def redis_lost(self) -> None:
        """Note that Redis has lost its last writes."""
        for key in list(self.recorder.keys.values()):
            for write in tuple(key.writes):
                write.sure = False

    def rest(self) -> None:
        """Let all nodes beat once more, and then no more."""
        self.do(lambda: [node.beat(self.redis, self.clock()) for node in self.nodes.values()])
        super().rest()

    @property
    def beats_in_time(self) -> bool:
        """Whether the nodes tried to beat in time for the last TTL; on a very busy machine they may be late."""
        now = time.monotonic()
        for name in self.nodes:
            tries = [write.begun for write in tuple(self.recorder.keys[f"heartbeat:node:{name}"].writes)]
            if any(
                then > now - self._ttl and then - before > self._ttl / 2 for before, then in pairwise([*tries, now])
            ):
                return False
        return True

    def __exit__(self, *_: object) -> None:
        super().rest()
        self._client.close()


def values_of(series: Series, name: str) -> dict[str, float]:
    """Return a node's values by metric."""
    return {each.name: round(series[each.name][name], 9) for each in NUMBERS if name in series.get(each.name, {})}


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

    def __init__(self, exporter: Exporter, platform: RecordedNodes, dead: str) -> None:
        self.exporter, self.platform, self.dead = exporter, platform, dead
        self.expected = {**dict.fromkeys(platform.nodes, 1.0), dead: 0.0}
        self.scrapes: list[Series] = []
        wait_for(lambda: self.scrape().get("ginkgo_node_up") == self.expected, "for all nodes to be known")
        for _ in range(5):
            self.scrape()
        self.before = Vitals.of(exporter.pid)

    def scrape(self) -> Series:
        start = time.monotonic() - TIMEOUT  # it may share a read that began before it
        series = self.exporter.scrape(SCRAPE)
        self.assert_true(series, start)
        self.scrapes.append(series)
        return series

    def assert_true(self, series: Series, start: float) -> None:
        """Check the values; a value may be missing, but not be wrong."""
        if series["ginkgo_redis_up"] == {"": 0}:
            assert_says_that_redis_is_down(series)
            return
        up = series.get("ginkgo_node_up", {})
        assert up.keys() <= self.expected.keys()
        assert not up.get(self.dead), "the dead stay dead"
        if self.platform.beats_in_time:
            assert up.items() <= self.expected.items(), f"{up}: nobody else died"
        for name in self.platform.nodes:
            values, written = values_of(series, name), self.platform.recorder.keys[f"node:metrics:{name}"]
            possible = [shown(write.value) for write in written.possible(start, time.monotonic(), values_only=True)]
            assert any(values.items() <= each.items() for each in possible), (name, values, possible)
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
        with server.client(decode_responses=True) as client:
            for name in self.platform.nodes:
                held = client.hgetall(f"node:metrics:{name}")
                del held["status"]
                values, written = values_of(series, name), shown(held)
                assert values == written, (name, values, written)
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
