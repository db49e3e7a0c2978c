"""A Redis inside of a process of its own, honest until the attack begins and hostile until it ends."""

import multiprocessing
import multiprocessing.synchronize
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import hiredis

from exporter.source.protocol import pack
from lab.siege.attack import Twist

_INFO: Final = (
    "# Server\r\nredis_version:8.0.0\r\nrun_id:0123456789\r\nuptime_in_seconds:100000\r\n"
    "# Replication\r\nrole:master\r\n"
)
_FIELDS: Final = {
    b"portfolio_count": b"3",
    b"queue_size": b"15",
    b"cpu_usage": b"12.5",
    b"memory_usage": b"512",
    b"total_events": b"15000",
    b"backpressure_count": b"5",
    b"dropped_events": b"2",
    b"status": b"RUNNING",
}
_PAGE: Final = 1000


class FakeRedis:
    """The server, in a process of its own.

    Args:
        nodes: How many nodes it holds.
        twist: What it makes of its replies while it is hostile.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, nodes: int, twist: Twist) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self._hostile = multiprocessing.Event()
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(self._listener, nodes, twist, self._hostile), daemon=True
        )
        self._process.start()

    def attack(self, *, on: bool) -> None:
        """Begin to be hostile, or end it."""
        (self._hostile.set if on else self._hostile.clear)()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._listener.close()


def _serve(listener: socket.socket, nodes: int, twist: Twist, hostile: multiprocessing.synchronize.Event) -> None:
    data = Data(nodes)
    while True:
        connection, _ = listener.accept()
        arguments = (connection, data, twist, hostile.is_set)
        threading.Thread(target=answer, args=arguments, daemon=True).start()


def answer(connection: socket.socket, data: "Data", twist: Twist, hostile: Callable[[], bool]) -> None:
    """Answer one connection until it ends, or until something else than a command comes: a TLS handshake, say.

    Args:
        connection: The connection.
        data: Knows the honest replies.
        twist: What is made of them.
        hostile: Returns whether anything is.
    """
    with connection, suppress(OSError, hiredis.ProtocolError):
        reader = hiredis.Reader()
        while received := connection.recv(1 << 16):
            reader.feed(received)
            replies = []
            while words := reader.gets():
                reply = data.reply(words)
                replies.append(twist(words, reply) if hostile() else reply)
            connection.sendall(b"".join(replies))


def _bulk(text: bytes | None) -> bytes:
    return b"$-1\r\n" if text is None else b"$%d\r\n%b\r\n" % (len(text), text)


class Data:
    """The nodes that it holds.

    Args:
        nodes: How many there are.
    """

    def __init__(self, nodes: int) -> None:
        self.names = [b"execution-node-%06d" % number for number in range(nodes)]
        self._keys = {prefix + name for name in self.names for prefix in (b"node:metrics:", b"heartbeat:node:")}
        self._info = _bulk(_INFO.encode())

    def reply(self, words: list[bytes]) -> bytes:  # noqa: C901, PLR0911 - one for each command
        """Return the honest reply to a command."""
        match [words[0].upper(), *words[1:]]:
            case [b"INFO", *_]:
                return self._info
            case [b"SCAN", cursor, *_]:
                return self._page(int(cursor))
            case [b"HMGET", key, *fields]:
                known = key in self._keys
                return b"*%d\r\n" % len(fields) + b"".join(_bulk(_FIELDS.get(x) if known else None) for x in fields)
            case [b"PTTL", key]:
                return b":20000\r\n" if key in self._keys else b":-2\r\n"
            case [b"MGET", *keys]:
                return b"*%d\r\n" % len(keys) + b"".join(self._beat(key) for key in keys)
            case [b"GET", key]:
                return self._beat(key)
            case [b"EXISTS", key]:
                return b":%d\r\n" % (key in self._keys)
            case [b"HSTRLEN" | b"STRLEN", key, *_]:
                return b":5\r\n" if key in self._keys else b":0\r\n"
            case [b"HGETALL", _]:
                return b"*0\r\n"
            case [b"HELLO", *_]:
                return b"-ERR unknown command 'HELLO'\r\n"
            case _:
                return b"+OK\r\n"

    def _beat(self, key: bytes) -> bytes:
        return _bulk(datetime.now(UTC).isoformat().encode() if key in self._keys else None)

    def _page(self, cursor: int) -> bytes:
        page = self.names[cursor : cursor + _PAGE]
        following = cursor + _PAGE if cursor + _PAGE < len(self.names) else 0
        return b"*2\r\n" + _bulk(b"%d" % following) + pack(*(b"heartbeat:node:" + name for name in page))
