"""What the journal keeps of pushed alerts."""

import pytest
from bridge_world import World

from exporter.journal.event import Event, EventKind
from exporter.journal.memory import Query
from exporter.journal.sentences import headline, reasons
from exporter.push.journaling import STALE
from exporter.settings import load
from exporter.web import page


def events(world: World) -> list[Event]:
    return list(reversed(world.journal.page(Query(kinds=frozenset({EventKind.PUSH})), 100).events))


def accept(world: World) -> None:
    world.bridge._posted(world, True, list(world.alerts.values()))  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    world = World({})
    world.start(b"a", b"b", b"c", b"d", b"e")
    world.find()
    world.live(20)
    return world


def test_alert_that_is_taken_is_told_once_with_alertmanager_labels_and_answer(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    accept(world)
    accept(world)
    active, taken = events(world)
    assert (active.subjects, active.before, active.after) == ((world.url,), None, "active")
    assert (taken.subjects, taken.after) == (("GinkgoNodeOffline", "a"), "taken")
    assert taken.evidence["alertmanager"] == world.url
    assert taken.evidence["labels"]["alertname"] == "GinkgoNodeOffline"
    assert taken.evidence["answer"] == "HTTP 200"
    assert headline(taken) == f"Alertmanager {world.url} took the alert GinkgoNodeOffline for a."
    assert taken.evidence_of("a")["starts_at"] == pytest.approx(world.wall() - 30, abs=45)


def test_end_of_an_alert_is_told_if_it_was_taken(world: World) -> None:
    world.crash(b"a", b"b")
    world.live(40)
    world.alerts.pop(("GinkgoNodeOffline", "b"))
    accept(world)
    world.start(b"a", b"b")
    world.live(5)
    last = events(world)[-1]
    assert (last.subjects, last.before, last.after) == (("GinkgoNodeOffline", "a"), "taken", "ended")
    assert headline(last) == "The alert GinkgoNodeOffline for a is no longer pushed."


def test_alert_that_is_taken_after_its_end_is_told_with_its_end(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    alert = world.alerts["GinkgoNodeOffline", "a"]
    world.start(b"a")
    world.live(5)
    world.alerts = {alert.key: alert}
    accept(world)  # the post was under way
    assert [event.after for event in events(world) if "a" in event.subjects] == ["taken", "ended"]
    assert not world.bridge._delivered


def test_alert_that_ends_because_redis_was_not_seen_says_so(world: World) -> None:
    world.crash(b"a")
    world.live(40)
    accept(world)
    world.broken_since = world.now
    world.live(130, step=1)
    ended = [event for event in events(world) if event.after == "ended"]
    assert reasons(ended[0])[0] == f"The reason: {STALE}."


def test_of_alerts_that_end_only_those_that_may_still_be_true_were_not_seen_for_too_long(world: World) -> None:
    world.crash(b"a", b"b", b"c", b"d")
    world.live(60)
    accept(world)
    world.broken_since = world.now
    world.live(130, step=1)
    accept(world)
    world.broken_since = None
    world.live(70)
    ends = {event.subjects[0]: event.evidence for event in events(world) if event.after == "ended"}
    assert {name: evidence.get("reason") for name, evidence in ends.items()} == {
        "GinkgoMassHeartbeatLoss": STALE,
        "GinkgoRedisUnreachable": None,
    }


def test_alertmanager_that_takes_no_posts_is_told_with_its_answer_until_it_takes_them(world: World) -> None:
    for problem in ("", "HTTP 500 no", "HTTP 500 no", ""):
        world.problem = problem
        world.bridge._posted(world, not problem, [])  # type: ignore[arg-type]
    assert [(event.before, event.after, event.evidence.get("error")) for event in events(world)] == [
        (None, "active", None),
        ("active", "refused", "HTTP 500 no"),
        ("refused", "active", None),
    ]
    assert headline(events(world)[1]) == f"Alertmanager {world.url} takes no posts."
    assert reasons(events(world)[1]) == ["The error: HTTP 500 no."]


def test_alertmanager_that_takes_no_posts_is_on_the_page_until_it_takes_them(world: World) -> None:
    world.problem = "HTTP 500 <b>"
    for _ in range(2):
        world.bridge._posted(world, False, [])  # type: ignore[arg-type]
        world.now += 60
    (refusal,) = world.bridge.refusals()
    assert refusal.startswith(f"Alertmanager {world.url} takes no posts since ")
    assert refusal.endswith(" UTC: HTTP 500 <b>. Its alerts are posted again until it takes them.")
    body = page.render(None, load({}), [], refusals=[refusal]).decode()
    assert "HTTP 500 &lt;b&gt;" in body
    world.bridge._posted(world, True, [])  # type: ignore[arg-type]
    assert world.bridge.refusals() == []
