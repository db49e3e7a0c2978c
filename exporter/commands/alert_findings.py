"""What ``check`` finds at an Alertmanager: whether it takes posts, and whether Prometheus writes the same labels.

Alerts with different labels are different alerts: if Prometheus adds a label that pushed alerts lack, each death
pages twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from exporter.commands.finding import Finding
from exporter.errors import SettingsError
from exporter.journal.sentences import shown
from exporter.push.alertmanager import Alertmanager
from exporter.push.alerts import PUSHED, AlertTexts
from exporter.push.config import HttpConfig
from exporter.push.rules import Rule, load_rules
from exporter.push.transport import Transport
from exporter.settings import Alertmanager as Settings

_WATCHDOG: Final = "GinkgoWatchdog"
"""The alert that Prometheus always posts."""
_ALERTS: Final = "/api/v2/alerts?filter=" + quote(f'alertname="{_WATCHDOG}"')


async def try_alertmanager(url: str, config: HttpConfig, settings: Settings) -> tuple[str, str, list[Finding]]:
    """Return why an empty post failed, a remark on the clocks, and the findings; a text is empty without a problem.

    Args:
        url: The Alertmanager.
        config: Authentication and TLS.
        settings: The labels of pushed alerts.
    """
    transport = Transport(url, config)
    alertmanager = Alertmanager(url, AlertTexts({}), config=config, posted=lambda *_: None, transport=transport)
    try:
        problem = await alertmanager.try_once()
        posted = None if problem or settings.sole_writer else await transport.get(_ALERTS)
    finally:
        alertmanager.close()
    clocks = alertmanager.clocks
    remark = (
        "" if clocks.doubtful or not clocks.problem else f"; but {clocks.problem}, so alerts end by its resolve_timeout"
    )
    findings = [] if posted is None else list(_compared(_label_sets(posted), settings))
    return problem, remark, findings


def rule_findings(settings: Settings) -> Iterator[Finding]:
    """Yield the labels in the settings that replace a label of a rule.

    Raises:
        SettingsError: The rules file cannot be used.
    """
    rules = load_rules(settings.rules_file, PUSHED)
    for label, text in sorted(settings.labels.items()):
        replaced = {rule.labels[label] for rule in rules.values() if label in rule.labels} - {text}
        if replaced:
            yield Finding(
                f"--alertmanager.label {label}={shown(text)} replaces {label}={shown(', '.join(sorted(replaced)))} of"
                " the rules. If Prometheus does not do the same, each page comes twice",
                "Write the same label into Prometheus's rules, and give them with --alertmanager.rules-file",
            )


def _label_sets(body: bytes) -> list[Mapping[str, str]]:
    """Return the labels of the alerts in an answer; nothing of an answer that is no list of alerts."""
    try:
        alerts: Any = json.loads(body)
        return [dict(alert["labels"]) for alert in alerts]
    except (ValueError, TypeError, KeyError):
        return []


def _compared(watchdogs: Iterable[Mapping[str, str]], settings: Settings) -> Iterator[Finding]:
    """Yield the labels that Prometheus adds to all of its alerts there, and that pushed alerts do not have."""
    rule, own = _watchdog_rule(settings), settings.labels
    added = [
        {name: text for name, text in labels.items() if name != "alertname" and name not in rule.labels}
        for labels in watchdogs
    ]
    differing = [{name: text for name, text in labels.items() if own.get(name) != text} for labels in added]
    if not added:
        yield Finding(
            f"it has no alert {_WATCHDOG}, so Prometheus posts no alerts of these rules to it, and its labels cannot be"
            " compared with --alertmanager.label",
            "See alerting.alertmanagers and rule_files of Prometheus, or set --alertmanager.sole-writer without it",
        )
    elif all(differing):
        fewest = min(differing, key=len)
        wanted = " ".join(f"--alertmanager.label={name}={shown(text)}" for name, text in sorted(fewest.items()))
        yield Finding(
            f"Prometheus writes its alerts there with {_written(fewest)}, and pushed alerts lack this, so each page"
            " comes twice",
            f"Give {wanted}",
            must=True,
        )


def _watchdog_rule(settings: Settings) -> Rule:
    try:
        return load_rules(settings.rules_file, (_WATCHDOG,))[_WATCHDOG]
    except SettingsError:  # a rules file needs the pushed alerts only
        return load_rules(None, (_WATCHDOG,))[_WATCHDOG]


def _written(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={shown(text)}" for name, text in sorted(labels.items()))
