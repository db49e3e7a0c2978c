"""The alerts that are pushed, with the labels and annotations of the Prometheus rules of the same name."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from exporter.bundled import RULES, bundled
from exporter.errors import SettingsError
from exporter.settings.values import require
from exporter.settings.yaml_file import read_yaml

NODE_OFFLINE: Final = "GinkgoNodeOffline"
MASS_LOSS: Final = "GinkgoMassHeartbeatLoss"
REDIS_UNREACHABLE: Final = "GinkgoRedisUnreachable"
WRITES_REFUSED: Final = "GinkgoRedisWritesRefused"
PUSHED: Final = (NODE_OFFLINE, MASS_LOSS, REDIS_UNREACHABLE, WRITES_REFUSED)

COUNT: Final = re.compile(r"\s*\{\{- if gt \$value 0\.0 \}\}(.*?)\{\{ end \}\}", re.DOTALL)
"""A part of a text that a pushed alert has only if its value is more than 0."""
VALUE: Final = "{{ $value }}"
"""The alert's value, which may stand in such a part only."""
LABEL: Final = re.compile(r"\{\{\s*\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
"""The label of an alert, which may stand anywhere in an annotation."""

Key = tuple[str, str]
"""What identifies an alert: its name, and the node or the mass loss that it is about, or an empty text."""


class Alert(NamedTuple):
    """One alert that lasts. Its times are monotonic, in seconds.

    Attributes:
        name: Its ``alertname``.
        subject: The node or the mass loss that it is about; empty if it is about Redis.
        since: When it began: for an offline node, when the node died.
        starts: What is posted as its begin. For a node, this is its last beat, so that Alertmanager waits for no
            other node that dies at the same time.
        seen: The latest moment of which it is known to be true.
        exact: Whether ``since`` is the end of a heartbeat.
        value: The value that the alert's rule would have: how many portfolios the plan gives to the node.
    """

    name: str
    subject: str
    since: float
    starts: float
    seen: float
    exact: bool = False
    value: int = 0

    @property
    def key(self) -> Key:
        """What identifies the alert."""
        return self.name, self.subject


class Rule(NamedTuple):
    """The texts of an alert's rule.

    Attributes:
        labels: Labels, without templates.
        annotations: Annotations; their only templates are those that ``filled_in`` knows.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class AlertTexts:
    """Labels and annotations of alerts, from Prometheus rules.

    Args:
        labels: Labels to add to every alert; those that a rule sets itself are overridden.
        rules_file: The rules that Prometheus uses; None for the bundled ones.
        external_url: How people reach this exporter, whose runbooks alerts then link to; None for the rules' links.

    Raises:
        SettingsError: The file cannot be used; its text is one line with the reason.
    """

    def __init__(
        self, labels: Mapping[str, str], rules_file: Path | None = None, external_url: str | None = None
    ) -> None:
        self._labels, self._external_url = dict(labels), external_url
        self._rules = load_rules(rules_file, PUSHED)

    def labels(self, alert: Alert) -> dict[str, str]:
        """Return the label set that Prometheus would give to an alert."""
        about = {"loss" if alert.name == MASS_LOSS else "node_id": alert.subject} if alert.subject else {}
        return {"alertname": alert.name, **self._rules[alert.name].labels, **self._labels, **about}

    def annotations(self, alert: Alert) -> dict[str, str]:
        """Return an alert's annotations, with the rule's templates filled in."""
        labels = self.labels(alert)
        texts = self._rules[alert.name].annotations
        filled = {name: filled_in(text, labels, alert.value) for name, text in texts.items()}
        if self._external_url:
            node = quote(labels.get("node_id", ""), safe="")
            query = f"?node_id={node}" if node else ""
            filled["runbook_url"] = f"{self._external_url}/runbooks/{alert.name}{query}"
        return filled


def filled_in(text: str, labels: Mapping[str, str], value: int) -> str:
    """Return an annotation with its templates filled in, as Prometheus does it.

    Args:
        text: The annotation.
        labels: The alert's labels; a missing label is an empty text.
        value: The alert's value.
    """
    counted = COUNT.sub(lambda match: match[1].replace(VALUE, str(value)) if value > 0 else "", text)
    return LABEL.sub(lambda match: labels.get(match[1], ""), counted)


def load_rules(path: Path | None, wanted: Collection[str]) -> dict[str, Rule]:
    """Return the rules of some alerts.

    Args:
        path: A rules file, or a PrometheusRule object; None for the bundled rules.
        wanted: Names of the alerts.

    Raises:
        SettingsError: The file cannot be used for these alerts; its text is one line with the reason.
    """
    try:
        content = read_yaml(path or bundled(RULES))
        rules = [rule for group in content.get("spec", content)["groups"] for rule in group["rules"]]
        found = {rule["alert"]: _rule(rule) for rule in rules if rule.get("alert") in wanted}
        missing = sorted(set(wanted) - found.keys())
        require(not missing, f"it has no alert {', '.join(missing)}")
    except (AttributeError, KeyError, TypeError):
        raise SettingsError("--alertmanager.rules-file: it is not a file of Prometheus rules") from None
    except ValueError as error:
        raise SettingsError(f"--alertmanager.rules-file: {error}") from None
    return found


def _rule(rule: Mapping[str, Any]) -> Rule:
    labels, annotations = dict(rule.get("labels") or {}), dict(rule.get("annotations") or {})
    texts = {**labels, **{key: filled_in(text, {}, 1) for key, text in annotations.items()}}
    for key, text in texts.items():
        require("{{" not in text, f"{rule['alert']}: {key}: a pushed alert can't fill in this template")
    return Rule(labels, annotations)
