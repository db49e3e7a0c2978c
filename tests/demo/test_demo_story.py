"""The demo's story as it is told on the terminal, and as the exporter shows it meanwhile."""

import re
from collections.abc import Callable

import pytest
from demos import FAST, Demo

from lab.servers import wait_for


def test_story_shows_in_the_metrics_and_is_told(demo: Callable[..., Demo]) -> None:
    running = demo(*FAST)
    wait_for(running.metrics)

    def up(node: str) -> float | None:
        return running.metrics().get(("ginkgo_node_up", node))

    wait_for(lambda: up("demo-node-2") == 0, "for the crash")
    assert planned(running, "demo-node-2") == 3
    wait_for(lambda: planned(running, "demo-node-2") == 0, "for the scheduler")
    wait_for(lambda: up("demo-node-2") == 1, "for the return")
    # Its counter starts at 0, and it has no portfolios. The hash is written after the heartbeat.
    counter = ("ginkgo_node_events_total", "demo-node-2")
    wait_for(lambda: counter in running.metrics(), "for the hash")
    assert running.metrics()[counter] == 0
    wait_for(lambda: running.metrics().get(("ginkgo_node_dropped_events_total", "demo-node-3"), 0) > 0, "for drops")
    wait_for(lambda: running.metrics() and up("demo-node-4") is None, "for the graceful stop")
    assert up("demo-node-1") == up("demo-node-5") == 1
    wait_for(lambda: up("demo-node-4") == 1, "for the return")
    told(
        running,
        "demo-node-2 crashes",
        "the exporter sees demo-node-2 offline",
        r"the exporter sees untraded \(node_offline\): portfolio-2-1, portfolio-2-2, portfolio-2-3",
        "the scheduler moves portfolio-2-1",
        "the exporter sees traded again: .*portfolio-2-3",
        "demo-node-2 starts again",
        "the exporter sees demo-node-2 online",
        "demo-node-3 is flooded",
        "the exporter sees demo-node-3 drop events",
        "demo-node-4 stops gracefully",
        "the exporter sees demo-node-4 gone",
    )
    assert "demo-node-4 offline" not in running.output()


def planned(running: Demo, node: str) -> float | None:
    return running.metrics().get(("ginkgo_node_planned_portfolios", node))


def told(running: Demo, *lines: str) -> None:
    """Wait until the demo has printed these lines in this order."""
    pattern = re.compile(".*".join(lines), re.DOTALL)
    wait_for(lambda: pattern.search(running.output()), f"for {lines}")


@pytest.mark.slow
def test_full_disk_makes_nobody_dead(demo: Callable[..., Demo]) -> None:
    running = demo(*FAST)
    wait_for(lambda: "The disk of Redis is full" in running.output(), "for the full disk", patience=90)
    online = "the exporter sees demo-node-1 online: its ginkgo_node_up is 1 again"
    wait_for(lambda: online in running.output(), "for the disk to have room", patience=60)
    story = running.output()[running.output().index("The disk of Redis is full") :]
    for line in (
        "the exporter sees ginkgo_redis_writes_refused 1",
        "demo-node-1 undecided",
        "the exporter sees unknown: portfolio-1-1",
        "the scheduler cannot rewrite the plan: Redis says MISCONF",
        "The disk has room again",
    ):
        assert line in story
    assert "offline" not in story.replace("node_offline", "")
    assert "orphan" not in story
    told(running, "The disk has room again", "the exporter sees ginkgo_redis_writes_refused 0")
    wait_for(lambda: "the exporter sees traded again" in running.output().split("The disk has room again")[-1])


def test_fast_demo_says_that_its_times_are_short(demo: Callable[..., Demo]) -> None:
    running = demo(*FAST, "--no-exporter")
    wait_for(lambda: "--fast: all times are a tenth" in running.output())
    slow = demo("--no-exporter")
    wait_for(lambda: "Ctrl-C ends all of it" in slow.output())
    assert "--fast" not in slow.output()
