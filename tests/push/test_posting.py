"""One Alertmanager, as alerts are posted to it: when, what, and what of it is never sent."""

import time
from datetime import datetime
from typing import Any

from prometheus_client import Counter, Histogram

from exporter.journal.event import EventKind, Query
from exporter.journal.journal import Journal
from exporter.push.alerts import NODE_OFFLINE, Alert, AlertTexts
from exporter.push.bridge import Alertmanager, Pace, Shared
from exporter.push.transport import Clocks, HttpConfig, Transport
from exporter.telemetry import Telemetry
from lab.fakes import FakeAlertmanager
from lab.servers import wait_for


class Posting(Alertmanager):
    """A client of a fake Alertmanager, with a journal, metrics and clocks of its own; the test lets it post.

    Attributes:
        skipped: Seconds that have passed since the start. Its clocks move with this alone.
        off: Seconds by which its Unix clock is ahead of that.
    """

    def __init__(self, fake: FakeAlertmanager, *, resolve: bool = False, timeout: float = 5.0) -> None:
        self.skipped = self.off = 0.0
        self._start, wall = time.monotonic(), time.time()
        self.shown: dict[str, Alert] = {}
        telemetry = Telemetry()
        self.journal, self.value = Journal(None, telemetry), telemetry.registry.get_sample_value
        posts, failed = (Counter(name, "p", ("url",), registry=telemetry.registry) for name in ("posts", "failed"))
        delay = Histogram("delay", "d", registry=telemetry.registry)
        pace = Pace(backoff=0.03)
        super().__init__(
            Transport(fake.url, HttpConfig(), timeouts=(timeout, timeout)),
            Clocks(fake.url, wall=lambda: wall + self.skipped + self.off, monotonic=self.now),
            Shared(AlertTexts({}), self.journal, telemetry, posts, failed, delay, resolve, pace, self.now),
        )

    def now(self) -> float:
        return self._start + self.skipped

    def die(self, *nodes: str, ago: float = 0.0) -> None:
        """Show that nodes are dead, as they were seen some seconds ago."""
        now = self.now()
        for node in nodes:
            since = self.shown[node].since if node in self.shown else now
            self.shown[node] = Alert(NODE_OFFLINE, node, since, since - 30, now - ago, exact=True)
        self.show({alert.key: alert for alert in self.shown.values()})

    def live(self, *nodes: str) -> None:
        """Show that nodes are back."""
        for node in nodes:
            del self.shown[node]
        self.show({alert.key: alert for alert in self.shown.values()})

    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return what the journal was told, the oldest first."""
        events = self.journal.page(Query(kinds=frozenset([EventKind.PUSH])), 100)[0]
        return [(event.after, event.subjects) for event in reversed(events)]


def sizes(fake: FakeAlertmanager) -> list[int]:
    """Return how many alerts each post held."""
    return [len(post) for post in fake.posts]


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def sent(fake: FakeAlertmanager) -> list[str]:
    """Return the nodes of all alerts, one post after another."""
    return [alert["labels"]["node_id"] for post in list(fake.posts) for alert in post]


def last(fake: FakeAlertmanager, node_id: str) -> dict[str, Any]:
    """Return a node's alert of the last post that has it."""
    return next(alert for post in fake.posts[::-1] for alert in post if alert["labels"].get("node_id") == node_id)


def test_an_empty_post_comes_at_once_and_whenever_nothing_was_posted_for_15_s() -> None:
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        for seconds in (0.0, 14.0, 1.1, 13.9, 1.1):
            client.skipped += seconds
            assert client.post_due()
        assert sizes(fake) == [0, 0, 0]


def test_an_alert_begins_at_the_last_heartbeat_ends_two_minutes_on_and_is_posted_again() -> None:
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        before = time.time()
        for _ in range(5):
            client.die("a")
            assert client.post_due()
            client.skipped += 2
    # Date is cut to the second: an alert never starts too late, and too early by less than two.
    assert before - 40 < unix(fake.posts[1][0]["startsAt"]) < before - 29
    assert "endsAt" not in fake.posts[0][0], "Alertmanager's clock is not known yet"
    assert abs(unix(fake.posts[1][0]["endsAt"]) - before - 120) < 20
    assert sizes(fake) == [1, 1, 1]
    assert client.told() == [("active", (client.url,)), ("taken", (NODE_OFFLINE, "a"))], "once, not for each post"
    assert client.value("delay_count") == 1
    assert client.value("posts_total", {"url": client.url}) == 3
    old = client.now() - 3600
    client.shown["old"] = Alert(NODE_OFFLINE, "old", old, old, client.now(), exact=True)
    client.die("a", "old")
    client.post_due()
    assert client.value("delay_count") == 1, "what happened before the start was not late"


def test_a_clock_that_was_set_is_noticed_before_the_next_alert_is_posted() -> None:
    # A machine that slept: its monotonic clock stood still, and what is known of Alertmanager's time is old.
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        assert client.post_due()
        client.off = 3600.0
        client.die("a")
        assert client.post_due()
        assert sizes(fake) == [0, 1]
        assert "endsAt" not in last(fake, "a"), "the two clocks do not agree now"
        assert unix(last(fake, "a")["startsAt"]) < time.time()


def test_a_node_that_was_back_and_died_again_is_a_new_death() -> None:
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        client.die("old", "again")
        assert client.post_due()
        client.live("again")
        client.skipped += 1
        client.die("again")
        assert client.post_due()
        assert sent(fake) == ["old", "again", "again"]


def test_what_is_not_fresh_is_not_sent_until_it_is_seen_again() -> None:
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        client.die("old", ago=2.1)
        client.die("fresh", ago=1.9)
        assert client.post_due()
        assert sent(fake) == ["fresh"]
        client.die("old")
        assert client.post_due()
        assert sent(fake) == ["fresh", "old"]


def test_what_ends_while_posts_fail_is_never_sent_again() -> None:
    with FakeAlertmanager() as fake:
        client = Posting(fake)
        assert client.post_due()
        fake.status, fake.text = 503, b"no,\n for a reason"
        client.die("ended", "lasting")
        for _ in range(2):
            assert not client.post_due()
        assert client.problem == "HTTP 503 no, for a reason"
        client.live("ended")
        fake.status = 200
        assert client.post_due()
        assert client.problem == ""
    assert sent(fake) == ["ended", "lasting", "ended", "lasting", "lasting"]
    assert [after for after, _ in client.told()] == ["active", "refused", "active", "taken"]


def test_every_other_post_to_one_that_hangs_is_empty() -> None:
    # Posts wait in its socket and are read when it wakes up: few of them should tell old alerts.
    with FakeAlertmanager() as fake:
        client = Posting(fake, timeout=0.4)
        assert client.post_due()
        fake.hangs = True
        client.die("a")
        for _ in range(3):
            assert not client.post_due()
        assert sizes(fake) == [0, 1, 0, 1, 0, 1]
        fake.hangs = False
        client.die("a")
        assert client.post_due()


def test_an_end_is_posted_by_the_sole_writer_only() -> None:
    for resolve in (False, True):
        with FakeAlertmanager() as fake:
            client = Posting(fake, resolve=resolve)
            assert client.post_due()
            client.die("ended", "lasting")
            assert client.post_due()
            client.live("ended")
            client.die("new")
            assert client.post_due()
            assert client.post_due()
        assert sent(fake) == ["ended", "lasting", "new", *(["ended"] if resolve else [])]
        assert (unix(last(fake, "ended")["endsAt"]) <= time.time()) is resolve
        assert client.told()[-1 if resolve else -2] == ("ended", (NODE_OFFLINE, "ended"))


def test_the_thread_posts_what_is_shown_tries_again_and_is_not_held_up_by_another() -> None:
    with FakeAlertmanager() as fake, FakeAlertmanager() as other:
        client, beside = Posting(fake), Posting(other)
        for each in (client, beside):
            each.start()
        fake.status = 503
        client.die("a")
        wait_for(lambda: len(sent(fake)) >= 3, "for posts that are refused")
        fake.hangs = True
        count = len(fake.posts)
        wait_for(lambda: len(fake.posts) > count, "for a post that hangs")
        beside.die("a")
        wait_for(lambda: sent(other), "for the Alertmanager beside it")
        for each in (client, beside):
            each.stop()
        fake.hangs = False
        for each in (client, beside):
            each._thread.join(timeout=10)
            assert not each._thread.is_alive()
            assert not each.value("ginkgo_exporter_internal_errors_total", {"part": "push"})
