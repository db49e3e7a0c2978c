"""Servers with arbitrary replies: a read and a scan raise a SourceError and no other error."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from lab.fakes import fake_server

MODES: dict[str, dict[str, Any]] = {
    "standalone": {},
    "sentinel": {"redis.sentinel-master": "m"},
    "cluster": {},
}
REPLIES = [
    *(b"+OK\r\n", b":1\r\n", b":-9223372036854775808\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"*0\r\n", b"*-1\r\n"),
    *(
        b"*1\r\n$1\r\na\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n:5\r\n",
        b"*2\r\n$1\r\n0\r\n*1\r\n*0\r\n",
        b"*2\r\n$1\r\n1\r\n*0\r\n",
    ),
    *(b"$9\r\nrole:slav\r\n", b"$14\r\n# Errorstats\r\n\r\n", b"$10\r\nmaxmemory:\r\n", b"$11\r\nmaxmemory:-\r\n"),
    *(
        b"-\r\n",
        b"-ERR\r\n",
        b"-\xff\xfe\r\n",
        b"-NOPERM no\r\n",
        b"-LOADING\r\n",
        b"-BUSY script\r\n",
        b"-READONLY\r\n",
    ),
    *(b"-MOVED\r\n", b"-MOVED x\r\n", b"-MOVED 1 a\r\n", b"-MOVED 1 127.0.0.1:x\r\n", b"-MOVED 1 :99999\r\n"),
    *(
        b"-ASK\r\n",
        b"-ASK 1 127.0.0.1:1\r\n",
        b"-CLUSTERDOWN\r\n",
        b"-TRYAGAIN\r\n",
        b"-WRONGTYPE\r\n",
        b"-MASTERDOWN\r\n",
    ),
    *(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n"),
    *(b"*2\r\n$1\r\na\r\n$1\r\n1\r\n", b"*2\r\n$1\r\n\xff\r\n$2\r\n-1\r\n", b"*2\r\n$0\r\n\r\n$6\r\n999999\r\n"),
    *(
        b"HTTP/1.1 400 Bad Request\r\n",
        b"$x\r\n",
        b"*99999999999\r\n",
        b"%1\r\n+a\r\n:1\r\n",
        b"\x00\x01",
        b",nan\r\n",
        b"_\r\n",
    ),
]


@contextmanager
def server_repeating(reply: bytes) -> Iterator[int]:
    """Run a server that answers each command with the same reply, and return its port."""

    def answer(near: socket.socket) -> None:
        while data := near.recv(65536):
            near.sendall(reply * max(1, data.count(b"*")))

    with fake_server(answer) as port:
        yield port


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reply", REPLIES, ids=repr)
def test_any_invalid_reply_raises_a_source_error_and_nothing_else(mode: str, reply: bytes) -> None:
    with server_repeating(reply) as port:
        source = open_source(
            load(
                {
                    "redis.mode": mode,
                    "redis.url": [f"redis://127.0.0.1:{port}"],
                    "redis.timeout": "300ms",
                    **MODES[mode],
                }
            )
        )
        reader = source.reader()
        with suppress(SourceError):
            reader.read((), time.monotonic() + 0.3)
        with suppress(SourceError):
            reader.read([b"a", b"b"], time.monotonic() + 0.3)
        if not reply.endswith(b"*0\r\n") or mode == "sentinel":  # its cursor never ends
            with suppress(SourceError):
                source.discover(0.3)
        source.close()
