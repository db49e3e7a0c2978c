"""The simulated nodes: all of them beat before each scrape, with new values."""

import random
import socket
from datetime import UTC, datetime, timedelta

from exporter.source.protocol import pack

_CHUNK = 500
_REPLY = len(b"+OK\r\n")
_HASH_REPLY = len(b":0\r\n")
_PAUSED = 20  # every 20th node


class Nodes:
    """Writes the keys that ExecutionNodes write every ten seconds.

    Args:
        count: The number of nodes.
        port: Redis's port.
        portfolios: How many portfolios the plan gives to each node, which has loaded them.
    """

    def __init__(self, count: int, port: int, portfolios: int = 0) -> None:
        self.names = [b"execution-node-%06d" % i for i in range(count)]
        self._events = [0] * count
        self._random = random.Random(count)  # noqa: S311 - the same load in every run
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._loaded = [
            [b"portfolio-%05d-%d" % (node, number) for number in range(portfolios)] for node in range(count)
        ]
        self._plan()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _plan(self) -> None:
        for name, loaded in zip(self.names, self._loaded, strict=True):
            if loaded:
                self._socket.sendall(pack(b"HSET", b"schedule:plan", *(word for p in loaded for word in (p, name))))
                self._socket.recv(_HASH_REPLY)

    def beat(self) -> None:
        """Write both keys of every node, pipelined."""
        now = datetime.now(UTC)
        for start in range(0, len(self.names), _CHUNK):
            positions = range(start, min(start + _CHUNK, len(self.names)))
            self._socket.sendall(b"".join(self._beat(i, now) for i in positions))
            self._receive(len(positions))

    def _beat(self, i: int, now: datetime) -> bytes:
        pick = self._random.randrange
        self._events[i] += pick(100, 2000)
        events = self._events[i]
        written = (now - timedelta(microseconds=pick(1_000_000))).isoformat()
        fields = {
            b"portfolio_count": pick(6),
            b"queue_size": pick(200),
            b"cpu_usage": pick(1000) / 10,
            b"memory_usage": pick(200, 4000),
            b"total_events": events,
            b"backpressure_count": events // 500,
            b"dropped_events": events // 5000,
        }
        words = [word for name, value in fields.items() for word in (name, b"%a" % value)]
        words += (b"status", b"RUNNING" if i % _PAUSED else b"PAUSED")
        if loaded := self._loaded[i]:
            words += (b"loaded_portfolio_ids", b'["%b"]' % b'", "'.join(loaded))
        heartbeat = pack(b"SETEX", b"heartbeat:node:" + self.names[i], b"30", written.encode())
        return heartbeat + pack(b"HSET", b"node:metrics:" + self.names[i], *words)

    def _receive(self, nodes: int) -> None:
        # HSET replies with the number of new fields, which always has one digit.
        left = nodes * (_REPLY + _HASH_REPLY)
        while left:
            left -= len(self._socket.recv(left))
