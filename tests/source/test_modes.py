"""Secured Sentinel and Cluster: TLS, and a user with only the rights that the documentation lists."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from rights import ACL_RIGHTS, CLUSTER_RIGHTS

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from lab.clusters import RunningCluster
from lab.nodes import beat, metrics_key
from lab.sentinels import Watched
from lab.servers import RedisServer
from lab.tls import Certificates

pytestmark = [pytest.mark.server("redis-server"), pytest.mark.server("redis-cli")]

PASSWORD = "s3cret-Pa55"  # noqa: S105 - of servers that live for a test
NODES = [f"node-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def secured_cluster(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RunningCluster]:
    with ExitStack() as stack:
        yield RunningCluster(tmp_path_factory.mktemp("cluster"), stack, replicas=0, certificates=certificates)


@pytest.fixture(scope="module")
def secured_sentinel(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path_factory.mktemp("sentinel"), stack, certificates)


def user(server: RedisServer, *rights: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "exporter", "reset", "on", f">{PASSWORD}", *rights)


def with_user(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    return given | {"redis.username": "exporter", "redis.password-file": str(password_file)}


def living(given: dict[str, Any]) -> set[bytes]:
    """Discover and read all nodes, and return the nodes that have a heartbeat."""
    source = open_source(load(given))
    try:
        names = sorted(source.discover(5).names)
        reading = source.reader().read(names, time.monotonic() + 5)
        assert not reading.unread
        assert reading.server.info_allowed
        assert not source.missing_rights()
    finally:
        source.close()
    return {name for name, ttl in zip(names, reading.ttl_ms, strict=True) if ttl > 0}


def test_cluster_with_tls_is_read_by_a_user_with_few_rights(secured_cluster: RunningCluster, tmp_path: Path) -> None:
    for node_id in NODES:
        beat(secured_cluster.client, node_id, 600)
    secured_cluster.client.delete(metrics_key(NODES[0]))
    for server in secured_cluster.servers.values():
        user(server, *CLUSTER_RIGHTS)
    assert living(with_user(secured_cluster.given, tmp_path)) == {node_id.encode() for node_id in NODES}


def test_key_of_a_moving_slot_is_read_with_these_rights(secured_cluster: RunningCluster, tmp_path: Path) -> None:
    beat(secured_cluster.client, NODES[1], 600)
    for server in secured_cluster.servers.values():
        user(server, *CLUSTER_RIGHTS)
    secured_cluster.shift(metrics_key(NODES[1]), finish=False)
    assert NODES[1].encode() in living(with_user(secured_cluster.given, tmp_path))


def test_cluster_whose_user_may_not_ask_for_its_slots_is_refused_in_one_line(
    secured_cluster: RunningCluster, tmp_path: Path
) -> None:
    for server in secured_cluster.servers.values():
        user(server, *ACL_RIGHTS)
    with pytest.raises(SourceError, match=r"cluster\|slots"):
        living(with_user(secured_cluster.given, tmp_path))


def test_master_with_tls_that_sentinel_names_is_read_by_a_user_with_few_rights(
    secured_sentinel: Watched, tmp_path: Path
) -> None:
    with secured_sentinel.first.client() as client:
        beat(client, "node-1", 600)
    for server in (secured_sentinel.first, secured_sentinel.second):
        user(server, *ACL_RIGHTS)
    assert living(with_user(secured_sentinel.given, tmp_path)) == {b"node-1"}


@pytest.mark.parametrize("part", ["cluster", "sentinel"])
def test_server_of_an_unknown_authority_is_refused(
    secured_cluster: RunningCluster, secured_sentinel: Watched, part: str
) -> None:
    given = {"cluster": secured_cluster.given, "sentinel": secured_sentinel.given}[part]
    without = {name: value for name, value in given.items() if name != "redis.tls-ca-file"}
    with pytest.raises(SourceError, match="certificate is not trusted"):
        living(without)


@pytest.mark.parametrize("mode", ["standalone", "sentinel", "cluster"])
@pytest.mark.parametrize(
    ("metrics", "heartbeat"),
    [("prod/metrics:", "prod/beat:"), ("m", "node-heartbeat["), ("ex*ct?:", "ex\\ct:")],
)
def test_prefixes_other_than_the_defaults(  # noqa: PLR0913, PLR0917 - three installations
    secured_cluster: RunningCluster,
    secured_sentinel: Watched,
    redis_server: RedisServer,
    mode: str,
    metrics: str,
    heartbeat: str,
) -> None:
    given: dict[str, Any] = {
        "standalone": {"redis.url": [redis_server.url]},
        "sentinel": secured_sentinel.given,
        "cluster": secured_cluster.given,
    }[mode]
    with secured_sentinel.first.client() as master, redis_server.client() as single:
        client: Any = {"standalone": single, "sentinel": master, "cluster": secured_cluster.client}[mode]
        _fill(client, metrics, heartbeat)
        beat(client, "of the defaults", 600)
    assert living(given | {"keys.metrics-prefix": metrics, "keys.heartbeat-prefix": heartbeat}) == {b"a", b"\xff: b"}


def _fill(client: "redis.Redis", metrics: str, heartbeat: str) -> None:
    for name in (b"a", b"\xff: b"):
        client.hset(metrics.encode() + name, mapping={"total_events": "7"})
        client.set(heartbeat.encode() + name, "2026-01-06T12:30:45", ex=600)
    client.hset(metrics.encode() + b"crashed", mapping={"total_events": "7"})
    client.set(b"elsewhere:a", "other")
