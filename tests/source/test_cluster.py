"""A real cluster of three primaries, each with a replica: slots that move, and a primary that dies under scraping."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from structlog.testing import capture_logs

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError
from exporter.fleet import Fleet
from exporter.liveness.judge import Judge, State
from exporter.settings import load
from exporter.source import open_source
from exporter.source.careful import TOO_LARGE
from exporter.source.connection import linked
from exporter.source.framing import USUAL
from exporter.source.names import names_of
from exporter.source.options import pool_of
from exporter.source.reading import MISSING, Reader, Reading, Server
from exporter.source.requests import KeyNames, pack
from exporter.source.topology import Cluster, Primaries, Topology
from lab.clusters import RunningCluster
from lab.nodes import FIELDS as WRITTEN
from lab.nodes import beat, heartbeat_key, metrics_key, stop
from lab.servers import RedisServer, free_port, running_redis, wait_for

pytestmark = [pytest.mark.server("redis-server"), pytest.mark.server("redis-cli")]

NODES = [f"node-{number}" for number in range(30)]
KEYS = KeyNames(b"node:metrics:", b"heartbeat:node:")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RunningCluster]:
    with ExitStack() as stack:
        yield RunningCluster(tmp_path, stack)


@pytest.fixture
def quiet_cluster(shared_cluster: RunningCluster) -> RunningCluster:
    """An empty cluster that no test changes or stops."""
    shared_cluster.client.flushall(target_nodes=RedisCluster.PRIMARIES)
    return shared_cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with ExitStack() as stack:
        yield RunningCluster(tmp_path_factory.mktemp("cluster"), stack)


@pytest.fixture
def reader(quiet_cluster: RunningCluster) -> Iterator[Reader]:
    source = open_source(quiet_cluster.settings)
    yield source.reader()
    source.close()


def read(reader: Reader, *node_ids: str) -> Reading:
    return reader.read([node_id.encode() for node_id in node_ids], time.monotonic() + 5)


def test_nodes_of_all_primaries_are_found_and_read(quiet_cluster: RunningCluster, reader: Reader) -> None:
    for number, node_id in enumerate(NODES):
        beat(quiet_cluster.client, node_id, total_events=str(number))
    source = open_source(quiet_cluster.settings)
    found = source.discover(5)
    reading = read(reader, *NODES)
    source.close()
    assert found.names == {node_id.encode() for node_id in NODES}
    assert dict(zip(FIELDS, reading.fields, strict=True))["total_events"] == tuple(
        b"%d" % number for number in range(len(NODES))
    )
    for field, column in zip(FIELDS, reading.fields, strict=True):
        assert field == "total_events" or set(column) == {WRITTEN[field].encode()}
    assert all(20_000 < ttl <= 30_000 for ttl in reading.ttl_ms)
    assert None not in reading.beats
    assert len({quiet_cluster.primary_of(metrics_key(node_id)) for node_id in NODES}) == 3
    assert any(
        quiet_cluster.primary_of(metrics_key(node_id)) != quiet_cluster.primary_of(heartbeat_key(node_id))
        for node_id in NODES
    )


def test_nodes_with_unclear_replies_are_told_apart(quiet_cluster: RunningCluster, reader: Reader) -> None:
    client = quiet_cluster.client
    for node_id in ("zombie", "dead", "gone", "wrong hash", "wrong heartbeat"):
        beat(client, node_id)
    client.delete(metrics_key("zombie"))
    client.delete(heartbeat_key("dead"))
    stop(client, "gone")
    client.set(metrics_key("wrong hash"), "no hash")
    client.delete(heartbeat_key("wrong heartbeat"))
    client.hset(heartbeat_key("wrong heartbeat"), "no", "string")
    reading = read(reader, "zombie", "dead", "gone", "wrong hash", "wrong heartbeat")
    assert reading.without_hash == {0, 2}
    assert [ttl == MISSING for ttl in reading.ttl_ms] == [False, True, True, False, True]
    assert [beat is None for beat in reading.beats] == [False, True, True, False, True]
    assert [value is None for value in reading.fields[0]] == [True, False, True, True, False]


def test_value_that_is_too_large_is_left_out_and_all_other_nodes_are_read(quiet_cluster: RunningCluster) -> None:
    told: list[str] = []
    source = open_source(quiet_cluster.settings, lambda budget, effect: told.append(f"{budget}: {effect}"))
    client, large = quiet_cluster.client, b"9" * (USUAL.size + 1)
    for node_id in NODES:
        beat(client, node_id, queue_size="7")
    stop(client, NODES[9])
    client.hset(metrics_key(NODES[3]), "queue_size", large)
    client.set(heartbeat_key(NODES[5]), large, ex=30)
    for times in (1, 2):
        reading = read(source.reader(), *NODES)
        sizes = [None if i == 9 else TOO_LARGE if i == 3 else b"7" for i in range(len(NODES))]
        assert list(reading.fields[FIELDS.index("queue_size")]) == sizes
        assert [ttl == MISSING for ttl in reading.ttl_ms] == [i == 9 for i in range(len(NODES))]
        assert [beat == TOO_LARGE for beat in reading.beats] == [i == 5 for i in range(len(NODES))]
        assert reading.without_hash == {9}
        assert not reading.unread
        assert told == ["replies: 2 very long values were left out"] * times
    source.close()


@pytest.mark.parametrize("key", [metrics_key, heartbeat_key], ids=["hash", "heartbeat"])
@pytest.mark.parametrize("finish", [False, True], ids=["ask", "moved"])
def test_key_of_a_slot_that_moves_is_read_from_its_new_primary(
    quiet_cluster: RunningCluster, reader: Reader, key: Callable[[str], bytes], *, finish: bool
) -> None:
    node_id = f"mover {key.__name__} {finish}"
    beat(quiet_cluster.client, node_id)
    before = read(reader, node_id)
    quiet_cluster.shift(key(node_id), finish=finish)
    after = read(reader, node_id)
    assert after.fields == before.fields
    assert after.beats == before.beats
    assert after.ttl_ms[0] > 0
    assert not after.without_hash
    # The topology changes once the slot has another primary, and not while the move is under way.
    name = node_id.encode()
    assert (read(reader, node_id).server.holders(name) != before.server.holders(name)) == finish


def test_heartbeat_that_is_written_between_pttl_and_get_is_read_again(
    quiet_cluster: RunningCluster, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in the place of GET writes the heartbeat first, as a node may do between PTTL and GET."""

    def heartbeat_of(keys: KeyNames, name: bytes) -> bytes:
        script = b"redis.call('SET', KEYS[1], 'beat', 'PX', 30000) return redis.call('GET', KEYS[1])"
        return keys.pttl(name) + pack(b"EVAL", script, b"1", keys.heartbeat + name)

    monkeypatch.setattr(KeyNames, "heartbeat_of", heartbeat_of)
    beat(quiet_cluster.client, "node-1")
    quiet_cluster.client.delete(heartbeat_key("node-1"))
    reading = read(reader, "node-1")
    assert reading.beats == [b"beat"]
    assert reading.ttl_ms[0] > 0
    assert not reading.unread


def holders_of(topology: Topology, node_id: str) -> set[str]:
    """Return the addresses of the primaries that hold a node's keys."""
    return {topology.primary(key) for key in (metrics_key(node_id), heartbeat_key(node_id))}


def assert_costs_its_own_nodes(reading: Reading, address: str, node_ids: list[str]) -> None:
    """Check a reading from which one primary is missing."""
    assert isinstance(reading.server, Primaries)
    assert address not in reading.server.members
    lost = {i for i, node_id in enumerate(node_ids) if address in holders_of(reading.server.topology, node_id)}
    assert 0 < len(lost) < len(node_ids)
    assert reading.unread == lost
    assert not reading.without_hash
    for position, node_id in enumerate(node_ids):
        there = position not in lost
        assert (reading.ttl_ms[position] > 0) == there
        assert (reading.beats[position] is not None) == there
        assert all((column[position] is not None) == there for column in reading.fields)
        assert set(reading.server.holders(node_id.encode())) == holders_of(reading.server.topology, node_id)


def test_hung_primary_makes_only_its_own_nodes_unread_and_delays_a_read_little(
    quiet_cluster: RunningCluster, reader: Reader
) -> None:
    for node_id in NODES:
        beat(quiet_cluster.client, node_id, 600)
    assert not read(reader, *NODES).unread
    port = quiet_cluster.primaries()[0]
    server = quiet_cluster.servers[port]
    server.pause()
    try:
        with capture_logs() as logs:
            # The first read waits for the hung primary; the next reads wait for a short time only.
            for longest in (0.75, 0.6, 0.6):
                start = time.monotonic()
                reading = reader.read([node_id.encode() for node_id in NODES], start + 1)
                assert time.monotonic() - start < longest + 0.4
                assert_costs_its_own_nodes(reading, f"127.0.0.1:{port}", NODES)
        assert [line["log_level"] for line in logs] == ["error"]
    finally:
        server.resume()
    wait_for(lambda: _is_read_in_full(reader), "for the cluster to be read again")


def _is_read_in_full(reader: Reader) -> bool:
    try:
        return not read(reader, *NODES).unread
    except SourceError:
        return False


def test_cluster_without_any_answering_primary_cannot_be_read(quiet_cluster: RunningCluster, reader: Reader) -> None:
    read(reader)
    for server in quiet_cluster.servers.values():
        server.pause()
    try:
        with pytest.raises(SourceTimeoutError):
            reader.read([b"node-1"], time.monotonic() + 0.5)
    finally:
        for server in quiet_cluster.servers.values():
            server.resume()
    wait_for(lambda: _is_read_in_full(reader), "for the cluster to be read again")


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[RunningCluster]:
    """A cluster without replicas that goes on serving the slots of the living primaries."""
    with ExitStack() as stack:
        yield RunningCluster(tmp_path, stack, "--cluster-require-full-coverage", "no", replicas=0)


def test_dead_primary_makes_only_its_own_nodes_unread(partial: RunningCluster) -> None:
    for node_id in NODES:
        beat(partial.client, node_id, 600)
    source = open_source(partial.settings)
    reader = source.reader()
    try:
        assert len(source.discover(2).names) == len(NODES)
        assert not read(reader, *NODES).unread
        victim = partial.primary_of(metrics_key(NODES[0]))
        partial.servers[victim].kill()
        for _ in range(3):
            start = time.monotonic()
            reading = read(reader, *NODES)
            assert time.monotonic() - start < 1
            assert_costs_its_own_nodes(reading, f"127.0.0.1:{victim}", NODES)
        others = RedisCluster(
            startup_nodes=[ClusterNode("127.0.0.1", port) for port in partial.servers if port != victim]
        )
        wait_for(lambda: others.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_state"] == "ok", "for the rest")
        found = source.discover(2)
        assert not found.complete
        assert found.names < {node_id.encode() for node_id in NODES}
        beat(others, next(n for n in NODES if reading.ttl_ms[NODES.index(n)] > 0), 700)
        after = read(reader, *NODES)
        assert_costs_its_own_nodes(after, f"127.0.0.1:{victim}", NODES)
        assert max(after.ttl_ms) > 600_000
        others.close()
        partial.servers[victim].start()
        wait_for(lambda: _is_read_in_full(reader), "for the primary to be back")
        assert source.discover(2).complete
    finally:
        source.close()


def test_death_of_a_node_is_found_in_time_while_the_primary_of_other_nodes_is_dead(partial: RunningCluster) -> None:
    ttl = 8.0
    victim = partial.primary_of(metrics_key(NODES[0]))
    safe = [
        n for n in NODES if victim not in {partial.primary_of(metrics_key(n)), partial.primary_of(heartbeat_key(n))}
    ]
    for node_id in NODES:
        beat(partial.client, node_id, 600)
    settings = load(
        {
            "redis.url": [f"redis://127.0.0.1:{port}" for port in partial.servers],
            "redis.mode": "cluster",
            "heartbeat.ttl": "10m",
            "discovery.interval": "1s",
        }
    )
    died: list[tuple[bytes, float]] = []
    beat(partial.client, safe[0], ttl)  # before the watch learns the node's deadline with its first read
    deadline = time.monotonic() + ttl
    with Fleet(settings) as fleet:
        fleet.judge.on_changes(lambda changes: died.extend((c.name, c.at) for c in changes if c.after is State.OFFLINE))
        fleet.attend(lambda _: None, 1.0)
        wait_for(lambda: len(fleet.names.raw) == len(NODES) and not fleet.not_ready, "for all nodes")
        partial.servers[victim].kill()
        wait_for(lambda: not fleet.read().complete, "for the dead primary to be seen")
        snapshot = fleet.read()
        assert set(safe) <= set(snapshot.ids)
        wait_for(lambda: died, "for the death", ttl + 5)
    ((name, at),) = died
    assert name == safe[0].encode()
    assert at - deadline < 2  # the connect to the dead primary may take half a second


def test_slot_without_primary_makes_only_its_own_node_unread(partial: RunningCluster) -> None:
    for node_id in NODES:
        beat(partial.client, node_id, 600)
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
        # The slot keeps its last primary, and all primaries answered.
        assert reading.server.holders(NODES[0].encode()) == before.server.holders(NODES[0].encode())
        assert len(reading.server.members) == 3
    source.close()


def test_names_on_a_primary_that_cannot_be_scanned_stay_known(partial: RunningCluster) -> None:
    for node_id in NODES:
        beat(partial.client, node_id, 600)
    fleet = Fleet(partial.settings)
    try:
        fleet.discovery.discover()
        victim = partial.primary_of(heartbeat_key(NODES[0]))
        partial.servers[victim].kill()
        for _ in range(3):  # a name that is missing from two complete scans is dropped
            fleet.discovery.discover()
            assert set(fleet.names.raw) == {node_id.encode() for node_id in NODES}
    finally:
        fleet.close()


def test_nodes_of_a_primary_that_became_a_replica_are_unread_until_the_topology_is_known(
    cluster: RunningCluster,
) -> None:
    for node_id in NODES:
        beat(cluster.client, node_id, 600)
    source = open_source(cluster.settings)
    reader = source.reader()
    try:
        before = read(reader, *NODES)
        victim = cluster.primary_of(metrics_key(NODES[0]))
        replica = next(port for port in cluster.servers if cluster.master_of(port) == victim)
        with cluster.servers[replica].client() as client:
            client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
            wait_for(lambda: client.info("replication")["role"] == "master", "for the replica to take over")
        wait_for(lambda: _is_read_in_full(reader), "for the new topology")
        after = read(reader, *NODES)
        name = NODES[0].encode()
        assert f"127.0.0.1:{victim}" in before.server.holders(name)
        assert f"127.0.0.1:{replica}" in after.server.holders(name)
        assert all(ttl > 0 for ttl in after.ttl_ms)
    finally:
        source.close()


def test_server_that_is_out_of_the_cluster_is_not_believed(quiet_cluster: RunningCluster, tmp_path: Path) -> None:
    cluster = Cluster(quiet_cluster.settings)
    known = cluster.topology(time.monotonic() + 5)
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with running_redis(tmp_path / "out", "redis-server", *options) as out:
        pool = pool_of(load({"redis.url": [out.url]}).redis)
        with (
            pytest.raises(SourceError, match="knows no slot of the Redis Cluster"),
            linked(pool, time.monotonic() + 5) as link,
        ):
            cluster.ask(link, f"127.0.0.1:{out.port}")
        pool.disconnect_idle()
    assert cluster.topology(time.monotonic() + 5) is known


def test_seed_without_cluster_support_is_refused_in_one_line(redis_server: RedisServer) -> None:
    source = open_source(load({"redis.mode": "cluster", "redis.url": [redis_server.url]}))
    with pytest.raises(SourceError, match=r"cluster support disabled \(what answers is no cluster: see --redis.mode\)"):
        source.discover(1)
    source.close()


def test_living_node_is_never_called_dead_while_its_primary_fails_over(cluster: RunningCluster) -> None:
    for node_id in NODES:
        beat(cluster.client, node_id)
    victim = cluster.primary_of(heartbeat_key(NODES[0]))
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
    failures = 0
    try:
        with Fleet(cluster.settings) as fleet:
            wait_for(lambda: not fleet.not_ready, "for the fleet")
            assert fleet.read().counts[State.ONLINE] == len(NODES)
            cluster.servers[victim].kill()
            deadline = time.monotonic() + 30
            recovered = 0
            while recovered < 10:
                assert time.monotonic() < deadline, "the cluster was not readable again"
                counts = _counts(fleet)
                assert counts.get(State.OFFLINE, 0) == 0
                whole = counts.get(State.ONLINE) == len(NODES)
                failures += not whole
                recovered = recovered + 1 if whole and failures else 0
                time.sleep(0.05)
            assert failures
            wait_for(lambda: fleet.read().counts[State.ONLINE] == len(NODES), "for all nodes")
    finally:
        beating.clear()
        thread.join()


def _counts(fleet: Fleet) -> Mapping[State, int]:
    """Return the nodes by state; nothing while no primary can be read."""
    try:
        return fleet.read().counts
    except SourceError:
        return {}


# --- the judge, with a cluster in which the primary of one slot changes --------------------------


def primaries(run_ids: dict[int, str]) -> Primaries:
    """Return a cluster of two primaries that serve the even and the odd slots."""
    topology = Topology(tuple("ab"[slot % 2] for slot in range(16384)))
    return Primaries.of({"ab"[i]: Server(run_ids[i], "master") for i in (0, 1)}, topology, KEYS)


def reading(server: Server, at: float, names: tuple[bytes, ...], *, alive: bool) -> Reading:
    return Reading(
        asked=at,
        at=at,
        wall=at,
        server=server,
        names=names,
        fields=tuple([b"1"] * len(names) for _ in FIELDS),
        ttl_ms=[30_000 if alive else MISSING] * len(names),
        beats=[b"beat" if alive else None] * len(names),
    )


def test_only_nodes_of_slots_whose_primary_changed_are_undecided() -> None:
    names = names_of((n.encode() for n in NODES), 100).raw
    judge = Judge(30, 10)
    judge.judge(reading(primaries({0: "x", 1: "y"}), 0, names, alive=True))
    for second in range(1, 31):
        judge.observe(primaries({0: "x", 1: "y"}), second)
    other = primaries({0: "x", 1: "promoted"})
    verdicts = judge.judge(reading(other, 31, names, alive=False))
    on_second = [1 in {key_slot(key) % 2 for key in (metrics_key(name), heartbeat_key(name))} for name in names]
    assert len(set(on_second)) == 2
    assert verdicts.states == [State.UNDECIDED if hit else State.OFFLINE for hit in on_second]
    assert set(judge.awaited(31)) <= {name for name, hit in zip(names, on_second, strict=True) if hit}
