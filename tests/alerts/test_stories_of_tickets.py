"""The stories of alerts that page nobody: in a file of their own, so that two workers share all stories."""

from pathlib import Path

import pytest
from alert_rules import severities
from promtool_file import ONCE, wrong
from story import STORIES


@pytest.mark.server("promtool")
@pytest.mark.parametrize("alert", [alert for alert in STORIES if "critical" not in severities(alert)])
def test_stories_of_tickets_come_true(alert: str, tmp_path: Path) -> None:
    assert wrong(alert, ONCE, tmp_path) == []
