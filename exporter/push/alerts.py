"""The alerts that are pushed: which ones follow from the judge's view, and their labels and annotations.

Labels and annotations are those of the Prometheus rules of the same name.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from exporter.bundled import RULES, bundled
from exporter.errors import SettingsError
from exporter.liveness import State, View
from exporter.settings.values import require
from exporter.settings.yaml_file import read_yaml
from exporter.source.reading import shown_id

NODE_OFFLINE: Final = "GinkgoNodeOffline"
MASS_LOSS: Final = "GinkgoMassHeartbeatLoss"
REDIS_UNREACHABLE: Final = "GinkgoRedisUnreachable"
WRITES_REFUSED: Final = "GinkgoRedisWritesRefused"
PUSHED: Final = (NODE_OFFLINE, MASS_LOSS, REDIS_UNREACHABLE, WRITES_REFUSED)

UNREACHABLE_FOR: Final = 60.0
"""Seconds without a readable Redis, of the last two minutes, from which on an alert fires."""
REFUSED_FOR: Final = 0.5
"""Time for which Redis refuses writes, all of them or some, as a share of a TTL, from which on an alert fires."""
STALE_AFTER: Final = 120.0
"""Seconds without an answer of Redis after which alerts about nodes are not posted any more.

The time is shorter than the rules' keep_firing_for. After it, GinkgoRedisUnreachable fires, which says
that nothing is known about any node. Another writer may see that a node is back. Prometheus
repeats such a resolve for 15 minutes. If this exporter kept posting the alert, each of its posts
would follow a resolve and page falsely. With --alertmanager.sole-writer there is no other writer.
"""

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


class Alerts:
    """The alerts that last: a fold of the judge's view.

    Args:
        ttl: Seconds that a heartbeat lives.
        stale_after: See ``STALE_AFTER``.
        sole_writer: Whether nobody else writes these alerts.

    Attributes:
        last: The alerts of the last view. The mapping is replaced as a whole and never changed.
    """

    def __init__(self, ttl: float, stale_after: float, *, sole_writer: bool) -> None:
        self.last: Mapping[Key, Alert] = {}
        self._ttl, self._stale_after, self._sole_writer = ttl, stale_after, sole_writer

    def step(self, view: View, now: float, planned: Mapping[bytes, int]) -> Mapping[Key, Alert]:
        """Return the alerts of a view.

        Args:
            view: The view.
            now: Monotonic time.
            planned: How many portfolios the plan gives to each node.
        """
        alerts = sorted((*self._of_redis(view, now), *self._of_nodes(view, now, planned)), key=lambda alert: alert.seen)
        self.last = {alert.key: alert for alert in alerts}
        return self.last

    def _of_redis(self, view: View, now: float) -> Iterator[Alert]:
        """Yield the alerts about Redis. One that lasts keeps its begin."""
        unreadable = view.unreadable(now)
        refused = 0.0 if view.refusal_since is None else now - view.refusal_since
        refuses = view.refused_since is not None or (WRITES_REFUSED, "") in self.last
        # Nobody knows whether a Redis that does not answer would refuse writes.
        refuses = refuses and (self._sole_writer or now - view.answered < self._stale_after)
        for name, seconds, fires in (
            (REDIS_UNREACHABLE, unreadable, unreadable >= UNREACHABLE_FOR),
            (WRITES_REFUSED, refused, refuses and refused >= REFUSED_FOR * self._ttl),
        ):
            if fires:
                alert = Alert(name, "", now - seconds, now - seconds, now)
                yield self.last.get(alert.key, alert)._replace(seen=now)

    def _of_nodes(self, view: View, now: float, planned: Mapping[bytes, int]) -> Iterator[Alert]:
        """Yield the alert of each offline node: its own one, or that of its mass loss."""
        for name, node in view.absent.items():
            died, loss = node.change.died, node.change.loss
            if node.change.after is not State.OFFLINE or died is None:
                continue
            # The alert is true at the last look. If its Redis has not answered since then, nobody can have seen the
            # node come back, for a while.
            blind = view.answered <= node.looked and now - node.looked < self._stale_after
            seen = now if blind or self._sole_writer else node.looked
            if loss:
                yield Alert(MASS_LOSS, shown_id(loss.name), loss.first, loss.first - self._ttl, seen)
            else:
                yield Alert(
                    NODE_OFFLINE, shown_id(name), died, died - self._ttl, seen, node.change.exact, planned.get(name, 0)
                )


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
