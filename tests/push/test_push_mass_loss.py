"""A mass loss through push alone, rules alone, and both: real Redis, Prometheus and Alertmanager, times a tenth."""

import time

import pytest
from push_stack import BEAT, LASTS, TTL, Nodes, Stack, Webhook, beside_others

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.server("prometheus"),
    pytest.mark.server("prometheus-alertmanager"),
]

FLEET = tuple(f"node-{i}" for i in range(6))
MASS = "GinkgoMassHeartbeatLoss"


def started(stack: Stack, fleet: tuple[str, ...], *, push: bool, rules: bool) -> tuple[Webhook, Nodes]:
    """Start an installation in which the exporter pushes, Prometheus evaluates the rules, or both."""
    redis, webhook = stack.redis(), stack.webhook()
    alertmanager = stack.alertmanager(webhook)
    nodes = stack.nodes(redis.port, *fleet)
    exporter = stack.exporter(redis.port, *([alertmanager] if push else []))
    exporter.knows(len(fleet))
    if rules:
        stack.prometheus([exporter], alertmanager)
    time.sleep(BEAT)
    return webhook, nodes


def pages(webhook: Webhook) -> list[tuple[str, str]]:
    """Return what people were woken for, in order; thresholds in seconds make tickets of scaled heartbeats."""
    firing = [notice for notice in webhook.notices if notice.status == "firing"]
    return [notice.about for notice in firing if notice.labels.get("severity") == "critical"]


def four_of_six(stack: Stack, *, push: bool, rules: bool) -> None:
    webhook, nodes = started(stack, FLEET, push=push, rules=rules)
    nodes.crash(*FLEET[:4])
    webhook.wait("", "firing", name=MASS)
    time.sleep(2 * TTL)  # a minute, scaled
    assert pages(webhook) == [(MASS, "")]
    nodes.crash(FLEET[4])
    webhook.wait(FLEET[4], "firing")
    time.sleep(TTL)
    assert pages(webhook) == [(MASS, ""), ("GinkgoNodeOffline", FLEET[4])]


@beside_others
def test_four_of_six_are_one_page_and_a_fifth_its_own_through_push_alone(stack: Stack) -> None:
    four_of_six(stack, push=True, rules=False)


@beside_others
def test_four_of_six_are_one_page_and_a_fifth_its_own_through_rules_alone(stack: Stack) -> None:
    four_of_six(stack, push=False, rules=True)


@beside_others
def test_four_of_six_are_one_page_and_a_fifth_its_own_through_both(stack: Stack) -> None:
    four_of_six(stack, push=True, rules=True)


def heals_in_part(stack: Stack, *, push: bool, rules: bool) -> None:
    fleet = tuple(f"node-{i}" for i in range(100))
    webhook, nodes = started(stack, fleet, push=push, rules=rules)
    nodes.crash(*fleet)
    webhook.wait("", "firing", name=MASS)
    time.sleep(2 * BEAT)
    nodes.recover(*fleet[:90])
    time.sleep(LASTS)
    assert pages(webhook) == [(MASS, "")]
    assert webhook.of("", MASS) == ["firing"]
    nodes.recover(*fleet[90:])
    webhook.wait("", "firing", "resolved", name=MASS)
    assert pages(webhook) == [(MASS, "")]


@beside_others
def test_members_of_a_loss_that_heals_in_part_have_no_page_through_push_alone(stack: Stack) -> None:
    heals_in_part(stack, push=True, rules=False)


@beside_others
def test_members_of_a_loss_that_heals_in_part_have_no_page_through_both(stack: Stack) -> None:
    heals_in_part(stack, push=True, rules=True)


@beside_others
def test_members_of_a_loss_that_heals_in_part_have_no_page_through_rules_alone(stack: Stack) -> None:
    heals_in_part(stack, push=False, rules=True)
