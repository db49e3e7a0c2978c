"""Changes the rules as the settings say, one rule after the other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.alerting_rules.model import INSTALLATION_LABEL, JOB, AlertChange, RuleSettings
from exporter.alerting_rules.promql import with_matchers, with_ranges
from exporter.alerting_rules.thresholds import EXPR, QUEUE_LENGTH, THRESHOLDS, Place
from exporter.settings import format_duration, parse_duration

Rule = dict[str, Any]
"""A rule as it stands in a rule file."""

_USUAL_INTERVAL: Final = 30.0
"""Seconds of the longest scrape interval for which the rule file's own times are right."""
_SHORT: Final = 300.0
"""Seconds. Times below are longer in proportion if scrapes are rarer than usual."""
QUEUE_SHARES: Final = {
    ("GinkgoQueueGrowing", "queue-size"): 0.7,
    ("GinkgoQueueGrowing", "predicted-size"): 0.95,
    ("GinkgoNodeStalled", "queue-size"): 0.95,
}
"""Thresholds that are a share of a queue's length."""
_CLUSTER: Final = re.compile(rf"(\$labels|\$externalLabels)\.{INSTALLATION_LABEL}\b")
_PUSHED_WITH_NODE: Final = "GinkgoNodeOffline"
"""The exporter pushes this alert too, and fills in labels only if they have no function behind them."""
_LATE: Final = ("GinkgoHeartbeatLate", "ttl-seconds")


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands in the rules' queries and texts, as text.

    Attributes:
        numbers: Each changed threshold, by alert and name.
        queue_length: The length of a queue.
        matchers: Conditions for each series.
        job: Name of the scrape job.
    """

    numbers: Mapping[tuple[str, str], str]
    queue_length: str
    matchers: Sequence[str]
    job: str = JOB

    @classmethod
    def of(cls, settings: RuleSettings) -> "Parts":
        """Return what the settings say."""
        length, ttl = settings.queue_length, parse_duration(settings.heartbeat_ttl)
        numbers = {key: f"{share * length:g}" for key, share in QUEUE_SHARES.items()}
        numbers[_LATE] = f"{ttl / 2:g}"
        numbers |= {
            (alert, name): f"{number:g}"
            for alert, change in settings.alerts.items()
            for name, number in change.thresholds.items()
        }
        return cls(numbers, f"{length:,}", [str(matcher) for matcher in settings.matchers], settings.job)


def with_parts(rule: Rule, parts: Parts) -> Rule:
    """Return a rule with other numbers, conditions and job in its query and in its description.

    Raises:
        ValueError: A number is not at its place in the rule file. A test excludes it.
    """
    name = rule.get("alert") or rule["record"]
    made = rule
    for (alert, threshold), number in parts.numbers.items():
        for place in THRESHOLDS[alert][threshold].places:
            if (place.rule or alert) == name:
                made = _placed(made, place, number)
    if name == QUEUE_LENGTH.rule:
        made = _placed(made, QUEUE_LENGTH, parts.queue_length)
    expr = made[EXPR].replace(f'job="{JOB}"', f'job="{parts.job}"')
    return {**made, EXPR: with_matchers(expr, parts.matchers)}


def with_wait(rule: Rule, wait: str) -> Rule:
    """Return an alert with another ``for``. A text that names the old one, such as ``For 5m``, names the new one."""
    old = rule.get("for")
    made = {**rule, "for": wait}
    if old:
        named = re.compile(rf"(?<=[Ff]or ){re.escape(old)}\b")
        made["annotations"] = {key: named.sub(wait, text) for key, text in rule["annotations"].items()}
    return made


def configured(rule: Rule, settings: RuleSettings, parts: Parts) -> Rule | None:
    """Return a rule as the settings want it; None if it is left out.

    Args:
        rule: A rule of the rule file.
        settings: The settings.
        parts: ``Parts.of(settings)``, which is the same for all rules.
    """
    made = _stretched(with_parts(rule, parts), settings)
    if "alert" not in rule:
        return made
    change = settings.alerts.get(rule["alert"]) or AlertChange()
    if not change.enabled:
        return None
    if change.wait is not None:
        made = with_wait(made, change.wait)
    if change.keep_firing_for is not None:
        made = {**made, "keep_firing_for": change.keep_firing_for}
    severity = {"severity": change.severity} if change.severity else {}
    labels = {**made["labels"], **severity, **settings.labels, **change.labels}
    return {**made, "labels": labels, "annotations": _linked(made, settings)}


def _linked(rule: Rule, settings: RuleSettings) -> dict[str, str]:
    annotations: dict[str, str] = dict(rule["annotations"])
    links = settings.links
    if links.runbooks:
        node = "" if links.runbook_ending else _node(rule)
        annotations["runbook_url"] = f"{links.runbooks}/{rule['alert']}{links.runbook_ending}{node}"
    path = _CLUSTER.sub(rf"\1.{links.installation_label}", annotations["dashboard_url"])
    annotations["dashboard_url"] = (links.dashboards or "") + path
    return annotations


def _node(rule: Rule) -> str:
    """Return the end of a link by which the exporter fills the node into a runbook; empty for alerts without a node."""
    if "$labels.node_id" not in str(rule["annotations"]):
        return ""
    return f"?node_id={{{{ $labels.node_id{'' if rule['alert'] == _PUSHED_WITH_NODE else ' | urlquery'} }}}}"


def _stretched(rule: Rule, settings: RuleSettings) -> Rule:
    """Return a rule whose short times are longer in proportion, if scrapes are rarer than usual."""
    interval = parse_duration(settings.scrape_interval or "0")
    if interval <= _USUAL_INTERVAL:
        return rule

    def longer(text: str) -> str:
        seconds = parse_duration(text)
        return format_duration(seconds * interval / _USUAL_INTERVAL) if 0 < seconds < _SHORT else text

    made = {**rule, EXPR: with_ranges(rule[EXPR], longer)}
    if "keep_firing_for" in rule:
        made["keep_firing_for"] = longer(rule["keep_firing_for"])
    return with_wait(made, longer(rule["for"])) if "for" in rule else made


def _placed(rule: Rule, place: Place, number: str) -> Rule:
    texts = rule if place.field == EXPR else rule["annotations"]
    text = texts[place.field]
    if text.count(place.plain) != 1:
        raise ValueError(f"{place.plain!r} does not stand in the rule once")
    changed = {**texts, place.field: text.replace(place.plain, place.with_number(number))}
    return changed if place.field == EXPR else {**rule, "annotations": changed}
