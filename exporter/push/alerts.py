"""The alerts that are pushed, with the labels and annotations of the Prometheus rules of the same name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from exporter.push.rules import filled_in, load_rules

NODE_OFFLINE: Final = "GinkgoNodeOffline"
MASS_LOSS: Final = "GinkgoMassHeartbeatLoss"
REDIS_UNREACHABLE: Final = "GinkgoRedisUnreachable"
WRITES_REFUSED: Final = "GinkgoRedisWritesRefused"
LONGEST_NODE: Final = 2000
"""Characters of a node's id in a link; a link with a longer one would be too long for browsers."""
PUSHED: Final = (NODE_OFFLINE, MASS_LOSS, REDIS_UNREACHABLE, WRITES_REFUSED)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that lasts. Its times are monotonic, in seconds.

    Attributes:
        name: Its ``alertname``.
        node_id: The node that it is about; empty if it is about no single node.
        began: When its cause began; for an offline node, the time of its last beat.
        expired: When that node's heartbeat ended; None if that time is unknown, and for other alerts.
        value: The value that the alert's rule would have: how many portfolios the plan gives to the node.
    """

    name: str
    node_id: str
    began: float
    expired: float | None = None
    value: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The name and the node, which identify the alert."""
        return self.name, self.node_id


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
        self._external_url = external_url
        self._rules = load_rules(rules_file, PUSHED)
        self._labels = dict(labels)

    def labels(self, alert: Alert) -> dict[str, str]:
        """Return the label set that Prometheus would give to an alert."""
        node = {"node_id": alert.node_id} if alert.node_id else {}
        return {"alertname": alert.name, **self._rules[alert.name].labels, **self._labels, **node}

    def annotations(self, alert: Alert) -> dict[str, str]:
        """Return an alert's annotations, with the rule's templates filled in."""
        labels = self.labels(alert)
        texts = self._rules[alert.name].annotations
        filled = {name: filled_in(text, labels, alert.value) for name, text in texts.items()}
        return filled | ({"runbook_url": self._runbook(alert)} if self._external_url else {})

    def _runbook(self, alert: Alert) -> str:
        node = quote(alert.node_id, safe="")
        query = f"?node_id={node}" if 0 < len(node) <= LONGEST_NODE else ""
        return f"{self._external_url}/runbooks/{alert.name}{query}"
