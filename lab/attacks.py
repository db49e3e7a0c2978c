"""Every attack of the siege. All attackers know one address: that of the exporter which they were started with."""

import itertools
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import redis

from lab.clusters import trusting


@dataclass(frozen=True, slots=True)
class Field:
    """Where attackers find their targets.

    Attributes:
        exporter_port, redis_port: The ports of the exporter and of the Redis that it reads.
        until: The end of the attack in monotonic seconds.
        secured: Whether the exporter speaks TLS.
    """

    exporter_port: int
    redis_port: int
    until: float
    secured: bool

    @property
    def left(self) -> float:
        """Seconds until the attack ends."""
        return max(0.0, self.until - time.monotonic())

    def rounds(self, pause: float) -> Iterator[int]:
        """Count rounds with a pause in seconds after each, until the attack ends."""
        for number in itertools.count():
            if not self.left:
                return
            yield number
            time.sleep(min(pause, self.left))

    def connect(self, *, small: bool = False) -> socket.socket:
        """Return a connection to the exporter; a small one has no TLS, and the kernel holds some KiB for it."""
        connection = socket.socket()
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF) if small else ():
            connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self.exporter_port))
        return trusting().wrap_socket(connection) if self.secured and not small else connection


Attacker = Callable[[Field], None]
NODES: Final = 20_000
WHOLE, AWAY = "whole", "Redis is away"
"""What a scrape shows."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: Its name on the command line.
        what: What the attackers do, for the table.
        run: Attacks, in a process of its own, until the field's time is over.
        nodes: Nodes of the fleet.
        headers: What an Alertmanager answers each post with.
        turn: Changes each piece of what Redis replies.
        sees: What the scraper sees.
        secured: Whether the exporter asks for TLS and a password.
        pace: Bytes that the scraper reads in a second at most.
    """

    name: str
    what: str
    run: Attacker
    nodes: int = NODES
    headers: Mapping[str, str] = field(default_factory=dict)
    turn: Callable[[bytes], bytes] = bytes
    sees: str = WHOLE
    secured: bool = False
    pace: float = math.inf


def request(path: str, *headers: str) -> bytes:
    """Return a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: exporter", *headers, "", ""]).encode()


def clients(count: int, *requests: bytes, piece: int = 1 << 20, pause: float = 1.0) -> Attacker:
    """Return an attack by clients that ask and do not read; a client that is cut off comes again.

    Args:
        count: Number of clients.
        requests: The clients' requests in turn.
        piece: Bytes of the request that are sent in a round.
        pause: Seconds between two rounds.
    """

    def attack(field: Field) -> None:
        unsent, following = dict[socket.socket, bytes](), itertools.cycle(requests)
        for _ in field.rounds(pause):
            unsent = {client: rest for client, rest in unsent.items() if _stays(client)}
            while len(unsent) < count and field.left:
                with suppress(OSError):
                    client = field.connect(small=True)
                    client.setblocking(False)
                    unsent[client] = next(following)
            for client, rest in unsent.items():
                with suppress(OSError):
                    unsent[client] = rest[client.send(rest[:piece]) :]

    return attack


def _stays(client: socket.socket) -> bool:
    """Return whether the exporter has left a connection open; what has arrived stays unread."""
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except OSError as error:
        return isinstance(error, BlockingIOError)


def flood(threads: int, *requests: bytes) -> Attacker:
    """Return an attack by connections that each send something, read the whole answer, and go."""

    def attack(field: Field) -> None:
        following = itertools.cycle(requests)

        def work() -> None:
            while field.left:
                with suppress(OSError), field.connect() as client:
                    client.sendall(next(following))
                    while client.recv(1 << 20):
                        pass

        for _ in range(threads):
            threading.Thread(target=work, daemon=True).start()
        _wait(field)

    return attack


_END: Final = "Connection: close"
_JSON, _PAGE, _SCRAPE = request("/api/v1/nodes"), request("/"), request("/metrics")
_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
_LARGE: Final = request("/", "X: " + "x" * 15_000)
_MALFORMED: Final = (
    b"X\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\xff\x00" * 500 + b"\r\n\r\n",
    _HELLO,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 1000,
    _LARGE,
    request("/nowhere", _END),
    request("/metrics?name[]=%ff%00", _END),
)


_FILTERS: Final = [
    request(f"/metrics?name[]=ginkgo_node_up&name[]=ginkgo_node_queue_size&name[]={number}") for number in range(450)
]
_RUNBOOKS: Final = [request(f"/runbooks/GinkgoNodeOffline?node_id={number}") for number in range(300)]


# --- attackers that write to Redis ---------------------------------------------------------


def _wait(field: Field) -> None:
    time.sleep(field.left)


def _large_value(field: Field) -> None:
    """Write 100 MB into one field of one node."""
    with redis.Redis(port=field.redis_port) as client:
        client.hset("node:metrics:execution-node-000007", "queue_size", b"9" * 100_000_000)
    _wait(field)


def _new_nodes(field: Field) -> None:
    """Write 1,000 new ids a second, unreadable or of the wrong kind. All are gone soon after, the heartbeats last."""
    hashed = "queue_size", "rubbish", "total_events", "rubbish", "status", "rubbish"
    with redis.Redis(port=field.redis_port) as client:
        for number in field.rounds(0.1):
            pipe, left = client.pipeline(transaction=False), math.ceil(field.left) + 2
            for i in range(100):
                key = f"node:metrics:new-{number}-{i}"
                pipe.execute_command(*(("HSET", key, *hashed) if i % 2 else ("RPUSH", key, "rubbish")))
                pipe.expire(key, left)
                pipe.set(f"heartbeat:node:new-{number}-{i}", "rubbish", ex=left + 3)
            pipe.execute()


ATTACKS: Final = (
    Attack("pages-unread", "300 clients ask for JSON and page and do not read", clients(300, _JSON, _PAGE)),
    Attack("scrapes-unread", "500 clients scrape and do not read", clients(500, _SCRAPE)),
    Attack(
        "gzip-unread",
        "500 clients scrape with gzip and do not read",
        clients(500, request("/metrics", "Accept-Encoding: gzip")),
    ),
    Attack("filters", "450 scrapes, each with another filter, are not read", clients(450, *_FILTERS)),
    Attack("runbooks-unread", "300 clients ask for the runbook of 300 nodes and do not read", clients(300, *_RUNBOOKS)),
    Attack("pipelined", "50 clients ask for JSON without end", clients(50, _JSON * 20_000, pause=0.02)),
    Attack(
        "silent", "600 silent connections beside a scrape at 1 MB/s", clients(600, b"", pause=0.2), 5_000, pace=10**6
    ),
    Attack("crawl", "400 clients send a header a byte at a time", clients(400, _PAGE, piece=1, pause=0.2)),
    Attack("headers", "600 clients send 15 KB of a header and no end", clients(600, _LARGE[:-4])),
    Attack("reload", "40 clients reload page and JSON", flood(40, request("/", _END), request("/api/v1/nodes", _END))),
    Attack("malformed", "malformed requests", flood(4, *_MALFORMED)),
    Attack(
        "guessers",
        "120 clients make TLS handshakes and guess a password",
        flood(120, request("/metrics", "Authorization: Basic Z3Vlc3M6MQ==", _END)),
        secured=True,
    ),
    Attack("hellos", "600 clients begin a TLS handshake and do not end it", clients(600, _HELLO), secured=True),
    Attack("handshakes", "20 clients make TLS handshakes and go", flood(20, request("/-/healthy", _END)), secured=True),
    Attack(
        "endless-scan",
        "SCAN never ends: the last cursor is 7 and not 0",
        _wait,
        turn=lambda reply: reply.replace(b"*2\r\n$1\r\n0\r\n", b"*2\r\n$1\r\n7\r\n"),
    ),
    Attack(
        "wrong-kinds",
        "texts are replies of another kind",
        _wait,
        turn=lambda reply: reply.replace(b"\n$", b"\n:"),
        sees=AWAY,
    ),
    Attack("large-value", "a hash field of 100 MB", _large_value),
    Attack("new-nodes", "1,000 new nodes a second, unreadable or of the wrong kind", _new_nodes),
    Attack("large-header", "Alertmanager answers with a header of 20 MB", _wait, headers={"X": "x" * 20_000_000}),
)
