"""Each alert on a simulated fleet fires when it should, stays silent otherwise, and ends."""

from pathlib import Path

import pytest
from alert_rules import alerts, cut_down_to, first_failure, left_open, needed_by
from simulated.story import STORIES
from story_files import INTERVALS, story_test

TOLD = [(alert, title) for alert, titles in STORIES.items() for title in titles]
WITHOUT_A_FLEET = {"GinkgoPushFailing", "GinkgoWatchdog"}
"""Alerts that a simulated fleet cannot raise: their series are written by hand."""


@pytest.mark.server("promtool")
@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize(("alert", "title"), TOLD)
def test_story(alert: str, title: str, interval: int, tmp_path: Path) -> None:
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    # Two intervals and two kinds of ranges are tested in two runs, since four runs take too long.
    if interval != INTERVALS[0]:
        tested = left_open(tested)
    assert first_failure({f"{title}.yml": story_test(alert, title, interval)}, tested, tmp_path) == ""


@pytest.mark.slow
@pytest.mark.server("promtool")
@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize(("alert", "title"), TOLD)
def test_story_with_the_other_kind_of_ranges(alert: str, title: str, interval: int, tmp_path: Path) -> None:
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    if interval == INTERVALS[0]:
        tested = left_open(tested)
    assert first_failure({f"{title}.yml": story_test(alert, title, interval)}, tested, tmp_path) == ""


def test_each_alert_has_a_story_in_which_it_fires_one_in_which_it_ends_and_one_in_which_it_is_silent() -> None:
    assert STORIES.keys() == alerts().keys() - WITHOUT_A_FLEET
    for alert, titles in STORIES.items():
        told = [[turn.fires for turns in tell().turns.values() for turn in turns] for tell in titles.values()]
        assert any(True in fires for fires in told), f"{alert} has no story in which it fires"
        assert any(False in fires for fires in told), f"{alert} has no story in which it ends"
        assert [] in told, f"{alert} has no story in which it stays silent"
