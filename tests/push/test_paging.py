"""Which pages people get: each death one, and none of what is undecided, whatever Redis and Alertmanager do."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from installed import PACE, SIX, hear, installed

from exporter.demo.platform import TTL
from lab.fakes import FakeAlertmanager
from lab.monitoring import Alertmanager, Webhook, one_receiver
from lab.proxy import Fault, Proxy
from lab.servers import wait_for

REFUSED = "GinkgoRedisWritesRefused"


def told(fake: FakeAlertmanager) -> set[str]:
    """Return the nodes that were posted, and the names of other alerts with the loss that they are about."""
    labels = [alert["labels"] for post in list(fake.posts) for alert in post]
    return {each.get("node_id") or " ".join((each["alertname"], each.get("loss", ""))).strip() for each in labels}


def turned(date: Callable[[], bytes] | None) -> Fault:
    """Return what gives each answer another ``Date``, or none."""
    return Fault(turn=lambda reply: re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: " + date() if date else b"", reply))


def moved(seconds: float) -> Callable[[], bytes]:
    return lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True).encode()


@pytest.mark.server("prometheus-alertmanager")
def test_each_crash_is_told_once_whatever_date_the_answers_tell_and_whichever_clock_is_wrong(tmp_path: Path) -> None:
    dates = {
        "right": moved(0),
        "a little ahead": moved(5),
        "ten minutes behind": moved(-600),
        "of 1970": lambda: b"Thu, 01 Jan 1970 00:00:00 GMT",
        "of 9999": lambda: b"Fri, 31 Dec 9999 23:59:59 GMT",
        "missing": None,
    }
    with installed(tmp_path, "node-1", "node-2", "node-3", "node-4") as installation, ExitStack() as stack:
        webhooks, urls = {}, {}
        for name in (*dates, "an hour behind", "an hour ahead"):
            webhook = webhooks[name] = stack.enter_context(Webhook())
            config = one_receiver(webhook.url, group_wait=3, group_interval=1, resolve_timeout=7)
            server = Alertmanager(tmp_path / name, config)
            stack.callback(server.kill)
            proxy = stack.enter_context(Proxy(server.port))
            proxy.fault = turned(dates.get(name, moved(0)))
            urls[name] = f"http://127.0.0.1:{proxy.port}"
        stack.enter_context(installation.pushing(*(urls[name] for name in dates)))
        stack.enter_context(installation.pushing(urls["an hour behind"], off=-3600))
        stack.enter_context(installation.pushing(urls["an hour ahead"], off=3600))
        deadline = installation.crash("node-1")
        for webhook in webhooks.values():
            hear(webhook, "node-1", "firing")
            assert webhook.notices[0].at - deadline < 2.5, "startsAt lets it skip group_wait"
        time.sleep(2)
        installation.start("node-1")
        back = time.monotonic()
        for name, webhook in webhooks.items():
            hear(webhook, "node-1", "firing", "resolved")
            lasted = next(notice.at for notice in webhook.notices if notice.status == "resolved") - back
            agrees = name == "right"
            assert (PACE.lasts if agrees else 7) - 3 < lasted or name == "a little ahead", name
        installation.crash("node-1")
        for webhook in webhooks.values():
            hear(webhook, "node-1", "firing", "resolved", "firing")


def test_faults_of_redis_page_themselves_and_no_living_node(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fakes = [stack.enter_context(FakeAlertmanager()) for _ in range(4)]
        each = [stack.enter_context(installed(tmp_path / str(fake.port), *SIX)) for fake in fakes]
        for installation, fake in zip(each, fakes, strict=True):
            stack.enter_context(installation.pushing(fake.url))
        pauses, restarts, loses_its_data, refuses = (installation.server for installation in each)
        pauses.pause()
        restarts.kill()
        restarts.start()
        loses_its_data.client().flushall()
        client = refuses.client()
        client.config_set("maxmemory-policy", "noeviction")
        for _ in range(12):  # it takes some writes and refuses others, not in step with the beats
            client.config_set("maxmemory", "1")
            time.sleep(0.5)
            client.config_set("maxmemory", "0")
            time.sleep(0.23)
        pauses.resume()  # after longer than the 5 s for which silence is no fault
        assert told(fake) == {REFUSED}
        installation.crash("node-1")
        wait_for(lambda: told(fake) == {REFUSED, "node-1"}, "for a page after it")
        time.sleep(TTL / 10)
        assert [told(other) for other in fakes[:3]] == [set()] * 3
