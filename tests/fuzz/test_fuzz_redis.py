"""The exporter reads whatever is under the nodes' prefixes in Redis, and every reader can read its output."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rich.console import Console

from exporter.commands.formats import csv_of, json_of
from exporter.commands.listing import listing_of
from exporter.commands.table import render
from exporter.contract import FIELDS, NODE_METRICS
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.liveness.offline import unknown
from exporter.settings import load
from exporter.snapshot.rows import rows_of
from exporter.web import page
from fleets import NODE_IDS, STATUS_TEXTS, TIMES, VALUES
from lab.nodes import heartbeat_key, metrics_key
from lab.servers import RedisServer

NAMES = st.one_of(st.sampled_from([field.encode() for field in FIELDS]), st.binary(max_size=8))
OTHER_TYPES = st.one_of(
    st.lists(st.binary(max_size=4), min_size=1, max_size=3), st.sets(st.binary(max_size=4), min_size=1)
)
HASHES = st.one_of(
    st.dictionaries(NAMES, st.one_of(VALUES, STATUS_TEXTS), min_size=1, max_size=10), TIMES, OTHER_TYPES, st.none()
)
HEARTBEATS = st.one_of(TIMES, TIMES, OTHER_TYPES, HASHES)
EXPIRIES = st.one_of(st.none(), st.integers(50, 10**9), st.just(2**53))
NODES = st.dictionaries(NODE_IDS, st.tuples(HEARTBEATS, EXPIRIES, HASHES), max_size=4)


@pytest.fixture(scope="module")
def client(shared_redis: RedisServer) -> Iterator["redis.Redis"]:
    with shared_redis.client() as client:
        yield client


@pytest.fixture(scope="module")
def fleet(shared_redis: RedisServer) -> Iterator[Fleet]:
    fleet = Fleet(load({"redis.url": [shared_redis.url]}))
    yield fleet
    fleet.close()


def write(client: "redis.Redis", key: bytes, value: Any) -> None:
    """Write a key with the Redis type of the value; write nothing for None."""
    match value:
        case bytes():
            client.set(key, value)
        case dict():
            client.hset(key, mapping=value)
        case list():
            client.rpush(key, *value)
        case set():
            client.sadd(key, *value)


@given(nodes=NODES)
def test_any_data_in_redis_is_read_and_every_reader_can_read_the_output(
    client: "redis.Redis", fleet: Fleet, nodes: Mapping[bytes, tuple[Any, int | None, Any]]
) -> None:
    client.flushall()
    for node_id, (heartbeat, expiry, fields) in nodes.items():
        write(client, metrics_key(node_id), fields)
        write(client, heartbeat_key(node_id), heartbeat)
        if expiry is not None:
            client.pexpire(heartbeat_key(node_id), expiry)
    snapshot = fleet.look()
    assert len(set(snapshot.ids)) == len(snapshot.ids)

    texts = {form: b"".join(exposition(snapshot, form)).decode() for form in Format}
    families = list(parse_text(texts[Format.TEXT]))
    others = list(parse_openmetrics(texts[Format.OPENMETRICS] + "# EOF\n"))
    assert [family.samples for family in families] == [family.samples for family in others]
    named = {sample.labels["node_id"] for family in families for sample in family.samples}
    assert named == set(snapshot.ids)
    assert {family.type for family in families} <= {metric.kind for metric in NODE_METRICS}

    rows = list(rows_of(snapshot))
    ups = {s.labels["node_id"]: s.value for f in families if f.name == "ginkgo_node_up" for s in f.samples}
    assert ups == {row["node_id"]: row["state"] == "online" for row in rows if row["state"] != "undecided"}
    assert json.loads(json_of(rows))["nodes"] == [row | dict.fromkeys(_RECKONED) for row in rows]
    assert len(list(csv.reader(io.StringIO(csv_of(rows))))) == len(rows) + 1
    assert page.render(snapshot, fleet.settings, None).decode().count('<tr role="row" class=') == len(rows)
    listing = listing_of(snapshot, fleet.settings, unknown, remembers=False)
    Console(file=io.StringIO(), width=200).print(render(listing, listing.rows, 200))


_RECKONED = ("heartbeat_age_seconds", "events_per_second")
