"""The alerts that are pushed, with the labels and annotations of the Prometheus rules of the same name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
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
        over: Whether it has ended.
    """

    name: str
    subject: str
    since: float
    starts: float
    seen: float
    exact: bool = False
    value: int = 0
    over: bool = False

    @property
    def key(self) -> Key:
        """What identifies the alert."""
        return self.name, self.subject


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
        self._rules = load_rules(rules_file)

    def labels(self, alert: Alert) -> dict[str, str]:
        """Return the label set that Prometheus would give to an alert."""
        about = {"loss" if alert.name == MASS_LOSS else "node_id": alert.subject} if alert.subject else {}
        return {"alertname": alert.name, **self._rules[alert.name][0], **self._labels, **about}

    def annotations(self, alert: Alert) -> dict[str, str]:
        """Return an alert's annotations, with the rule's templates filled in."""
        labels, texts = self.labels(alert), self._rules[alert.name][1]
        filled = {name: filled_in(text, labels, alert.value) for name, text in texts.items()}
        if self._external_url:
            query = f"?node_id={quote(alert.subject, safe='')}" if alert.name == NODE_OFFLINE else ""
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


def load_rules(path: Path | None) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Return the labels and the annotations of the pushed alerts' rules.

    Args:
        path: A rules file, or a PrometheusRule object; None for the bundled rules.

    Raises:
        SettingsError: The file cannot be used for these alerts; its text is one line with the reason.
    """
    found = {}
    try:
        content = read_yaml(path or bundled(RULES))
        rules = [rule for group in content.get("spec", content)["groups"] for rule in group["rules"]]
        given = {rule["alert"]: rule for rule in rules if "alert" in rule}
        for name in PUSHED:
            labels, annotations = (dict(given[name].get(part) or {}) for part in ("labels", "annotations"))
            found[name] = labels, annotations
            texts = labels | {key: filled_in(text, {}, 1) for key, text in annotations.items()}
            require("{{" not in "".join(texts.values()), f"{name}: a pushed alert can't fill in one of its templates")
    except (AttributeError, KeyError, TypeError):
        reason = f"it is not a file of Prometheus rules with {', '.join(PUSHED)}"
        raise SettingsError(f"--alertmanager.rules-file: {reason}") from None
    except ValueError as error:
        raise SettingsError(f"--alertmanager.rules-file: {error}") from None
    return found
