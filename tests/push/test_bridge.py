"""The bridge: which alerts follow from a view of the judge, with which times, labels and texts."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from exporter.bundled import bundled
from exporter.errors import SettingsError
from exporter.journal.journal import Journal
from exporter.liveness import Change, Loss, Node, State, View
from exporter.push.alerts import (
    COUNT,
    MASS_LOSS,
    NODE_OFFLINE,
    PUSHED,
    REDIS_UNREACHABLE,
    STALE_AFTER,
    VALUE,
    WRITES_REFUSED,
    Alert,
    AlertTexts,
)
from exporter.push.bridge import Bridge
from exporter.settings import load
from exporter.source.reading import shown_id
from exporter.telemetry import Telemetry
from lab.nodes import SERVER

TTL = 30.0
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(bundled("alerts/ginkgo.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


class World:
    """A bridge behind a fleet of which the test says what the judge knows.

    Attributes:
        now: What its clock shows, in monotonic seconds.
        absent: The nodes that do not beat.
        heard: When Redis answered last; None for now.
        planned: How many portfolios the plan gives to each node.
    """

    def __init__(self, *flags: tuple[str, Any]) -> None:
        self.now, self.heard = 1000.0, None
        self.absent: dict[bytes, Node] = {}
        self.planned: dict[bytes, int] = {}
        self.outages: list[tuple[float, float]] = []
        self.refused_since: float | None = None
        self.refusal_since: float | None = None
        telemetry = Telemetry()
        fleet: Any = SimpleNamespace(
            settings=load({"alertmanager.url": ["http://127.0.0.1:1"], **dict(flags)}),
            telemetry=telemetry,
            journal=Journal(None, telemetry, lambda: self.now + 1e9, lambda: self.now),
            discovery=self,
            attend=id,
        )
        self.bridge = Bridge(fleet, clock=lambda: self.now, wall=lambda: self.now + 1e9)
        self.metric = telemetry.registry.get_sample_value

    def die(self, *names: bytes, loss: Loss | None = None, state: State = State.OFFLINE, exact: bool = True) -> None:
        """Let nodes be dead since now, as a look of now shows."""
        for name in names:
            change = Change(name, State.ONLINE, state, self.now, died=self.now, exact=exact, loss=loss)
            self.absent[name] = Node(change, looked=self.now)

    def look(self, *names: bytes) -> None:
        """Let a look of now show that nodes are still dead."""
        for name in names:
            self.absent[name] = self.absent[name]._replace(looked=self.now)

    def step(self) -> dict[tuple[str, str], Alert]:
        """Let the bridge see all this, and return the alerts that it shows."""
        heard = self.now if self.heard is None else self.heard
        view = View(
            self.absent, {}, SERVER, heard, self.refused_since, self.refusal_since, True,
            {}, self.outages,
        )  # fmt: skip
        self.bridge.step((), view)
        (alertmanager,) = self.bridge._alertmanagers
        return dict(alertmanager._alerts)


def test_only_what_is_decided_is_pushed() -> None:
    world = World()
    loss = Loss(b"b", world.now - 1)
    world.die(b"a")
    world.die(b"b", b"c", loss=loss)
    for name, state in ((b"d", State.UNDECIDED), (b"e", State.FORGOTTEN), (b"f", State.ONLINE), (b"g", State.GONE)):
        world.die(name, state=state)
    assert set(world.step()) == {(NODE_OFFLINE, "a"), (MASS_LOSS, "b")}
    assert world.metric("ginkgo_bridge_alerts", {"alertname": NODE_OFFLINE}) == 1


def test_alert_begins_with_the_last_beat_and_knows_its_end_only_if_that_was_seen_coming() -> None:
    world = World()
    world.planned = {b"a": 3}
    world.die(b"a")
    world.die(b"old", exact=False)
    died, world.now = world.now, world.now + 4
    world.look(b"a", b"old")
    alerts = world.step()
    assert alerts[NODE_OFFLINE, "a"] == (NODE_OFFLINE, "a", died, died - TTL, world.now, True, 3, False)
    assert not alerts[NODE_OFFLINE, "old"].exact
    world.planned = {}
    assert world.step()[NODE_OFFLINE, "a"].value == 0
    (first, _) = world.bridge.pushed()
    assert first == {"labels": world.bridge._texts.labels(alerts[NODE_OFFLINE, "a"]), "since": died + 1e9}


def test_each_mass_loss_has_one_alert_with_its_name_as_long_as_it_has_members() -> None:
    world = World()
    first, second = Loss(b"b", world.now - 5), Loss(b"x\xff", world.now)
    world.die(b"a", b"b", b"c", loss=first)
    world.die(b"x\xff", b"y", b"z", loss=second)
    alerts = world.step()
    assert set(alerts) == {(MASS_LOSS, "b"), (MASS_LOSS, "x\\xff")}
    assert (alerts[MASS_LOSS, "b"].since, alerts[MASS_LOSS, "b"].starts) == (first.first, first.first - TTL)
    assert world.bridge._texts.labels(alerts[MASS_LOSS, "b"])["loss"] == "b"
    for name in (b"a", b"b", b"c"):
        del world.absent[name]
    assert set(world.step()) == {(MASS_LOSS, "x\\xff")}


def test_observation_is_that_of_the_last_look_and_holds_while_redis_does_not_answer() -> None:
    for flags, blind in (((), True), ((("alertmanager.sole-writer", "true"),), False)):
        world = World(*flags)
        world.die(b"a")
        world.die(b"m", loss=Loss(b"m", world.now))
        looked = world.now
        for passed, answers, seen in ((3.0, True, 0.0), (3.0, False, 3.0), (STALE_AFTER, False, 0.0)):
            world.now, world.heard = looked + passed, None if answers else looked
            alerts = world.step()
            expected = seen if blind else passed
            assert [alert.seen - looked for alert in alerts.values()] == [expected, expected], (flags, passed, answers)


def test_redis_that_cannot_be_read_for_a_minute_of_the_last_two_is_an_alert_with_one_begin() -> None:
    world = World()
    world.outages = [(world.now - 59, world.now)]
    assert world.step() == {}
    world.outages = [(world.now - 100, world.now - 70), (world.now - 31, world.now)]
    began = world.step()[REDIS_UNREACHABLE, ""].since
    assert began == world.now - 61
    world.now += 5
    assert world.step()[REDIS_UNREACHABLE, ""][2:5] == (began, began, world.now)


def test_writes_that_are_refused_in_part_or_at_all_for_half_a_ttl_are_an_alert() -> None:
    world = World()
    start = world.refusal_since = world.now
    assert world.step() == {}
    for passed, refuses, expected in (
        (5, True, False),
        (14.9, True, False),
        (16, False, False),
        (17, True, True),
        (20, False, True),
    ):
        world.now, world.refused_since = start + passed, start + passed - 1 if refuses else None
        assert ((WRITES_REFUSED, "") in world.step()) is expected, "a beat that Redis takes ends a refusal for a moment"
    assert world.step()[WRITES_REFUSED, ""].since == start
    world.heard, world.now = world.now, world.now + STALE_AFTER
    assert world.step() == {}, "a Redis that is away for long shows no refusal"
    world.heard, world.refusal_since = None, world.now
    world.now += 16
    assert world.step() == {}, "one refused write is no refusal that lasts"


def test_bridge_is_active_while_the_watch_steps_and_an_alertmanager_takes_posts() -> None:
    world = World()
    (alertmanager,) = world.bridge._alertmanagers
    active = []
    for passed, accepts in ((0, True), (31, False), (59, False), (61, False)):
        world.now = 1000.0 + passed
        if passed != 31:
            world.step()
        if accepts:
            alertmanager.last_accepted = world.now
        active.append(world.metric("ginkgo_bridge_active"))
    assert active == [1, 0, 1, 0]
    alertmanager.problem = "HTTP 401"
    assert world.bridge.refusals() == ["Alertmanager http://127.0.0.1:1 takes no posts: HTTP 401."]


def test_labels_and_annotations_are_the_rules() -> None:
    texts = AlertTexts({"job": "ginkgo-exporter"})
    for name, label in zip(PUSHED, ("node_id", "loss", "", ""), strict=True):
        about = {label: "n"} if label else {}
        alert = Alert(name, "n" if label else "", 0.0, 0.0, 0.0)
        expected = {"alertname": name, "job": "ginkgo-exporter", **RULES[name]["labels"], **about}
        assert texts.labels(alert) == expected
        annotations = texts.annotations(alert)
        assert annotations.keys() == RULES[name]["annotations"].keys()
        assert "{{" not in "".join(annotations.values())
        for text in RULES[name]["annotations"].values():
            plain = COUNT.sub(lambda part: part[1].replace(VALUE, ""), text)
            used = set(re.findall(r"\{\{\s*\$labels\.(\w+)", plain))
            assert used <= expected.keys(), "all that a rule's text needs is known to the bridge"
    some, none = (texts.annotations(Alert(NODE_OFFLINE, "n", 0, 0, 0, value=value))["description"] for value in (3, 0))
    assert some.startswith(none)
    assert " 3" in some.removeprefix(none)


def test_given_labels_are_added_and_override_those_of_the_rules() -> None:
    def labels(*given: str) -> dict[str, str]:
        settings = load({"alertmanager.label": list(given)} if given else {})
        return AlertTexts(settings.alertmanager.labels).labels(Alert(NODE_OFFLINE, "n", 0, 0, 0))

    assert labels("cluster=tokyo")["job"] == "ginkgo-exporter"
    assert "job" not in labels("job=")
    assert labels("cluster=tokyo", "severity=page").items() >= {"cluster": "tokyo", "severity": "page"}.items()


def test_any_id_is_a_label_and_stands_in_texts_and_links_as_it_is() -> None:
    texts = AlertTexts({"job": "j"}, None, "https://exporter.example/ginkgo")
    for raw in (b'quote " and \\', b"line\nbreak", b"caf\xc3\xa9", b"\xff\xfe", b"{{ $labels.job }}", b"$1"):
        alert = Alert(NODE_OFFLINE, shown_id(raw), 0, 0, 0)
        assert texts.labels(alert)["node_id"] == shown_id(raw)
        assert texts.annotations(alert)["summary"].startswith(f"Node {shown_id(raw)} ")
    own = "https://exporter.example/ginkgo/runbooks"
    for name, subject, link in (
        (MASS_LOSS, "n", f"{own}/GinkgoMassHeartbeatLoss"),
        (NODE_OFFLINE, "n1", f"{own}/GinkgoNodeOffline?node_id=n1"),
        (NODE_OFFLINE, 'n 1&x="><', f"{own}/GinkgoNodeOffline?node_id=n%201%26x%3D%22%3E%3C"),
    ):
        assert texts.annotations(Alert(name, subject, 0, 0, 0))["runbook_url"] == link


def rules_with(of_node_offline: str) -> str:
    """Return rules of all pushed alerts, the one of GinkgoNodeOffline with something more."""
    others = ", ".join(f"{{alert: {name}}}" for name in PUSHED if name != NODE_OFFLINE)
    return f"groups: [{{rules: [{others}, {{alert: {NODE_OFFLINE}, {of_node_offline}}}]}}]"


def test_rules_of_the_operator_give_labels_and_links(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    given = yaml.safe_load(
        rules_with("labels: {team: trading}, annotations: {runbook_url: 'https://wiki/{{ $labels.node_id }}'}")
    )
    for content in (given, {"kind": "PrometheusRule", "spec": given}):
        rules.write_text(yaml.safe_dump(content))
        texts, alert = AlertTexts({}, rules), Alert(NODE_OFFLINE, "n", 0, 0, 0)
        assert texts.labels(alert)["team"] == "trading"
        assert texts.annotations(alert) == {"runbook_url": "https://wiki/n"}


def test_rules_that_cannot_be_pushed_are_refused_in_one_line(tmp_path: Path) -> None:
    template = f"{NODE_OFFLINE}: a pushed alert can't fill in"
    other = "it is not a file of Prometheus rules with Ginkgo"
    for text, said in (
        *((text, other) for text in ("groups: []", "[]", "groups: [{rules: 1}]", "")),
        (rules_with("annotations: {summary: '{{ $value }}'}"), template),
        (
            rules_with("annotations: {summary: '{{- if gt $value 0.0 }}{{ $value | humanize }}{{ end }}'}"),
            template,
        ),
        (rules_with("labels: {a: '{{ $labels.node_id }}'}"), template),
        ("a: [", ""),
    ):
        rules = tmp_path / "rules.yml"
        rules.write_text(text)
        with pytest.raises(SettingsError) as refused:
            AlertTexts({}, rules)
        assert str(refused.value).startswith(f"--alertmanager.rules-file: {said}")
        assert "\n" not in str(refused.value)
