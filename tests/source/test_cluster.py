"""A real cluster of three primaries: slots that move, and primaries that hang, die, or are cut off."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
import redis
from opened import Open
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import MovedError
from rights import ACL_RIGHTS, CLUSTER_RIGHTS
from structlog.testing import capture_logs

from exporter.contract import FIELDS
from exporter.demo.platform import Node
from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import load
from exporter.source import Reader, Source, open_source
from exporter.source.cluster import Cluster, Primaries
from exporter.source.connection import Pool, pack
from exporter.source.gather import Topology
from exporter.source.reader import NODE_BYTES
from exporter.source.reading import MISSING, TOO_LARGE, Reading
from lab.clusters import Certificates, RunningCluster
from lab.nodes import beat, heartbeat_key, metrics_key
from lab.servers import RedisServer, free_port, running_exporter, running_redis, wait_for

pytestmark = [pytest.mark.server("redis-server"), pytest.mark.server("redis-cli")]

NODES = [f"node-{number}" for number in range(30)]
NAMES = [node_id.encode() for node_id in NODES]
LARGE = b"9" * (NODE_BYTES + 2**19)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with ExitStack() as stack:
        yield RunningCluster(tmp_path_factory.mktemp("cluster"), stack)


@pytest.fixture
def cluster(shared: RunningCluster) -> RunningCluster:
    """A cluster with replicas, with all nodes and nothing else."""

    def is_empty() -> bool:
        with suppress(redis.RedisError):  # a primary that a test has paused may be a replica now
            shared.primaries()
            return bool(shared.client.flushall(target_nodes=RedisCluster.PRIMARIES))
        return False

    wait_for(is_empty, "for the cluster to be empty")
    for number, node_id in enumerate(NODES):
        beat(shared.client, node_id, 600, total_events=str(number))
    return shared


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[RunningCluster]:
    """A cluster without replicas that goes on serving the slots of the living primaries."""
    with ExitStack() as stack:
        partial = RunningCluster(tmp_path, stack, "--cluster-require-full-coverage", "no", replicas=0)
        for node_id in NODES:
            beat(partial.client, node_id, 600)
        yield partial


@pytest.fixture
def source(cluster: RunningCluster) -> Iterator[Source]:
    source = open_source(cluster.settings)
    yield source
    source.close()


def read(reader: Reader, *node_ids: str) -> Reading:
    return reader.read([node_id.encode() for node_id in node_ids], time.monotonic() + 5)


def is_read_in_full(reader: Reader) -> bool:
    with suppress(SourceError):
        return not read(reader, *NODES).unread
    return False


def calls(cluster: RunningCluster, command: str) -> int:
    """Return how often the servers have run a command."""
    counts = []
    for server in cluster.servers.values():
        with server.client() as client:
            counts.append(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])
    return sum(counts)


def test_nodes_of_each_kind_and_large_values_are_told_apart(cluster: RunningCluster) -> None:
    client, told = cluster.client, []
    kinds = ["zombie", "dead", "gone", "wrong hash", "wrong heartbeat", "large field", "large heartbeat"]
    for node_id in kinds:
        beat(client, node_id)
    client.delete(metrics_key("zombie"))
    client.delete(heartbeat_key("dead"))
    Node("gone").stop(client)
    client.set(metrics_key("wrong hash"), "no hash")
    client.delete(heartbeat_key("wrong heartbeat"))
    client.hset(heartbeat_key("wrong heartbeat"), "no", "string")
    client.hset(metrics_key("large field"), "queue_size", LARGE)
    client.set(heartbeat_key("large heartbeat"), LARGE, ex=30)
    source = open_source(cluster.settings, lambda *budget: told.append(budget))
    reader = source.reader()
    for _ in range(3):
        reading = read(reader, *kinds, *NODES)
        assert reading.without_hash == {0, 2}
        assert [ttl == MISSING for ttl in reading.ttl_ms[:7]] == [False, True, True, False, True, False, False]
        assert [beat is None for beat in reading.beats[:7]] == [False, True, True, False, True, False, False]
        assert [beat == TOO_LARGE for beat in reading.beats[:7]] == [False] * 5 + [True] * 2
        assert [value is None for value in reading.fields[0][:7]] == [True, False, True, True, False, True, True]
        assert None not in reading.fields[0][7:]
        assert not reading.unread
        assert len(told) == 2
    source.discover(5)
    assert read(reader, *kinds).beats[6] == TOO_LARGE
    beat(client, "large field")
    beat(client, "large heartbeat")
    source.discover(5)
    assert TOO_LARGE not in read(reader, *kinds).beats
    source.close()


def shift(cluster: RunningCluster, key: bytes, *, finish: bool) -> None:
    """Move a key to another primary, and if the move is to be finished, its slot too."""
    slot, source = key_slot(key), cluster.primary_of(key)
    target = next(port for port in cluster.primaries() if port != source)
    with cluster.servers[source].client() as old, cluster.servers[target].client() as new:
        mine, theirs = old.execute_command("CLUSTER MYID"), new.execute_command("CLUSTER MYID")
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", mine)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", theirs)
        old.execute_command("MIGRATE", "127.0.0.1", cluster.tls_ports[target], "", 0, 5000, "KEYS", key)
        if finish:
            for client in (new, old):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", theirs)
            wait_for(
                lambda: {owner(server, key) for server in cluster.servers.values()} == {target},
                "for all servers to hear of the move",
            )


def owner(server: RedisServer, key: bytes) -> int:
    """Return the port of the server that a server takes for a key's primary."""
    with server.client() as client:
        try:
            client.exists(key)
        except MovedError as error:
            return error.port
    return server.port


@pytest.mark.parametrize("key", [metrics_key, heartbeat_key], ids=["hash", "heartbeat"])
def test_key_of_a_slot_that_moves_is_read_from_its_new_primary(
    cluster: RunningCluster, source: Source, key: Callable[[str], bytes]
) -> None:
    reader = source.reader()
    for finish in (False, True):
        node_id = f"mover {len(key(''))} {finish}"
        beat(cluster.client, node_id)
        before = read(reader, node_id)
        shift(cluster, key(node_id), finish=finish)
        after = read(reader, node_id)
        assert (after.fields, after.beats, after.without_hash) == (before.fields, before.beats, frozenset())
        assert after.ttl_ms[0] > 0
        # The topology changes once the slot has another primary, and not while the move is under way.
        name = node_id.encode()
        assert (read(reader, node_id).server.holders(name) != before.server.holders(name)) == finish


def test_large_value_of_a_slot_that_moves_is_told_apart(cluster: RunningCluster, source: Source) -> None:
    beat(cluster.client, "large mover")
    cluster.client.hset(metrics_key("large mover"), "queue_size", LARGE)
    shift(cluster, metrics_key("large mover"), finish=False)
    for _ in range(2):
        reading = read(source.reader(), "large mover", *NODES)
        assert (reading.unread, reading.beats[0]) == (set(), TOO_LARGE)


def test_many_moved_keys_ask_for_the_map_of_slots_once(cluster: RunningCluster) -> None:
    """All keys are in one slot by their tag; 600 answers MOVED are one reason to ask."""
    names = [f"{{moved}}{number}" for number in range(600)]
    settings = load(cluster.given | {"keys.metrics-prefix": "m:", "keys.heartbeat-prefix": "h:"})
    tagged = open_source(settings)
    reader = tagged.reader()
    assert len(read(reader, *names).without_hash) == 600
    shift(cluster, b"m:{moved}0", finish=True)
    cluster.client.hset("m:{moved}7", mapping={"status": "RUNNING"})
    keys = [b"m:" + name.encode() for name in names]
    before = calls(cluster, "cluster|slots")
    replies = tagged.gather(keys, lambda key: pack(b"EXISTS", key), time.monotonic() + 5)
    assert sorted(replies) == [0] * 599 + [1]
    for _ in range(2):
        assert len(read(reader, *names).without_hash) == 599
        assert calls(cluster, "cluster|slots") - before == 3, "each of the three primaries once"
    tagged.close()


def assert_costs_its_own_nodes(reading: Reading, port: int) -> None:
    """Check a reading from which one primary is missing."""
    assert isinstance(reading.server, Primaries)
    address = f"127.0.0.1:{port}"
    assert address not in reading.server.members
    lost = {i for i, name in enumerate(NAMES) if address in reading.server.holders(name)}
    assert 0 < len(lost) < len(NODES)
    assert reading.unread == lost
    assert not reading.without_hash
    for position in range(len(NODES)):
        there = position not in lost
        assert (reading.ttl_ms[position] > 0, reading.beats[position] is not None) == (there, there)
        assert all((column[position] is not None) == there for column in reading.fields)


def test_hung_primary_makes_only_its_own_nodes_unread_and_delays_a_read_little(
    cluster: RunningCluster, source: Source
) -> None:
    reader = source.reader()
    assert not read(reader, *NODES).unread
    port = cluster.primaries()[0]
    cluster.servers[port].pause()
    try:
        with capture_logs() as logs:
            # The first read waits for the hung primary; the next reads wait for a short time only.
            for longest in (0.75, 0.6, 0.6):
                start = time.monotonic()
                assert_costs_its_own_nodes(reader.read(NAMES, start + 1), port)
                assert time.monotonic() - start < longest + 0.4
        assert [line["log_level"] for line in logs] == ["error"]
        keys = [metrics_key(node_id) for node_id in NODES]
        replies = source.gather(keys, lambda key: pack(b"HLEN", key), time.monotonic() + 1)
        hung = [cluster.client.get_node_from_key(key).port == port for key in keys]
        assert [isinstance(reply, SourceTimeoutError) for reply in replies] == hung
        for server in cluster.servers.values():
            server.pause()
        with pytest.raises(SourceTimeoutError):
            reader.read(NAMES, time.monotonic() + 0.5)
    finally:
        for server in cluster.servers.values():
            server.resume()
    wait_for(lambda: is_read_in_full(reader), "for the cluster to be read again")


def test_dead_primary_costs_its_own_nodes_and_names_that_others_hold_are_dropped(partial: RunningCluster) -> None:
    source = open_source(partial.settings)
    reader = source.reader()
    try:
        assert source.discover(2).names == set(NAMES)
        assert not read(reader, *NODES).unread
        victim = partial.primary_of(metrics_key(NODES[0]))
        partial.servers[victim].kill()
        for _ in range(3):
            start = time.monotonic()
            reading = read(reader, *NODES)
            assert time.monotonic() - start < 1
            assert_costs_its_own_nodes(reading, victim)
        others = [ClusterNode("127.0.0.1", port) for port in partial.servers if port != victim]
        rest = RedisCluster(startup_nodes=others)
        wait_for(lambda: rest.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_state"] == "ok", "for the rest")
        gone = next(node_id for i, node_id in enumerate(NODES) if i not in reading.unread)
        Node(gone).stop(rest)
        found = source.discover(2)
        assert not found.complete
        lost = {NAMES[i] for i in reading.unread}
        assert found.names | lost == set(NAMES) - {gone.encode()}
        rest.close()
        partial.servers[victim].start()
        wait_for(lambda: is_read_in_full(reader), "for the primary to be back")
        assert source.discover(2).complete
    finally:
        source.close()


def test_slot_without_primary_makes_only_its_own_node_unread(partial: RunningCluster) -> None:
    source = open_source(partial.settings)
    reader = source.reader()
    before = read(reader, *NODES)
    slot = key_slot(heartbeat_key(NODES[0]))
    for server in partial.servers.values():
        with server.client() as client:
            client.execute_command("CLUSTER", "DELSLOTS", slot)
    for _ in range(2):
        reading = read(reader, *NODES)
        assert reading.unread == {0}
        assert reading.server.holders(NAMES[0]) == before.server.holders(NAMES[0]), "it keeps its last primary"
        assert len(reading.server.members) == 3
    source.close()


def test_most_primaries_decide_on_the_map_of_slots(cluster: RunningCluster) -> None:
    """One of three answers with the map of the past: as cut off from the others, as often as it is asked."""
    watched = Cluster(cluster.settings.redis)
    known = watched.know(time.monotonic() + 5)
    first, *_ = known.addresses
    stale = Topology((first,), (first,) * len(known.slots))
    truth = watched._slots_with

    def answer(reply: Any, address: str) -> tuple[str, ...]:
        return stale.slots if address == first else truth(reply, address)

    watched._slots_with = answer  # type: ignore[method-assign]
    for _ in range(5):
        watched.doubt()
        assert watched.know(time.monotonic() + 5) is known
    watched.close()


def test_two_threads_may_drop_the_same_primaries(cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, both = Cluster(cluster.settings.redis), Barrier(2)
    watched._pools |= {f"127.0.0.1:{port}": Pool({}) for port in (1, 2)}

    def meet(*slots: tuple[str, ...]) -> Topology:
        both.wait(10)
        return Topology(*slots)

    monkeypatch.setattr("exporter.source.cluster.Topology", meet)
    monkeypatch.setattr(Pool, "close", lambda _: time.sleep(0.05))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(watched.know, [time.monotonic() + 5] * 2)
    assert (len(first.addresses), first) == (3, second)
    assert watched._pools.keys() == {f"127.0.0.1:{port}" for port in cluster.servers}
    monkeypatch.undo()
    watched.close()


def test_living_node_is_never_called_dead_while_its_primary_fails_over(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = RunningCluster(tmp_path, stack)
        beating = Event()
        beating.set()

        def beat_on() -> None:
            with cluster.new_client() as client:
                while beating.is_set():
                    for node_id in NODES:
                        with suppress(redis.RedisError):  # a node tries again at its next beat
                            beat(client, node_id)
                    time.sleep(0.2)

        thread = Thread(target=beat_on)
        thread.start()
        stack.callback(thread.join)
        stack.callback(beating.clear)
        urls = [flag for server in cluster.servers.values() for flag in ("--redis.url", server.url)]
        with running_exporter(tmp_path, "--redis.mode", "cluster", *urls, "--redis.timeout", "2s") as exporter:
            wait_for(lambda: len(exporter.scrape().get("ginkgo_node_up", ())) == len(NODES), "for all nodes")
            cluster.servers[cluster.primary_of(heartbeat_key(NODES[0]))].kill()
            failures = recovered = 0
            while recovered < 10:
                series = exporter.scrape()
                assert series.get("ginkgo_nodes", {}).get("offline", 0) == 0
                whole = series["ginkgo_redis_up"][""] == 1 and len(series["ginkgo_node_up"]) == len(NODES)
                failures += not whole
                recovered = recovered + 1 if whole and failures else 0
                time.sleep(0.05)


def test_server_that_belongs_to_no_cluster_is_not_believed(
    cluster: RunningCluster, redis_server: RedisServer, tmp_path: Path, opened: Open
) -> None:
    with pytest.raises(SourceError, match=r"the server is no Redis Cluster: see --redis.mode"):
        opened(redis_server.url, redis_mode="cluster").discover(1)
    with pytest.raises(SourceError, match=r"part of a Redis Cluster: see --redis\.mode"):
        read(opened(next(iter(cluster.servers.values())).url).reader(), *NODES)
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with running_redis(tmp_path / "out", "redis-server", *options) as out:
        with pytest.raises(SourceError, match="knows no slot of the Redis Cluster"):
            opened(out.url, redis_mode="cluster").discover(1)
        urls = [out.url, *(server.url for server in cluster.servers.values())]
        assert opened(*urls, redis_mode="cluster").discover(2).names == set(NAMES), "the next seed is asked"


def test_cluster_with_tls_is_read_with_the_rights_that_the_documentation_lists(
    tmp_path: Path, certificates: Certificates
) -> None:
    (tmp_path / "password").write_text("sesame")
    with ExitStack() as stack:
        secured = RunningCluster(tmp_path, stack, replicas=0, certificates=certificates)
        given = secured.given | {"redis.username": "exporter", "redis.password-file": str(tmp_path / "password")}

        def user(*rights: str) -> None:
            for server in secured.servers.values():
                with server.client() as client:
                    client.execute_command("ACL", "SETUSER", "exporter", "reset", "on", ">sesame", *rights)

        user(*CLUSTER_RIGHTS)
        for number, node_id in enumerate(NODES):
            beat(secured.client, node_id, 600, total_events=str(number))
        secured.client.delete(metrics_key(NODES[0]))
        shift(secured, metrics_key(NODES[1]), finish=False)
        source = open_source(load(given))
        stack.callback(source.close)
        assert source.discover(5).names == set(NAMES)
        reading = read(source.reader(), *NODES)
        assert (reading.unread, reading.without_hash, reading.server.info_allowed) == (set(), {0}, True)
        assert reading.fields[FIELDS.index("total_events")] == (None, *(b"%d" % number for number in range(1, 30)))
        assert None not in reading.beats
        assert source.plan(time.monotonic() + 5) == ({}, None)
        user(*ACL_RIGHTS)
        with pytest.raises(SourceError, match=r"cluster\|slots"):
            open_source(load(given)).discover(2)
        with pytest.raises(SourceError, match="certificate is not trusted"):
            open_source(load({name: text for name, text in given.items() if name != "redis.tls-ca-file"})).discover(2)
