"""One Alertmanager, as the bridge posts to it: when, what, and what of it is never sent."""

import asyncio
import random
import time

import pytest
from fake_alertmanager import HOUR, PACE, RETRY, Fake, dead, posting, run, unix, until
from structlog.testing import capture_logs

from exporter.push.alertmanager import BATCH, Alertmanager, Pace
from exporter.push.alerts import AlertTexts
from exporter.push.config import HttpConfig
from exporter.push.transport import Transport


def test_an_empty_post_is_sent_at_once_to_learn_its_time() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            assert fake.posts == [[]]
            assert time.monotonic() - alertmanager.last_accepted < 20

    run(scenario)


def test_with_nothing_to_push_an_empty_post_is_sent_again_and_again() -> None:
    assert Pace().idle == 15

    async def scenario() -> None:
        fake = Fake()
        async with posting(fake, pace=Pace(idle=0.05)):
            await until(lambda: len(fake.posts) >= 4)
        assert fake.posts[:4] == [[], [], [], []]

    run(scenario)


def test_an_alert_begins_at_the_last_heartbeat_and_ends_two_minutes_on() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            before = time.time()
            alertmanager.offer([dead("a", ago=30)], time.monotonic())
            await until(lambda: "a" in fake.sent())
        sent = fake.last("a")
        # Date is cut to the second: an alert never starts too late, and too early by less than two.
        assert before - 32 < unix(sent["startsAt"]) < before - 29.99
        assert before - 0.01 <= unix(sent["endsAt"]) - 120 <= time.time()

    run(scenario)


def test_a_clock_that_was_set_is_noticed_before_the_next_alert_is_posted() -> None:
    # A machine that slept: its monotonic clock stood still, and what is known of Alertmanager's time is old.
    async def scenario() -> None:
        fake = Fake()
        off = 0.0
        async with posting(fake, wall=lambda: time.time() + off) as alertmanager:
            await until(lambda: fake.taken)
            off = HOUR
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())
        assert [len(post) for post in fake.posts] == [0, 0, 1]

    run(scenario)


def test_alerts_go_out_in_batches() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            names = [f"n{i}" for i in range(2 * BATCH + 1)]
            alertmanager.offer(map(dead, names), time.monotonic())
            await until(lambda: len(fake.sent()) == len(names))
        assert [len(post) for post in fake.posts if post] == [BATCH, BATCH, 1]
        assert fake.sent() == names

    run(scenario)


def test_ended_alerts_and_new_ones_share_a_batch() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            ended = [dead(f"old{i}") for i in range(3)]
            alertmanager.offer(ended, time.monotonic())
            await until(lambda: len(alertmanager._accepted) == len(ended))
            fake.posts.clear()
            alertmanager.end(ended, resolve=True)
            alertmanager.offer([dead(f"n{i}") for i in range(BATCH)], time.monotonic())
            await until(lambda: len(fake.sent()) == BATCH + len(ended))
        assert [len(post) for post in fake.posts if post] == [BATCH, len(ended)]

    run(scenario)


def test_nothing_is_wrong_before_the_first_post() -> None:
    async def scenario() -> None:
        async with posting(Fake(), run=False) as alertmanager:
            assert not alertmanager.problem

    run(scenario)


def test_a_new_death_goes_before_the_refresh_of_old_ones() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            old = [dead(f"n{i}") for i in range(2 * BATCH)]
            alertmanager.offer(old, time.monotonic())
            await until(lambda: len(alertmanager._accepted) == len(old))
            fake.posts.clear()
            alertmanager.offer([*old, dead("new")], time.monotonic())
            await until(lambda: len(fake.sent()) == len(old) + 1)
            assert fake.sent()[0] == "new"
            alertmanager.end([old[7]], resolve=False)
            fake.posts.clear()
            alertmanager.offer(old, time.monotonic())
            await until(lambda: len(fake.sent()) == len(old))
            assert fake.sent()[0] == "n7", "a node that was back and died again is a new death"

    run(scenario)


def test_what_is_not_fresh_is_not_sent_until_it_is_offered_anew() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            alertmanager.offer([dead("a")], time.monotonic() - PACE.fresh - 0.01)
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: "b" in fake.sent())
            assert fake.sent() == ["b"]
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())

    run(scenario)


def test_an_alert_that_ended_while_alertmanager_failed_is_never_sent() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status = 503
        # However long the test takes, it is the end that keeps the alert back, and not its age.
        async with posting(fake, pace=Pace(fresh=float("inf"), backoff=(0.01, 0.05))) as alertmanager:
            alerts = [dead("ended"), dead("lasting")]
            alertmanager.offer(alerts, time.monotonic())
            await until(lambda: len(fake.sent()) >= 4)
            alertmanager.end(alerts[:1], resolve=False)
            under_way = len(fake.posts) + 1
            await until(lambda: len(fake.posts) > under_way + 2)
            fake.status = 200
            await until(lambda: fake.taken[-1])
            later = [alert["labels"]["node_id"] for post in fake.posts[under_way:] for alert in post]
            assert "lasting" in later
            assert "ended" not in later

    run(scenario)


def test_an_alert_that_ended_before_it_could_be_sent_is_never_sent() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            alerts = [dead("ended"), dead("lasting")]
            alertmanager.offer(alerts, time.monotonic())
            alertmanager.end(alerts[:1], resolve=False)
            await until(lambda: "lasting" in fake.sent())
            alertmanager.offer([dead("new")], time.monotonic())
            await until(lambda: "new" in fake.sent())
            assert fake.sent() == ["lasting", "new"]

    run(scenario)


def test_a_refusal_is_tried_again_after_a_growing_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    first, longest = Pace().backoff
    pauses: list[float] = []
    chances: list[tuple[float, float]] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds >= first / 2:
            pauses.append(seconds)
        await real(min(seconds, 0.01))

    def uniform(low: float, high: float) -> float:
        chances.append((low, high))
        return 1.0

    async def scenario() -> None:
        fake = Fake()
        fake.status = 400
        monkeypatch.setattr(random, "uniform", uniform)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        async with posting(fake) as alertmanager:
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: len(fake.taken) >= 6)
            assert not any(fake.taken)
            assert pauses[:5] == [first, 2 * first, longest, longest, longest]
            fake.status = 200
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: fake.taken[-1])
            fake.status = 400
            pauses.clear()
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: len(pauses) >= 2)
            assert pauses[:2] == [first, 2 * first]

    run(scenario)
    assert set(chances) == {(0.5, 1.5)}, "several exporters must not post in step"


def test_every_other_post_to_one_that_hangs_is_empty() -> None:
    # Posts wait in its socket and are read when it wakes up: few of them should tell old alerts.
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake, pace=RETRY, timeouts=(0.1, 0.1)) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            while len(fake.tried) < 5:
                alertmanager.offer([dead("a")], time.monotonic())
                await asyncio.sleep(0.05)
            assert fake.tried[1:5] == [1, 0, 1, 0]
            fake.hangs = False
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: "b" in fake.sent())

    run(scenario)


def test_a_new_death_does_not_wait_for_a_second_empty_post_to_one_that_hangs() -> None:
    async def scenario() -> None:
        fake = Fake()
        pace = Pace(fresh=60.0, backoff=(0.5, 0.5), idle=0.1)
        async with posting(fake, pace=pace, timeouts=(0.1, 0.1)) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            tried = len(fake.tried) + 2
            await until(lambda: len(fake.tried) == tried)  # the idle post timed out, and so did the one that follows it
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: len(fake.tried) > tried)
            fake.hangs = False
        assert fake.tried[tried] == 1

    run(scenario)


@pytest.mark.parametrize("fault", ["slow", "cut"])
def test_alerts_are_posted_although_no_empty_post_was_ever_answered(fault: str) -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.cuts, fake.slow = fault == "cut", 0.5 if fault == "slow" else 0.0
        async with posting(fake, pace=RETRY, timeouts=(0.1, 0.1)) as alertmanager:
            await until(lambda: len(fake.taken) >= 3)
            assert not any(fake.taken)
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: "a" in fake.sent())
            assert unix(fake.last("a")["startsAt"]) == pytest.approx(time.time() - 30, abs=3)
            assert "endsAt" not in fake.last("a")

    run(scenario)


def test_no_empty_post_is_in_the_way_of_alerts_that_wait_for_a_fresh_observation() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status = 503
        async with posting(fake, pace=Pace(fresh=0.1, idle=0.0, backoff=(0.01, 0.01))) as alertmanager:
            await until(lambda: fake.taken)
            await until(lambda: alertmanager.offer([dead("a")], time.monotonic()) or "a" in fake.sent())  # type: ignore[func-returns-value]
            await asyncio.sleep(0.15)  # the observation is old by now
            posts = len(fake.posts)
            await asyncio.sleep(0.1)
            assert len(fake.posts) == posts
            fake.status = 200
            alertmanager.offer([dead("a")], time.monotonic())
            await until(lambda: len(fake.posts) > posts)
            assert fake.posts[posts][0]["labels"]["node_id"] == "a"

    run(scenario)


def test_one_that_hangs_does_not_hold_up_another() -> None:
    async def scenario() -> None:
        hanging, good = Fake(), Fake()
        async with posting(hanging) as one, posting(good) as other:
            await until(lambda: hanging.taken and good.taken)
            hanging.hangs = True
            start = time.monotonic()
            for alertmanager in (one, other):
                alertmanager.offer([dead("a")], start)
            await until(lambda: "a" in good.sent())
            assert time.monotonic() - start < 1
            await until(lambda: "a" in hanging.sent())
            assert len(hanging.taken) == 1

    run(scenario)


def test_what_is_offered_while_a_post_is_under_way_is_sent_after_it() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            alertmanager.offer([dead("a", ago=40)], time.monotonic())
            await until(lambda: "a" in fake.sent())
            alertmanager.offer([dead("a", ago=30)], time.monotonic())
            fake.hangs = False
            await until(lambda: fake.sent() == ["a", "a"])

    run(scenario)


def test_an_end_is_posted_by_the_sole_writer_only() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            ended, kept = dead("ended"), dead("kept")
            alertmanager.offer([ended, kept], time.monotonic())
            await until(lambda: len(fake.sent()) == 2)
            alertmanager.end([kept], resolve=False)
            await asyncio.sleep(0.05)  # it has nothing to post, and waits
            start = time.monotonic()
            alertmanager.end([ended], resolve=True)
            await until(lambda: len(fake.sent()) == 3)
            assert time.monotonic() - start < 5, "an end is posted at once"
            alertmanager.offer([dead("new")], time.monotonic())
            await until(lambda: "new" in fake.sent())
        assert fake.sent() == ["ended", "kept", "ended", "new"]
        assert time.time() - 2 < unix(fake.last("ended")["endsAt"]) <= time.time()

    run(scenario)


def test_a_node_that_is_back_while_its_post_is_under_way_is_resolved_after_it() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            await until(lambda: fake.taken)
            fake.hangs = True
            alert = dead("a")
            alertmanager.offer([alert], time.monotonic())
            await until(lambda: "a" in fake.sent())
            alertmanager.end([alert], resolve=True)
            fake.hangs = False
            await until(lambda: len(fake.sent()) == 2)
        assert unix(fake.last("a")["endsAt"]) <= time.time()

    run(scenario)


def test_an_end_is_forgotten_when_the_alert_is_offered_anew() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with posting(fake) as alertmanager:
            alert = dead("a")
            alertmanager.end([alert], resolve=True)
            alertmanager.offer([alert], time.monotonic())
            await until(lambda: "a" in fake.sent())
            alertmanager.offer([dead("b")], time.monotonic())
            await until(lambda: "b" in fake.sent())
        assert fake.sent() == ["a", "b"]
        assert unix(fake.last("a")["endsAt"]) > time.time()

    run(scenario)


def test_a_refusal_is_said_in_one_line() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status = 401
        async with posting(fake, run=False) as alertmanager:
            assert await alertmanager.try_once() == "HTTP 401 no, for a reason"
        nobody = Alertmanager("http://127.0.0.1:1", AlertTexts({}), config=HttpConfig(), posted=lambda *_: None)
        problem = await nobody.try_once()
        nobody.close()
        assert "refused" in problem
        assert "\n" not in problem

    run(scenario)


def test_a_failure_is_logged_once_and_its_end_too() -> None:
    async def scenario() -> None:
        fake = Fake()
        with capture_logs() as logs:
            async with posting(fake, pace=RETRY) as alertmanager:
                await until(lambda: fake.taken)
                assert not logs
                fake.status = 503
                alertmanager.offer([dead("a")], time.monotonic())
                await until(lambda: len(fake.taken) >= 4)
                fake.status = 200
                await until(lambda: fake.taken[-1])
                alertmanager.offer([dead("b")], time.monotonic())
                await until(lambda: "b" in fake.sent())
        error = "HTTP 503 no, for a reason"
        assert logs == [
            {"event": "Alertmanager takes no posts", "log_level": "error", "url": fake.url, "error": error},
            {"event": "Alertmanager takes posts again", "log_level": "info", "url": fake.url},
        ]

    run(scenario)


def test_a_client_that_is_closed_closes_its_connections() -> None:
    closed = []

    class Closing(Transport):
        def close(self) -> None:
            closed.append(True)

    config = HttpConfig()
    url = "http://127.0.0.1:1"
    alertmanager = Alertmanager(
        url, AlertTexts({}), config=config, posted=lambda *_: None, transport=Closing(url, config)
    )
    alertmanager.close()
    assert closed
