"""The stories of alerts, written as files of unit tests for promtool."""

import json
from functools import cache

import stories  # noqa: F401 - importing it defines all stories
from alert_rules import Tests, alerts, cut_down_to, needed_by
from simulated.promtool_file import PromtoolFile
from simulated.story import STORIES

INTERVALS = (15, 30)
"""Scrape intervals in seconds with which the rules must work."""


@cache
def story_test(alert: str, title: str, interval: int) -> str:
    """Return a story about an alert as a file of unit tests."""
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    # Prometheus evaluates groups in any order. This is the worst order: an alert comes before its recordings.
    order = sorted(tested, key=lambda group: not any(rule.get("alert") == alert for rule in group["rules"]))
    written = PromtoolFile(STORIES[alert][title](), alerts()[alert], interval)
    return json.dumps(written.document(title, [group["name"] for group in order]))


def story_tests(alert: str, interval: int = INTERVALS[0]) -> Tests:
    """Return all stories about an alert as files of unit tests."""
    return {f"{title}.yml": story_test(alert, title, interval) for title in STORIES.get(alert, ())}
