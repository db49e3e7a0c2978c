"""A reader of the documents with a checkout, an installation, and all servers that the examples use."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from reader import EXPORT, INSTALL, SERVE, Reader

from exporter.reporter import NodeMetrics, NodeReporter
from lab.nodes import FIELDS, metrics_key
from lab.servers import RedisServer, running_redis
from packages import clone, environment


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with two nodes that beat, and two crashed nodes that the examples may delete."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server, server.client() as client, ExitStack() as nodes:
        for name in ("node-1", "node-2"):
            nodes.enter_context(NodeReporter(client, name, lambda: NodeMetrics(portfolio_count=3, queue_size=15)))
        for name in ("node-7", "node-8"):
            client.hset(metrics_key(name), mapping=FIELDS)
        client.hset("schedule:plan", mapping=dict.fromkeys(("p1", "p2", "p3"), "node-1"))
        yield server


@pytest.fixture(scope="session")
def reader(fleet: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has installed the exporter and runs it, as the documents say."""
    folder = tmp_path_factory.mktemp("reader")
    checkout = clone(folder / "ginkgo-exporter")
    programs = environment(checkout / ".venv", "demo", "build")
    (checkout / ".venv" / "demo").touch()  # what `make demo` installs is there
    places = {
        "redis.example:6379": f"127.0.0.1:{fleet.port}",
        "localhost:6379": f"127.0.0.1:{fleet.port}",
        "/etc/ginkgo-exporter": str(folder / "etc"),
        "/var/lib/ginkgo-exporter": str(folder / "var"),
    }
    reader = Reader(checkout, programs, places, PIP_NO_BUILD_ISOLATION="0")  # 0 turns isolation off
    for name in ("etc", "var"):
        (folder / name).mkdir()
    reader.types(INSTALL)
    reader.types(EXPORT)
    with reader.keeps_running(SERVE, folder / "exporter.log") as (_, url):
        for example in ("http://localhost:19121", "http://ginkgo-exporter.example:19121"):
            places[example.removeprefix("http://")] = url.removeprefix("http://")
        yield reader
