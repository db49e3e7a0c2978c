"""Each alert on a simulated fleet fires when it should, stays silent otherwise, and ends."""

from pathlib import Path

import pytest
from alert_rules import alerts, severities
from promtool_file import KINDS, ONCE, wrong
from story import STORIES, Story

WITHOUT_A_FLEET = {"GinkgoPushFailing", "GinkgoWatchdog"}
"""Alerts that a simulated fleet cannot raise: their series are written by hand."""


@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", [alert for alert in STORIES if "critical" in severities(alert)])
def test_stories_of_pages_come_true(alert: str, tmp_path: Path) -> None:
    assert wrong(alert, ONCE, tmp_path) == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", STORIES)
def test_stories_of_every_kind_come_true(alert: str, tmp_path: Path) -> None:
    for interval, opened in KINDS:
        assert wrong(alert, [(interval, opened)], tmp_path / f"{interval}-{opened}") == ""


def test_each_alert_has_a_story_in_which_it_fires_one_in_which_it_ends_and_one_in_which_it_is_silent() -> None:
    assert STORIES.keys() == alerts().keys() - WITHOUT_A_FLEET
    for alert, titles in STORIES.items():
        stories = [Story(alert, **told) for told in titles.values()]
        told = [[turn.fires for turns in story.turns.values() for turn in turns] for story in stories]
        assert any(True in fires for fires in told), f"{alert} has no story in which it fires"
        assert any(False in fires for fires in told), f"{alert} has no story in which it ends"
        assert [] in told, f"{alert} has no story in which it stays silent"
        assert any(story.says for story in stories), f"{alert} has no story that tells its texts"
