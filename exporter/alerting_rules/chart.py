"""The rule file for the Helm chart: each place that a value of the chart can change has a name between « and »."""

from typing import Any, Final

from exporter.alerting_rules.configured import QUEUE_SHARES, Parts, Rule, with_parts, with_wait
from exporter.alerting_rules.rule_file import edited
from exporter.alerting_rules.thresholds import THRESHOLDS

SELECTORS: Final = "«selectors»"
QUEUE_LENGTH: Final = "«queueLength»"
WAIT: Final = "«for»"


def camel(name: str) -> str:
    """Return a threshold's name as the chart has it: ``queueSize`` for ``queue-size``."""
    first, *others = name.split("-")
    return first + "".join(word.capitalize() for word in others)


_PARTS: Final = Parts(
    {(alert, name): f"«{alert}.{camel(name)}»" for alert, thresholds in THRESHOLDS.items() for name in thresholds},
    QUEUE_LENGTH,
    (SELECTORS,),
)


def chart_rules(text: str) -> str:
    """Return a rule file with a name at each place that a value of the chart can change."""
    return edited(text, _named)


def chart_thresholds() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what the chart must know of thresholds: the defaults, and those that are a share of a queue's length."""
    shares: dict[str, dict[str, Any]] = {}
    for (alert, name), share in QUEUE_SHARES.items():
        shares.setdefault(alert, {})[camel(name)] = share
    defaults = {
        alert: {camel(name): each.default for name, each in thresholds.items()}
        for alert, thresholds in THRESHOLDS.items()
    }
    return {"defaults": defaults, "sharesOfQueue": shares}


def _named(rule: Rule) -> Rule:
    made = with_parts(rule, _PARTS)
    if "for" in made:
        made = {**with_wait(made, WAIT), "for": made["for"]}
    return made
