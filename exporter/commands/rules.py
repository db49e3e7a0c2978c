"""``ginkgo-exporter rules``: prints the alert rules with an operator's settings."""

import argparse
import sys
from pathlib import Path

from exporter.alerting_rules.rules import rules_text
from exporter.settings import Settings


def run(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the rules and return 0.

    Raises:
        SettingsError: The settings cannot be used; a line for each error.
    """
    sys.stdout.write(rules_text(Path(arguments.rules_config) if arguments.rules_config else None))
    return 0
