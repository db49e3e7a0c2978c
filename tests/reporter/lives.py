"""Lives of nodes that report: in this process, or as a program of their own that can be sent signals."""

import sys
from pathlib import Path

import redis

from exporter.reporter import NodeMetrics
from lab.nodes import heartbeat_key, metrics_key
from lab.servers import Process, wait_for

BUSY = NodeMetrics(
    portfolio_count=3,
    queue_size=15,
    total_events=15_000,
    backpressure_count=5,
    dropped_events=2,
    status="RUNNING",
    loaded_portfolio_ids=("p1", "p2"),
)

BEGINNING = """
import asyncio, gc, os, signal, sys, time
import redis
from exporter import reporter
from exporter.reporter import NodeMetrics, NodeReporter

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts programs in the background without
client = redis.Redis(port=int(sys.argv[1]))

def node():
    return NodeReporter(client, "n1", NodeMetrics, interval=0.1, ttl=5)

def wait_for_beat():
    while not client.exists("node:metrics:n1"):
        time.sleep(0.01)

def ready():
    wait_for_beat()
    client.set("ready", os.getpid())
"""


def busy() -> NodeMetrics:
    return BUSY


def fields(client: "redis.Redis", node_id: str | bytes = "n1") -> dict[bytes, bytes]:
    return client.hgetall(metrics_key(node_id))


def heartbeat(client: "redis.Redis", node_id: str | bytes = "n1") -> bytes | None:
    return client.get(heartbeat_key(node_id))


def keys_left(client: "redis.Redis") -> int:
    """Return how many of the two keys of ``n1`` there are."""
    return int(client.exists(heartbeat_key("n1"), metrics_key("n1")))


def wait_for_beats(client: "redis.Redis", number: int = 1) -> None:
    """Wait until the node has beaten a number of times more."""
    for _ in range(number):
        last = heartbeat(client)
        wait_for(lambda last=last: heartbeat(client) not in (None, last), "for the next beat")  # type: ignore[misc]


def program(client: "redis.Redis", folder: Path, text: str) -> Process:
    """Run a node's program that begins with ``BEGINNING``; return once it has called ``ready()``.

    From 3.12 on Python itself warns of a fork beside threads, which is no output of the reporter's.
    """
    port = client.connection_pool.connection_kwargs["port"]
    process = Process(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", BEGINNING + text, port],
        folder / "program.log",
    )

    def is_ready() -> bool:
        ended = not process.alive
        ready = client.exists("ready") == 1
        assert ready or not ended, process.output()
        return ready

    wait_for(is_ready, "for the program")
    return process
