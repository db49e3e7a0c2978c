"""The unit tests of the rules notice faults: each rule is broken on purpose, and they must fail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alert_rules import alerts, cut_down_to, first_failure, name_of, needed_by, recordings, unit_tests
from mutations import Mutant, mutants
from story_files import story_tests

_NO_SOURCES = "no 'and ignoring (instance, pod, container, endpoint)'"
HARMLESS = {
    # Two windows end the alert, and either of them is enough.
    "GinkgoNodesDisappeared: 30m times 4 at 179",
    "GinkgoNodesDisappeared: 30m times 4 at 283",
    # A longer memory, or a wider window of yesterday.
    "installation:ginkgo_nodes:all_offline: 1h times 4 at 265",
    "installation:ginkgo_nodes_online:max1h: 1h times 4 at 81",
    "GinkgoNodesUndecided: 2m times 4 at 172",
    "installation:ginkgo_workers:no_task_timer: 1h times 4 at 310",
    "node:ginkgo_node_dropped_events_total:last1h: 1h times 4 at 58",
    "node:ginkgo_node_events_total:last1h: 1h times 4 at 49",
    "node:ginkgo_node_backpressure:yesterday_max30m_rate5m: 30m times 4 at 56",
    # The bridging of gaps is tested with drops, and not again with events.
    "node:ginkgo_node_events_total:last1h: 1h by 4 at 49",
    # This part only saves Prometheus work.
    f"node:ginkgo_node_dropped_events_total:since_restart: {_NO_SOURCES} in line 5",
    "node:ginkgo_node_dropped_events_total:since_restart: matched across installations",
    "node:ginkgo_node_backpressure:some_rate5m: 0.03 by 4 at 39",
    # The baseline then has a minute or two of the spike among its sixty minutes.
    "node:ginkgo_node_backpressure:avg1h_rate5m: 5m by 4 at 62",
    # The tests of the recordings check the windows of rates, and that two exporters make one series.
    "node:ginkgo_node_events:rate5m: instance kept",
    "node:ginkgo_node_events:rate5m: instance kept at 13",
    "node:ginkgo_node_backpressure:rate5m: 5m by 4 at 86",
    "node:ginkgo_node_events:rate5m: 5m by 4 at 80",
    "node:ginkgo_node_events:rate5m: 5m times 4 at 80",
    # A slope over another time, and a slope that reaches 950 exactly.
    "GinkgoQueueGrowing: >= made > at 109",
    "GinkgoQueueGrowing: 10m times 4 at 97",
    "GinkgoQueueGrowing: 10m by 4 at 97",
    # A queue that has to stand still for a shorter time must still do so for the five minutes of `for`.
    "GinkgoNodeStalled: 5m by 4 at 155",
    # Of whole numbers of nodes the same ones are more than half.
    "GinkgoNodeDeaf: 1 by 4 at 395",
    # Exactly two minutes.
    "GinkgoSchedulerStalled: >= made > at 123",
    # Another exporter reads Redis from time to time; `for` is longer than either window.
    "GinkgoExporterDegraded: 0.5 by 4 at 346",
    "GinkgoExporterDegraded: 2m times 4 at 339",
    "GinkgoExporterDegraded: 2m by 4 at 339",
    # The simulated discovery takes 10 ms.
    "GinkgoExporterDegraded: 100 times 4 at 587",
    "GinkgoExporterDegraded: 100 by 4 at 587",
    # Any value fires.
    "GinkgoWatchdog: 1 times 4 at 7",
    "GinkgoWatchdog: 1 by 4 at 7",
}
"""Changes that change no alert in a way that matters. Each has its reason above it."""


def broken_rules(alert: str) -> Iterator[Mutant]:
    """Yield broken copies of an alert and of each recording that it reads, each broken in one way."""
    known = alerts() | recordings()
    for name in (alert, *sorted(needed_by(known[alert]))):
        yield from (mutant for mutant in mutants(known[name]) if mutant.title not in HARMLESS)


def unnoticed(alert: str, broken: list[Mutant], folder: Path) -> list[str]:
    """Run the alert's stories and unit tests on each broken rule; return the broken rules that pass."""
    needed = {alert} | needed_by(alerts()[alert])
    tests = story_tests(alert) | unit_tests(alert)

    def run(job: tuple[int, Mutant]) -> str | None:
        number, mutant = job
        said = first_failure(tests, cut_down_to(needed, mutant.rule), folder / str(number))
        assert "parse error" not in said, f"{mutant.title}: {said}"
        return None if said else mutant.title

    with ThreadPoolExecutor(2) as pool:
        return [title for title in pool.map(run, enumerate(broken)) if title]


def test_every_harmless_change_belongs_to_a_present_rule() -> None:
    titles = {mutant.title for rule in (alerts() | recordings()).values() for mutant in mutants(rule)}
    assert titles >= HARMLESS


@pytest.mark.parametrize("alert", alerts())
@pytest.mark.server("promtool")
def test_a_rule_broken_in_one_way_of_each_kind_is_noticed(alert: str, tmp_path: Path) -> None:
    own = [mutant for mutant in broken_rules(alert) if name_of(mutant.rule) == alert]
    one_of_each = {mutant.kind: mutant for mutant in own if mutant.kind != "duration"}
    assert one_of_each
    assert unnoticed(alert, list(one_of_each.values()), tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("alert", alerts())
@pytest.mark.server("promtool")
def test_a_rule_broken_in_any_way_is_noticed(alert: str, tmp_path: Path) -> None:
    assert unnoticed(alert, list(broken_rules(alert)), tmp_path) == []
