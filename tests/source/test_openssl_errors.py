"""An error of one connection with TLS stays with this connection."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source.connection import Pool, linked
from exporter.source.options import options_of
from lab.proxy import RESET
from lab.tls import Certificates

PING = b"*1\r\n$4\r\nPING\r\n"


@contextmanager
def served(certificates: Certificates, *, resets: bool) -> Iterator[tuple[Pool, Thread]]:
    """Lend connections to a server with TLS that answers slowly, or that resets its connection and ends."""
    flags = certificates.server("127.0.0.1")
    files = dict(zip(flags[::2], flags[1::2], strict=True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["--tls-cert-file"], files["--tls-key-file"])

    def serve() -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as near:
            if resets:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            while near.recv(100):
                time.sleep(0.05)  # the exporter waits for the reply by now
                near.sendall(b"+PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=serve, daemon=True)
        server.start()
        url = f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"
        pool = Pool.of(options_of(load({"redis.url": [url], "redis.tls-ca-file": certificates.ca}).redis, url))
        yield pool, server
        pool.disconnect()
        server.join(10)


def ask_late(pool: Pool, server: Thread) -> None:
    """Write to a connection that its server has reset already."""
    with linked(pool, time.monotonic() + 5) as link:
        server.join(5)
        link.ask(PING, 1)


def test_reset_of_a_connection_with_tls_fails_no_other_connection(certificates: Certificates) -> None:
    with (
        served(certificates, resets=False) as (sound, _),
        served(certificates, resets=True) as (broken, server),
        linked(sound, time.monotonic() + 5) as link,
    ):
        assert link.ask(PING, 1) == [b"PONG"]
        with pytest.raises(SourceError):
            ask_late(broken, server)
        assert link.ask(PING, 1) == [b"PONG"]
        assert link.ask(PING, 1) == [b"PONG"]
