"""What threads share, under all of them at once: nothing raises, and in the end everybody agrees."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporter.fleet import Fleet
from exporter.liveness.judge import Judge, State
from exporter.settings import load
from lab.nodes import beat, crash, stop
from lab.readings import ALIVE, CRASHED, GONE, SERVER, reading_of
from lab.servers import RedisServer, wait_for


def hammer(seconds: float, *works: Callable[[], None]) -> None:
    """Have each function called again and again, in threads of their own, and raise what any of them raised."""
    end = time.monotonic() + seconds
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            while time.monotonic() < end and not failed:
                work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_judge_is_shared_by_reads_probes_discovery_and_push() -> None:
    judge = Judge(30, 10)
    names = tuple(b"n%03d" % i for i in range(200))
    changes: list[object] = []
    judge.on_changes(changes.extend)
    dice = random.Random(1)  # noqa: S311 - repeatable

    def read() -> None:
        some = names if dice.random() < 0.5 else tuple(sorted(dice.sample(names, 50)))
        pairs = {name: dice.choice((ALIVE, ALIVE, ALIVE, CRASHED, GONE)) for name in some}
        verdicts = judge.judge(reading_of(pairs, time.monotonic(), SERVER, some))
        assert len(verdicts.states) == len(some)

    def probe() -> None:
        run = f"run-{dice.randint(1, 3)}" if dice.random() < 0.05 else "run-1"
        judge.observe(replace(SERVER, run_id=run), time.monotonic())

    def discover() -> None:
        judge.found(frozenset(names), time.monotonic())
        judge.keep(frozenset(dice.sample(names, 150)) | frozenset(judge.awaited(time.monotonic())))

    def push() -> None:
        judge.offline(), judge.members(), judge.undecided(), judge.mass_loss_since()
        for name in dice.sample(names, 20):
            judge.due(name), judge.last_beat(name), judge.offline_since(name)
        judge.ending_soon(time.monotonic())

    hammer(2, read, read, probe, discover, push)
    verdicts = judge.judge(reading_of(dict.fromkeys(names, ALIVE), time.monotonic() + 1, SERVER, names))
    assert set(verdicts.states) == {State.ONLINE}
    assert judge.undecided() == []
    assert judge.offline() == {}
    assert judge.members() == set()


@pytest.mark.timeout(120)
def test_fleet_is_read_watched_and_discovered_while_nodes_come_and_go(redis_server: RedisServer) -> None:
    settings = load({"redis.url": [redis_server.url], "heartbeat.ttl": "1s", "discovery.interval": "20ms"})
    with redis_server.client() as writer, Fleet(settings) as fleet:
        for number in range(50):
            beat(writer, f"n{number}", 60)
        wait_for(lambda: len(fleet.read().ids) == 50)
        fleet.attend(lambda _: None, 0.1)
        dice = random.Random(2)  # noqa: S311 - repeatable

        def live() -> None:
            node_id = f"n{dice.randint(0, 99)}"
            dice.choice((beat, beat, beat, crash, stop))(writer, node_id)

        def read() -> None:
            snapshot = fleet.read()
            assert len(snapshot.ids) == len(snapshot.states)

        hammer(3, live, read, read, read)
        for number in range(100):
            beat(writer, f"n{number}", 60)
        wait_for(lambda: fleet.read().counts[State.ONLINE] == 100, "for all nodes to be online")
        assert not fleet.judge.offline()
        for name in ("watch", "discovery"):
            assert name in {thread.name for thread in threading.enumerate()}
        assert (
            fleet.telemetry.registry.get_sample_value("ginkgo_exporter_internal_errors_total", {"part": "watch"}) == 0
        )
