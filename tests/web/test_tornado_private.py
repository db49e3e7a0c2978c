"""The parts of tornado that its documentation does not promise are there and work as ``web`` needs them."""

import asyncio
import inspect
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tornado
import trustme
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer
from tornado.web import Application, RequestHandler

from exporter.web.tornado_private import FreshTlsServer, stream_of, stream_of_closed

HINT = "tornado has changed: adapt exporter/web/tornado_private.py, or bound tornado's version in pyproject.toml"


def test_server_still_handles_each_connection_in_the_method_that_is_overridden() -> None:
    method = getattr(TCPServer, "_handle_connection", None)
    assert method, HINT
    assert list(inspect.signature(method).parameters) == ["self", "connection", "address"], HINT
    assert "self.ssl_options" in inspect.getsource(method), HINT
    assert "_handle_connection" in inspect.getsource(TCPServer.add_sockets), HINT


def test_connections_still_have_their_stream() -> None:
    for kind in (HTTP1Connection, HTTP1ServerConnection):
        assert "stream" in inspect.signature(kind).parameters, HINT
        assert "self.stream = stream" in inspect.getsource(kind), HINT
    assert hasattr(HTTPServer, "on_close"), HINT


class Streams:
    """The streams of requests and of closed connections, in their order."""

    def __init__(self) -> None:
        self.requests: list[IOStream] = []
        self.closed: list[IOStream] = []


@contextmanager
def served(tls: Any, streams: Streams) -> Iterator[tuple[FreshTlsServer, int]]:
    class Handler(RequestHandler):
        def get(self) -> None:
            streams.requests.append(stream_of(self.request))

    class Server(FreshTlsServer):
        def on_close(self, server_conn: object) -> None:
            streams.closed.append(stream_of_closed(server_conn))
            super().on_close(server_conn)

    server = Server(Application([("/", Handler)], log_function=lambda _: None), ssl_options=tls())
    server.tls = tls
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield server, sockets[0].getsockname()[1]
    finally:
        server.stop()


def test_request_and_closed_connection_give_the_same_stream() -> None:
    streams = Streams()

    async def ask() -> None:
        with served(lambda: None, streams) as (server, port):
            await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/")
            await server.close_all_connections()

    asyncio.run(ask())
    assert streams.requests, HINT
    assert streams.closed == streams.requests, HINT
    assert isinstance(streams.requests[0], IOStream), HINT


def test_each_connection_gets_the_newest_tls_context(tmp_path: Path) -> None:
    authorities = [trustme.CA(), trustme.CA()]
    contexts = []
    for authority in authorities:
        contexts.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        authority.issue_cert("localhost").configure_cert(contexts[-1])
        authority.cert_pem.write_to_path(tmp_path / f"{len(contexts)}.crt")
    current = [contexts[0]]

    async def ask() -> None:
        with served(lambda: current[0], Streams()) as (server, port):
            for number, context in enumerate(contexts, 1):
                current[0] = context
                answer = await AsyncHTTPClient(force_instance=True).fetch(
                    f"https://localhost:{port}/", ca_certs=str(tmp_path / f"{number}.crt")
                )
                assert answer.code == 200
            await server.close_all_connections()

    asyncio.run(ask())


def test_tornado_is_a_version_in_which_the_parts_were_tested() -> None:
    assert (6, 5) <= tornado.version_info[:2] < (6, 7), HINT


pytestmark = pytest.mark.timeout(60)
