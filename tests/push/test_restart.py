"""An exporter that is killed and started again: no page anew, and the same story, with the journal's file."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from installed import SIX, hear, installed, told

from exporter.demo.platform import TTL
from lab.fakes import FakeAlertmanager
from lab.monitoring import Alertmanager, Prometheus, Webhook, beside, one_receiver
from lab.servers import Exporter, wait_for

LOSS = "GinkgoMassHeartbeatLoss"


@contextmanager
def exporting(folder: Path, *flags: str) -> Iterator[Exporter]:
    """Lend an exporter that may be killed."""
    exporter = Exporter(folder, *flags)
    try:
        wait_for(exporter.answers, f"for the exporter: {exporter.log}")
        yield exporter
    finally:
        exporter.kill()


def flags(url: str, *alertmanagers: str) -> list[str]:
    pushing = [flag for alertmanager in alertmanagers for flag in ("--alertmanager.url", alertmanager)]
    times = ["--heartbeat.ttl", f"{TTL / 10:g}s", "--discovery.interval", "1s", "--redis.timeout", "1s"]
    return ["--redis.url", url, *times, *pushing]


def labels(fake: FakeAlertmanager) -> set[tuple[tuple[str, str], ...]]:
    """Return the label sets of all alerts that were posted."""
    return {tuple(sorted(alert["labels"].items())) for post in list(fake.posts) for alert in post}


def events(exporter: Exporter, query: str = "") -> list[tuple[str, list[str], str | None, str]]:
    answer = json.loads(exporter.get(f"/api/v1/events?limit=1000{query}").text)
    return [(each["kind"], each["subjects"], each["from"], each["to"]) for each in reversed(answer["events"])]


@pytest.mark.parametrize("disk", ["good", "full when it is killed"])
def test_killed_in_a_mass_loss_it_posts_the_same_alerts_and_members_are_members(tmp_path: Path, disk: str) -> None:
    journal = tmp_path / "journal.jsonl"
    with installed(tmp_path, *SIX) as installation, FakeAlertmanager() as fake:
        given = [*flags(installation.server.url, fake.url), "--journal.file", str(journal)]
        with exporting(tmp_path / "first", *given) as exporter:
            wait_for(lambda: "node-6" in exporter.get("/api/v1/nodes").text, "for the nodes")
            installation.crash("node-6")
            wait_for(lambda: len(labels(fake)) == 1, "for the page of one")
            time.sleep(2 * TTL / 10)
            installation.crash("node-1", "node-2", "node-3")
            wait_for(lambda: exporter.get("/metrics").text.count("_mass_lost{") == 3, "for the loss")
            story = events(exporter, "&kind=node&kind=mass_loss")
            wait_for(lambda: b'"lost together"' in journal.read_bytes() and len(labels(fake)) == 2, "for its page")
            if disk != "good":  # nothing can be written any more
                journal.chmod(0o444)
                journal.rename(tmp_path / "kept")
                journal.mkdir()
            exporter.kill()
        if disk != "good":
            journal.rmdir()
            (tmp_path / "kept").rename(journal)
        before = labels(fake)
        fake.posts.clear()
        with exporting(tmp_path / "second", *given) as exporter:
            wait_for(lambda: len(labels(fake)) == 2, "for the same alerts")
            time.sleep(2 * TTL / 10)
            assert labels(fake) == before, "members have no page of their own, and the loss has the same name"
            lost = exporter.scrape()["ginkgo_node_mass_lost"]
            assert {name.partition(",")[0] for name in lost} == {"node-1", "node-2", "node-3"}
            told = events(exporter, "&kind=node&kind=mass_loss")
            assert told == story, "a restart changes no node"


@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
def test_two_exporters_two_alertmanagers_and_prometheus_tell_each_crash_once(tmp_path: Path) -> None:
    with installed(tmp_path, *SIX) as installation, Webhook() as webhook, Webhook() as other:
        config = [one_receiver(hook.url, group_wait=3, group_interval=1) for hook in (webhook, other)]
        first, second = (Alertmanager(tmp_path / f"am{number}", each) for number, each in enumerate(config))
        given = flags(installation.server.url, first.url, second.url)
        with exporting(tmp_path / "a", *given) as one, exporting(tmp_path / "b", *given) as two:
            prometheus = Prometheus(tmp_path / "prometheus", beside((one, two), first, second))
            try:
                wait_for(lambda: prometheus.value("count(ginkgo_node_up==1)") == 12, "for the scrapes")
                for node in SIX[:4]:
                    if node == "node-2":  # one Alertmanager hangs
                        second.pause()
                    elif node == "node-3":  # the other one has lost its alerts
                        second.resume()
                        first.kill()
                        first.start()
                    elif node == "node-4":  # one exporter is gone
                        one.kill()
                    installation.crash(node)
                    hear(webhook, node, "firing")
                    time.sleep(2)  # nodes that die apart are no mass loss
                hear(other, "node-4", "firing")
                time.sleep(3)
                for hook in (webhook, other):
                    statuses = {node: told(hook, node) for node in SIX}
                    assert statuses == {node: ["firing"] if node in SIX[:4] else [] for node in SIX}
            finally:
                prometheus.kill()
                for server in (first, second):
                    server.kill()
