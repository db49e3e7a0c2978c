"""Each alert on a simulated fleet fires when it should, stays silent otherwise, and ends.

The stories also notice faults: each rule is broken on purpose, and then they must fail. Both are in one file, so
that one process tells each story once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alert_rules import alerts, cut_down_to, first_failure, left_open, name_of, needed_by, recordings, unit_tests
from mutations import HARMLESS, Mutant, mutants
from simulated.story import STORIES
from story_files import INTERVALS, story_test, story_tests

TOLD = [(alert, title) for alert, titles in STORIES.items() for title in titles]
KINDS = [(interval, opened) for interval in INTERVALS for opened in (False, True)]
"""Each interval between scrapes, with the ranges of Prometheus 2 and of Prometheus 3."""
ONCE = [(*told, *KINDS[0 if number % 2 else -1]) for number, told in enumerate(TOLD)]
"""Each story once, in turns with the first kind and with the last one: all kinds of all stories take minutes."""
OTHERS = [(*told, *kind) for told in TOLD for kind in KINDS if (*told, *kind) not in ONCE]
WITHOUT_A_FLEET = {"GinkgoPushFailing", "GinkgoWatchdog"}
"""Alerts that a simulated fleet cannot raise: their series are written by hand."""


def tell(alert: str, title: str, interval: int, folder: Path, *, opened: bool) -> str:
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    return first_failure(
        {f"{title}.yml": story_test(alert, title, interval)}, left_open(tested) if opened else tested, folder
    )


@pytest.mark.server("promtool")
@pytest.mark.parametrize(("alert", "title", "interval", "opened"), ONCE)
def test_story(alert: str, title: str, interval: int, tmp_path: Path, *, opened: bool) -> None:
    assert tell(alert, title, interval, tmp_path, opened=opened) == ""


@pytest.mark.slow
@pytest.mark.server("promtool")
@pytest.mark.parametrize(("alert", "title", "interval", "opened"), OTHERS)
def test_story_of_another_kind(alert: str, title: str, interval: int, tmp_path: Path, *, opened: bool) -> None:
    assert tell(alert, title, interval, tmp_path, opened=opened) == ""


def test_each_alert_has_a_story_in_which_it_fires_one_in_which_it_ends_and_one_in_which_it_is_silent() -> None:
    assert STORIES.keys() == alerts().keys() - WITHOUT_A_FLEET
    for alert, titles in STORIES.items():
        told = [[turn.fires for turns in tell().turns.values() for turn in turns] for tell in titles.values()]
        assert any(True in fires for fires in told), f"{alert} has no story in which it fires"
        assert any(False in fires for fires in told), f"{alert} has no story in which it ends"
        assert [] in told, f"{alert} has no story in which it stays silent"


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
