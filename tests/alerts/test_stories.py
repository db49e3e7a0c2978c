"""Each alert on a simulated fleet fires when it should, stays silent otherwise, and ends."""

from pathlib import Path

import pytest
from alert_rules import alerts, cut_down_to, first_failure, left_open, needed_by
from promtool_file import INTERVALS, story_test
from story import STORIES, Story

KINDS = [(interval, opened) for interval in INTERVALS for opened in (False, True)]
"""Each interval between scrapes, with the ranges of Prometheus 2 and of Prometheus 3."""
WITHOUT_A_FLEET = {"GinkgoPushFailing", "GinkgoWatchdog"}
"""Alerts that a simulated fleet cannot raise: their series are written by hand."""


def wrong(alert: str, kinds: list[tuple[int, bool]], folder: Path) -> list[str]:
    """Tell an alert's stories, in turns of these kinds; return what promtool says of those that fail."""
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    said = []
    for number, title in enumerate(STORIES[alert]):
        interval, opened = kinds[number % len(kinds)]
        tests = {f"{title}.yml": story_test(alert, title, interval)}
        said.append(
            first_failure(tests, left_open(tested) if opened else tested, folder / f"{number}-{interval}-{opened}")
        )
    return [each for each in said if each]


@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", STORIES)
def test_stories_come_true(alert: str, tmp_path: Path) -> None:
    # Each story once, with the first kind or with the last one: all kinds of all stories take minutes.
    assert wrong(alert, [KINDS[0], KINDS[-1]], tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", STORIES)
def test_stories_of_every_kind_come_true(alert: str, tmp_path: Path) -> None:
    assert [said for kind in KINDS for said in wrong(alert, [kind], tmp_path)] == []


def test_each_alert_has_a_story_in_which_it_fires_one_in_which_it_ends_and_one_in_which_it_is_silent() -> None:
    assert STORIES.keys() == alerts().keys() - WITHOUT_A_FLEET
    for alert, titles in STORIES.items():
        stories = [Story(alert, **told) for told in titles.values()]
        told = [[turn.fires for turns in story.turns.values() for turn in turns] for story in stories]
        assert any(True in fires for fires in told), f"{alert} has no story in which it fires"
        assert any(False in fires for fires in told), f"{alert} has no story in which it ends"
        assert [] in told, f"{alert} has no story in which it stays silent"
        assert any(story.says for story in stories), f"{alert} has no story that tells its texts"
