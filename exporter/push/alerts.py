"""The alerts that are pushed, with the labels and annotations of the Prometheus rules of the same name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.push.rules import LABEL, load_rules

NODE_OFFLINE: Final = "GinkgoNodeOffline"
MASS_LOSS: Final = "GinkgoMassHeartbeatLoss"
REDIS_UNREACHABLE: Final = "GinkgoRedisUnreachable"
WRITES_REFUSED: Final = "GinkgoRedisWritesRefused"
PUSHED: Final = (NODE_OFFLINE, MASS_LOSS, REDIS_UNREACHABLE, WRITES_REFUSED)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that lasts.

    Attributes:
        name: Its ``alertname``.
        node_id: The node that it is about; empty if it is about none.
        began: Monotonic time at which what it tells of began: a node's last heartbeat.
        expired: Monotonic time at which that heartbeat ended; None if that was not seen coming.
    """

    name: str
    node_id: str
    began: float
    expired: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.name, self.node_id


class Texts:
    """Labels and annotations of alerts, from Prometheus rules.

    Args:
        labels: Labels to add to every alert; those that a rule sets itself are overridden.
        rules_file: The rules that Prometheus uses; None for the bundled ones.

    Raises:
        SettingsError: The file cannot be used; one line saying why.
    """

    def __init__(self, labels: Mapping[str, str], rules_file: Path | None = None) -> None:
        self._rules = load_rules(rules_file, PUSHED)
        self._labels = dict(labels)

    def labels(self, alert: Alert) -> dict[str, str]:
        """Return an alert's label set: what Prometheus would give it."""
        node = {"node_id": alert.node_id} if alert.node_id else {}
        return {"alertname": alert.name, **self._rules[alert.name].labels, **self._labels, **node}

    def annotations(self, alert: Alert) -> dict[str, str]:
        """Return an alert's annotations, the rule's templates filled in."""
        labels = self.labels(alert)
        texts = self._rules[alert.name].annotations
        return {name: LABEL.sub(lambda match: labels.get(match[1], ""), text) for name, text in texts.items()}
