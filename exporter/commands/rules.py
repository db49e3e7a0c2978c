"""``ginkgo-exporter rules``: prints the alert rules with an operator's settings, or their unit tests."""

import argparse
import sys
from pathlib import Path

from exporter.alerting_rules.loading import load
from exporter.alerting_rules.rule_file import rules_text
from exporter.alerting_rules.unit_tests import unit_tests
from exporter.settings import Settings


def run(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the rules or the tests and return 0.

    Raises:
        SettingsError: The settings cannot be used; a line for each error.
    """
    settings = load(Path(arguments.rules_config) if arguments.rules_config else None)
    sys.stdout.write(unit_tests(settings, arguments.tests) if arguments.tests else rules_text(settings))
    return 0
