"""Whatever a client sends, it gets an HTTP answer or its connection is closed, and the next client is served."""

import http.client
import io
import socket
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lab.nodes import beat
from lab.servers import PATIENCE, Exporter, RedisServer, running_exporter

PATHS: Final = ("/metrics", "/", "/api/v1/nodes", "/-/healthy", "/-/ready", "/nowhere")
SERVED: Final = PATHS[:-1]
BYTES = st.binary(max_size=30)
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
WEIGHTS = st.sampled_from(
    ["", ";q=0", ";q=1", ";q=0.5", ";q=2", ";q=nan", ";q=-1", ";q=", ";q=0.5;q=1", ";version=1.0.0"]
)
MEDIA = st.sampled_from(
    [
        *("text/plain", "application/openmetrics-text", "*/*", "text/*", "gzip", "identity", "*", "br", "text/html"),
        "application/openmetrics-text;version=0.0.1",
    ]
)
LISTS = st.lists(st.tuples(MEDIA, WEIGHTS).map("".join), max_size=4).map(",".join)
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Accept-Encoding", "X-Prometheus-Scrape-Timeout-Seconds", "Authorization", "Range"]),
    st.one_of(VISIBLE, LISTS, st.floats().map(str), st.integers().map(str)),
)
QUERIES = st.one_of(
    VISIBLE.map(lambda text: text.replace(" ", "+")),
    st.lists(
        st.tuples(
            st.sampled_from(["name[]", "name%5B%5D", "name", "", "%", "%zz", "%ff"]),
            st.sampled_from(["ginkgo_node_up", "ginkgo_nodes", "python_info", "%ff", "%00", "%0a", "", "=", "\xe9"]),
        ).map("=".join),
        max_size=4,
    ).map("&".join),
)
METHODS = st.sampled_from(
    ["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "FOO", "get"]
)


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


def exchange(exporter: Exporter, request: bytes, *, whole: bool = False) -> bytes:
    """Send bytes and return all bytes that come until the other side closes.

    Unless the request is ``whole``, the sending side is closed, so that the server need not wait for more.
    """
    with socket.create_connection(("127.0.0.1", exporter.port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        if not whole:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        return received


def answer_to(received: bytes, method: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the only answer that was received.

    Raises:
        Exception: The bytes are no HTTP answer.
    """
    answer = http.client.HTTPResponse(Received(received), method=method)  # type: ignore[arg-type]
    answer.begin()
    return answer, answer.read()


@given(path=st.sampled_from(PATHS), query=QUERIES, headers=HEADERS, method=METHODS)
def test_any_query_header_and_method_gets_a_whole_answer(
    exporter: Exporter, path: str, query: str, headers: dict[str, str], method: str
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{method} {path}?{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n"
    answer, body = answer_to(exchange(exporter, request.encode("latin-1"), whole=True), method)
    assert answer.status < 500, (answer.status, body)
    if method in ("GET", "HEAD") and answer.status != 400:
        assert answer.status == (200 if path in SERVED else 404)
    elif answer.status != 400:
        assert answer.status == 405
    if method == "GET" and path == "/metrics" and answer.status == 200 and not answer.getheader("Content-Encoding"):
        form = answer.getheader("Content-Type") or ""
        assert list((parse_openmetrics if "openmetrics" in form else parse_text)(body.decode())) is not None


@given(path=st.one_of(BYTES, VISIBLE.map(str.encode)), name=BYTES, value=BYTES)
def test_any_bytes_in_path_and_headers_are_answered_or_cut_off(
    exporter: Exporter, path: bytes, name: bytes, value: bytes
) -> None:
    received = exchange(
        exporter, b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b: %b\r\n\r\n" % (path, name, value)
    )
    if received:
        answer, _ = answer_to(received, "GET")
        assert answer.status < 500


@given(request=st.one_of(st.binary(max_size=200), st.text("GET /HTP1.\r\n:% \x00\xff", max_size=80).map(str.encode)))
def test_bytes_that_are_no_request_leave_the_exporter_serving(exporter: Exporter, request: bytes) -> None:
    exchange(exporter, request)
    assert exporter.get("/-/healthy").status == 200
