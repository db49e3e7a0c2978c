"""``check`` says what works and what is wrong, with its consequence and its remedy."""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis
from rights import ACL_RIGHTS
from said import Say

from exporter.commands.check import key_findings
from exporter.settings import Settings
from lab.clusters import Certificates, RunningCluster
from lab.fakes import FakeAlertmanager
from lab.monitoring import Alertmanager, Webhook, one_receiver
from lab.nodes import Pair, beat, reading_of
from lab.servers import RedisServer, free_port, wait_for
from leftovers import leave

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(say: Say, shared_redis: RedisServer, client: "redis.Redis") -> Check:
    """Run ``check`` on the shared Redis, where one node beats; give the exit code and all that it says."""
    beat(client, "n1")

    def call(*words: str, url: str = shared_redis.url) -> tuple[int, str]:
        done = say("check", "--redis.url", url, *words)
        return done.code, done.out + done.err

    return call


def test_good_installation_is_good_and_says_what_it_saw(check: Check) -> None:
    code, text = check()
    assert code == 0
    assert text.startswith(
        "configuration: good\nredis: good, a master with 1 nodes, 1 of them beating, found and read in"
    )
    assert "must be changed" not in text


def test_what_is_wrong_with_keys_is_told_with_its_remedy(check: Check, client: "redis.Redis") -> None:
    leave(client, "old")
    code, text = check()
    assert code == 0
    assert "Redis has hashes of 1 nodes that do not beat." in text
    assert "ginkgo-exporter forget --rehomed --yes (without --yes it names them). See the others" in text
    for kind, prefix in (("heartbeat", "beat:"), ("metrics", "x:")):
        code, text = check(f"--keys.{kind}-prefix", prefix)
        assert (code, text.count("No key begins with"), f"No key begins with {prefix}." in text) == (0, 1, True), text
    code, text = check(url=f"redis://127.0.0.1:{free_port()}")
    assert (code, "cannot connect to Redis" in text) == (1, True)
    code, text = check("--page")
    assert (code, "there is no --alertmanager.url" in text) == (2, True)


def test_rights_that_are_missing_are_told_but_not_while_redis_saves(check: Check, redis_server: RedisServer) -> None:
    url = redis_server.url.replace("127.0.0.1", "u:pw@127.0.0.1")
    rights = [*ACL_RIGHTS, "+dbsize"]
    with redis_server.client() as client:
        beat(client, "n1")
        client.hset("schedule:plan", "p1", "n1")
        for missing, code, expected in (
            ("+info", 1, "Redis refuses INFO"),
            ("+scan", 1, "'scan' command"),
            ("+hgetall", 0, "The plan cannot be read"),
            ("+object|idletime", 0, "does not say how long ago the scheduler looked"),
        ):
            given = [right for right in rights if right != missing]
            client.execute_command("acl", "setuser", "u", "reset", "on", ">pw", *given)
            found, text = check(url=url)
            assert (found, expected in text) == (code, True), (missing, text)
        client.config_set("rdb-key-save-delay", 1_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.bgsave()
        _, text = check(url=redis_server.url)
        assert "scheduler looked" not in text
        assert "Set maxmemory-policy to noeviction" in text


@pytest.mark.server("redis-server")
def test_cluster_with_a_dead_primary_is_not_good(say: Say, tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = RunningCluster(tmp_path, stack, replicas=0)
        seeds = [word for port in cluster.servers for word in ("--redis.url", f"redis://127.0.0.1:{port}")]
        flags = ("check", "--redis.mode", "cluster", *seeds)
        assert say(*flags).code == 0
        dead = next(iter(cluster.servers))
        cluster.servers[dead].kill()
        done = say(*flags)
        assert (done.code, f"The primary 127.0.0.1:{dead} cannot be read." in done.out) == (1, True), done


def test_heartbeat_that_lives_longer_than_the_setting_must_be_changed() -> None:
    def found(*left: float) -> list[tuple[bool, str]]:
        reading = reading_of({b"n%d" % number: Pair(seconds) for number, seconds in enumerate(left)})
        return [
            (finding.must, finding.text) for finding in key_findings(Settings(), reading) if "lives" in finding.text
        ]

    assert not found(25.0, 12.0, 30.5, -1)
    ((must, said),) = found(20.0, 90.0)
    assert (must, "node n1 lives for 1m 30s more, longer than --heartbeat.ttl (30s)" in said) == (True, True), said


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[tuple[Alertmanager, Webhook]]:
    with Webhook() as webhook:
        running = Alertmanager(tmp_path / "alertmanager", one_receiver(webhook.url, 1, 1))
        yield running, webhook
        running.stop()


@pytest.mark.server("prometheus-alertmanager")
def test_page_arrives_at_once_with_the_users_name_and_one_dead_alertmanager_is_named(
    check: Check, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    running, webhook = alertmanager
    dead = f"http://127.0.0.1:{free_port()}"
    code, text = check("--page", "--alertmanager.url", running.url, "--alertmanager.label", "cluster=a")
    wait_for(lambda: webhook.notices, "for the page", 5)
    labels = webhook.notices[0].alert["labels"]
    assert (labels["alertname"], labels["severity"], labels["cluster"]) == ("GinkgoTestPage", "critical", "a")
    assert f"it took the alert GinkgoTestPage, test_id {labels['test_id']}" in text
    assert "@" in webhook.notices[0].alert["annotations"]["summary"]
    assert code == 0
    code, text = check("--page", "--alertmanager.url", running.url, "--alertmanager.url", dead)
    assert (code, f"alertmanager {dead}: cannot connect" in text) == (1, True)
    assert text.count("it took the alert") == 1
    assert "clock" not in text


def test_page_goes_with_tls_and_basic_auth_from_a_user_without_a_name(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.pair("127.0.0.1"))
    file = tmp_path / "alertmanager.yml"
    auth = f"basic_auth: {{username: a, password_file: {certificates.ca}}}"
    file.write_text(f"{auth}\ntls_config: {{ca_file: {certificates.ca}}}\n", encoding="utf-8")
    with FakeAlertmanager(context) as fake:
        flags = ("--alertmanager.url", fake.url, "--alertmanager.config-file", str(file), "--page")
        assert check(*flags)[0] == 0
        (alert,) = fake.posts[-1]
        assert alert["labels"]["alertname"] == "GinkgoTestPage"
        assert re.fullmatch("[0-9a-f]{8}", alert["labels"]["test_id"])
        ends, starts = (datetime.fromisoformat(alert[name]) for name in ("endsAt", "startsAt"))
        assert timedelta(seconds=118) < ends - starts < timedelta(seconds=122)
        assert "Basic" in str(fake.heads[-1])
        fake.status = 500
        assert check(*flags)[0] == 1
