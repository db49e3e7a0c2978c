"""The stories of alerts that page nobody: in a file of their own, so that two workers share all stories."""

from pathlib import Path

import pytest
from alert_rules import severities
from promtool_file import ONCE, wrong
from story import STORIES

TITLES = {alert: list(titles) for alert, titles in STORIES.items() if "critical" not in severities(alert)}


@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", TITLES)
def test_the_first_two_stories_of_a_ticket_come_true(alert: str, tmp_path: Path) -> None:
    assert wrong(alert, ONCE, tmp_path, TITLES[alert][:2]) == ""


@pytest.mark.rest
@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", [alert for alert, titles in TITLES.items() if titles[2:]])
def test_other_stories_of_tickets_come_true(alert: str, tmp_path: Path) -> None:
    assert wrong(alert, ONCE, tmp_path, TITLES[alert][2:]) == ""
