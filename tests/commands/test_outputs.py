"""What ``nodes``, ``portfolios`` and ``explain`` print of a running exporter, to the letter."""

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from said import Say

from exporter.journal.event import Event, EventKind, Query
from exporter.snapshot.snapshot import Snapshot
from exporter.web.api import LISTS
from fleets import Exporter
from journal_events import event
from lab.fakes import Listening, request_from
from lab.nodes import CRASHED, ZOMBIE, Pair
from lab.servers import RedisServer
from leftovers import hashes, leave
from portfolio_example import example

FIELDS = {"total_events": b"1000", "dropped_events": b"0", "cpu_usage": b"12.5", "memory_usage": b"512"}
FIELDS |= {"queue_size": b"3", "portfolio_count": b"4", "status": b"RUNNING", "backpressure_count": b"0"}
BUSY = {"total_events": b"1600", "dropped_events": b"7", "backpressure_count": b"60"}
EVENTS = [
    event(1, "gamma", before=None, after="online"),
    event(2, "gamma", evidence={"pttl": -2, "deadline": 1_767_702_650}),
    event(3, "p03", kind=EventKind.PORTFOLIO, before="traded", after="untraded", evidence={"reason": "node_offline"}),
    event(
        4,
        "GinkgoNodeOffline",
        "alpha",
        "GinkgoMassHeartbeatLoss",
        "l1",
        kind=EventKind.PUSH,
        before=None,
        after="taken",
    ),
    event(5, "former", "alpha", evidence={"because": "it left", "loss": "l1", "each": {"former": {"pttl": -1}}}),
    event(6, "p99", kind=EventKind.PORTFOLIO, before="traded", after="in no plan and on no list"),
    event(7, "l1", kind=EventKind.MASS_LOSS, before=None, after="lost together"),
    event(8, "alpha", "both", before="offline", after="online"),
]


def fleet_of_the_example() -> Snapshot:
    """Return nodes in every state: gamma was dead at the start, and delta died while nobody looked."""
    exporter, alive, busy = Exporter(), Pair(30, FIELDS), Pair(20, FIELDS | BUSY)
    fleet = dict.fromkeys((b"alpha", b"beta", b"delta", b"epsilon", b"p06"), alive) | {b"gamma": CRASHED}
    exporter.snapshot(fleet | {b"zeta": ZOMBIE})
    return exporter.snapshot(fleet | {b"zeta": ZOMBIE, b"delta": CRASHED, b"alpha": busy}, 60, example())


class Answers(Listening):
    """An exporter that knows the example.

    Attributes:
        heads: The head of each request.
        snapshot: What it knows of the nodes; None while it cannot read Redis.
        events: What its journal knows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[str] = []
        self.snapshot: Snapshot | None = fleet_of_the_example()
        self.events = EVENTS

    def answer(self, near: socket.socket) -> None:
        with near, near.makefile("rb") as lines:
            while got := request_from(lines):
                self.heads.append(got[0])
                url = urlsplit(got[0].split()[1])
                name = url.path.removeprefix("/api/v1/")
                parse, make = LISTS[name]
                if self.snapshot or name == "events":
                    body = b"".join(make(self.snapshot, parse(parse_qs(url.query)), self))
                else:
                    body = json.dumps({"redis_up": False, name: [], "trouble": "Redis\nis away."}).encode()
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    @property
    def journal(self) -> SimpleNamespace:
        def page(query: Query, limit: int) -> tuple[list[Event], None]:
            return [each for each in reversed(self.events) if query.accepts(each)][:limit], None

        return SimpleNamespace(page=page)


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as running:
        yield running


ASKED = """
nodes
nodes --state undecided
nodes --sort events
nodes --fail-offline
portfolios
portfolios --output csv --fail-untraded
explain
explain alpha
explain beta
explain gamma
explain delta
explain p03
explain p06
explain node:p06
explain p01
explain former
explain p99
explain GinkgoNodeOffline
explain GinkgoEventsDropped
explain gamme
"""
BLIND = """
nodes
explain
explain gamma
explain p99
"""


def test_answers_are_told_to_the_letter(say: Say, answers: Answers) -> None:
    said = ""
    for commands in (ASKED, BLIND):
        for command in commands.split("\n")[1:-1]:
            done = say(*command.split(), "--exporter.url", answers.url)
            said += f"$ {command}\n{done.out}{done.err}exit {done.code}\n\n"
        answers.snapshot = None
    said = re.sub(r"(HERE at ).* UTC", r"\1NOW", said.replace(answers.url, "HERE"))
    assert said == (Path(__file__).parent / "outputs.txt").read_text(encoding="utf-8")


def test_password_of_the_address_is_sent_and_not_shown(say: Say, answers: Answers) -> None:
    done = say("explain", "--exporter.url", answers.url.replace("://", "://us%3Aer:p%40ss@"))
    assert (done.code, "p%40ss" in done.out) == (0, False)
    assert f"Authorization: Basic {base64.b64encode(b'us:er:p@ss').decode()}" in answers.heads[-1]
    assert "limit=50" in answers.heads[-1]
    say("explain", "--exporter.url", answers.url)
    assert "Authorization" not in answers.heads[-1]


def test_forget_takes_from_the_exporter_who_is_offline_for_longer(
    say: Say, answers: Answers, client: "redis.Redis", shared_redis: RedisServer
) -> None:
    client.hset("schedule:plan", mapping=dict.fromkeys(("p1", "p2", "p3"), "alpha"))
    for name in ("gamma", "delta", "other"):
        leave(client, name)
    asked = ("forget", "--redis.url", shared_redis.url, "--exporter.url", answers.url, "--offline-longer-than")
    assert say(*asked, "1m").lines == ["0 would be deleted, 0 kept: a dry run; --yes deletes"]
    assert say(*asked, "59s", "--yes").lines == ["gamma: deleted", "1 deleted, 0 kept"]
    assert hashes(client) == {b"delta", b"other"}
