"""Whatever is in a configuration file, in a request or in Redis, the exporter reads it or refuses it in clear words."""

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import redis
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.contract import FIELDS, NODE_METRICS
from exporter.errors import SettingsError
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.push.transport import HttpConfig
from exporter.settings import all_settings, load
from exporter.snapshot.rows import rows_of
from exporter.web import config
from fleets import NODE_IDS, STATUS_TEXTS, TIMES, VALUES
from lab.nodes import beat, heartbeat_key, metrics_key
from lab.servers import PATIENCE, Exporter, RedisServer, running_exporter

# --- configuration -------------------------------------------------------------------------

NAMES: Final = sorted(
    {part for setting in all_settings() for part in setting.name.split(".")}
    | {"tls_server_config", "cert_file", "key_file", "client_auth_type", "min_version", "basic_auth_users"}
    | {"basic_auth", "username", "password_file", "authorization", "credentials", "tls_config", "ca_file"}
)
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.binary(max_size=5)),
    st.sampled_from(
        [*NAMES, "10s", "-1s", "1e400s", "redis://h:99999", "[::1]:1", ":0", "a=b", "/dev/null", "$2b$04$"]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.sampled_from(NAMES), below, max_size=4), st.just({1: {}})
    ),
    max_leaves=12,
).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
TEXTS = st.one_of(st.binary(max_size=60), st.text("{}[]:,-?!&*|>'\"%@` \n\t0189abx~=<.#", max_size=60).map(str.encode))


@given(content=st.one_of(TREES, TEXTS))
@example(content=b"2001-01-01T99:00:00")
@example(content=b'!!int ""')
@example(content=b"&a {redis: *a}")
@example(content=b"[" * 5000)
def test_any_configuration_file_is_loaded_or_refused_in_clear_lines(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yml"
    file.write_bytes(content)
    loaders = (lambda path: load({"config.file": str(path)}), config.load, HttpConfig.load)
    for loader in loaders:
        with contextlib.suppress(SettingsError):
            loader(file)  # any other error fails the test
            continue
        with pytest.raises(SettingsError) as refused:
            loader(file)
        assert all(line.strip() and line.isprintable() for line in str(refused.value).split("\n"))


# --- HTTP ----------------------------------------------------------------------------------

PATHS: Final = ("/metrics", "/", "/api/v1/nodes", "/-/healthy", "/-/ready", "/nowhere")
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
ACCEPTED = st.sampled_from(
    ["text/plain", "application/openmetrics-text;version=1.0.0", "*/*;q=nan", "gzip;q=2", "br", ";"]
)
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Accept-Encoding", "X-Prometheus-Scrape-Timeout-Seconds", "Authorization", "Range"]),
    st.one_of(VISIBLE, ACCEPTED, st.floats().map(str)),
)
QUERIES = st.one_of(
    VISIBLE.map(lambda text: text.replace(" ", "+")),
    st.sampled_from(["name[]=ginkgo_node_up", "name%5B%5D=%ff", "name[]=&%zz", "limit=-1&sort=x", "cursor=%00"]),
)
METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "TRACE", "FOO", "get"])


@pytest.fixture(scope="module")
def exporter(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    flags = ("--redis.url", shared_redis.url, "--heartbeat.ttl", "10m", "--discovery.interval", "1h")
    with shared_redis.client() as client:
        client.flushall()
        for node_id in ("a", 'quoted "b"', "line\nc", b"\xff"):
            beat(client, node_id, 36_000)
        with running_exporter(tmp_path_factory.mktemp("exporter"), *flags) as exporter:
            yield exporter
        assert "internal error" not in exporter.output()
        assert "Traceback" not in exporter.output()


class Received(io.BytesIO):
    """Bytes in place of a socket, from which ``http.client`` reads an answer."""

    def makefile(self, *_: object) -> "Received":
        return self


def exchange(exporter: Exporter, request: bytes) -> bytes:
    """Send bytes and return all bytes that come until the other side closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", exporter.port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        if not request.endswith(b"\r\n\r\n"):
            connection.shutdown(socket.SHUT_WR)  # else the server waits for more
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                received += more
    return received


@given(path=st.sampled_from(PATHS), query=QUERIES, headers=HEADERS, method=METHODS)
def test_any_query_header_and_method_gets_a_whole_answer(
    exporter: Exporter, path: str, query: str, headers: dict[str, str], method: str
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{method} {path}?{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n"
    answer = http.client.HTTPResponse(Received(exchange(exporter, request.encode("latin-1"))), method=method)  # type: ignore[arg-type]
    answer.begin()
    body = answer.read()
    right = (404 if path == "/nowhere" else 200) if method in ("GET", "HEAD") else 405
    assert answer.status in (right, 400), body
    if method == "GET" and path == "/metrics" and answer.status == 200 and not answer.getheader("Content-Encoding"):
        parse = parse_openmetrics if "openmetrics" in (answer.getheader("Content-Type") or "") else parse_text
        assert list(parse(body.decode())) is not None


@given(request=st.one_of(st.binary(max_size=200), st.text("GET /HTP1.\r\n:% \x00\xff", max_size=80).map(str.encode)))
def test_bytes_that_are_no_request_leave_the_exporter_serving(exporter: Exporter, request: bytes) -> None:
    exchange(exporter, request + b"!")
    assert exporter.get("/-/healthy").status == 200


# --- Redis ---------------------------------------------------------------------------------

OTHER_TYPES = st.one_of(
    st.lists(st.binary(max_size=4), min_size=1, max_size=3), st.sets(st.binary(max_size=4), min_size=1)
)
WRITTEN = st.one_of(st.sampled_from([field.encode() for field in FIELDS]), st.binary(max_size=8))
HASHES = st.one_of(
    st.dictionaries(WRITTEN, st.one_of(VALUES, STATUS_TEXTS), min_size=1, max_size=10), TIMES, OTHER_TYPES, st.none()
)
EXPIRIES = st.one_of(st.none(), st.integers(50, 10**9), st.just(2**53))
NODES = st.dictionaries(NODE_IDS, st.tuples(st.one_of(TIMES, OTHER_TYPES, HASHES), EXPIRIES, HASHES), max_size=4)


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


@pytest.fixture(scope="module")
def fleet(shared_redis: RedisServer) -> Iterator[Fleet]:
    fleet = Fleet(load({"redis.url": [shared_redis.url]}))
    yield fleet
    fleet.close()


@given(nodes=NODES)
def test_any_data_in_redis_is_read_and_every_reader_can_read_the_output(
    shared_redis: RedisServer, fleet: Fleet, nodes: Mapping[bytes, tuple[Any, int | None, Any]]
) -> None:
    with shared_redis.client() as client:
        client.flushall()
        for node_id, (heartbeat, expiry, fields) in nodes.items():
            write(client, metrics_key(node_id), fields)
            write(client, heartbeat_key(node_id), heartbeat)
            if expiry is not None:
                client.pexpire(heartbeat_key(node_id), expiry)
    snapshot = fleet.look()
    texts = {form: b"".join(exposition(snapshot, (), form)).decode() for form in Format}
    families = list(parse_text(texts[Format.TEXT]))
    assert [each.samples for each in families] == [
        each.samples for each in parse_openmetrics(texts[Format.OPENMETRICS])
    ]
    assert {sample.labels["node_id"] for family in families for sample in family.samples} == set(snapshot.ids)
    assert {family.type for family in families} <= {metric.kind for metric in NODE_METRICS}
    rows = list(rows_of(snapshot))
    ups = {
        sample.labels["node_id"]: sample.value for f in families if f.name == "ginkgo_node_up" for sample in f.samples
    }
    assert ups == {row["node_id"]: row["state"] == "online" for row in rows if row["state"] != "undecided"}
    assert json.loads(json.dumps(rows)) == rows
