"""The account, read after read: lists, plan, states and workers, from what a source would reply."""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from exporter.errors import SourceError
from exporter.liveness import State
from exporter.portfolios.account import GAP, MOST_LOADED, Account, PortfolioReader, parse_loaded
from exporter.settings import load
from exporter.source.plan import Plan
from exporter.source.reading import NO_EXPIRY
from lab.nodes import beat, metrics_key
from lab.servers import PATIENCE, Exporter, RedisServer, Series, running_exporter
from portfolio_example import EXPECTED, PLAN, RAW_LISTS, STATES

ONLINE, OFFLINE, UNDECIDED = State.ONLINE, State.OFFLINE, State.UNDECIDED


class Reads:
    """A reader, and the source that it reads from.

    Attributes:
        plans: The next plans; the last one stays.
        hashes: What the states of portfolios hold, by portfolio; None where the primary cannot be read.
        ttls: The PTTL of each worker's heartbeat.
        asked: How often what was asked.
    """

    def __init__(self, **flags: str) -> None:
        self.now, self.plans = 1000.0, [dict[bytes, bytes]()]
        self.hashes: dict[bytes, Any] = {}
        self.ttls: dict[bytes, Any] = {}
        self.asked, self.invalid = Counter[str](), Counter[str]()
        settings = load({name.replace("_", ".", 1).replace("_", "-"): text for name, text in flags.items()})
        source: Any = self
        self.reader = PortfolioReader(settings, source, self.count, {})

    def count(self, field: str, ids: Sequence[str]) -> None:
        self.invalid[field] += len(ids)

    def plan(self, deadline: float) -> Plan:
        assert deadline == self.now + 5
        self.asked["plan"] += 1
        plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
        if plan == {b"": b"unreadable"}:
            raise SourceError("no plan")
        return Plan(plan, 12.0)

    def gather(self, keys: Sequence[bytes], command: Callable[[bytes], bytes], deadline: float) -> list[Any]:
        assert deadline == self.now + 5
        self.asked["keys"] += len(keys)
        return [
            self.ttls.get(key, -2) if b"PTTL" in command(key) else self.hashes.get(key[10:-6], [None] * 3)
            for key in keys
        ]

    def read(
        self,
        lists: dict[bytes, bytes | None],
        states: Sequence[State] = (),
        unread: Sequence[int] = (),
        workers: Sequence[bytes] | None = (),
    ) -> Any:
        names, raw = tuple(lists), list(lists.values())
        states = states or [ONLINE] * len(names)
        self.now += 15
        return self.reader.read(names, states, raw, frozenset(unread), workers, self.now + 1e9, self.now + 5)


def shown(account: Account) -> dict[bytes, tuple[str, str | None]]:
    return {each.id: (each.state.value, each.reason and each.reason.value) for each in account.ledger.portfolios()}


def test_example_has_every_state_and_reason_and_is_made_once() -> None:
    reads = Reads()
    reads.plans = [PLAN]
    accounts = [reads.read(RAW_LISTS, list(STATES.values())) for _ in range(3)]
    assert shown(accounts[0]) == EXPECTED
    assert accounts[0].ledger is accounts[2].ledger
    assert reads.invalid == {"loaded_portfolio_ids": 3}, "the list of zeta, at each read"
    assert reads.reader.planned == {b"alpha": 2, b"beta": 3, b"gamma": 1, b"delta": 1, b"zeta": 1}
    assert accounts[0].idle == 12


def test_without_plan_and_lists_there_is_no_account_and_nothing_is_asked() -> None:
    reads = Reads()
    for lists in ({}, {b"a": None}, {b"a": b"broken"}):
        assert reads.read(lists, workers=[b"heartbeat:task_timer:t"]) is None
    assert reads.asked["keys"] == 0
    assert shown(reads.read({b"a": b"[]"})) == {}


def test_plan_that_is_missing_is_read_twice_only_where_one_may_be_expected() -> None:
    reads, lists = Reads(), {b"a": b'["p"]'}
    asked = []
    for plans in ([{}], [{}], [{b"p": b"a"}], [{}, {b"p": b"a"}], [{}], [{}]):
        reads.plans, before = list(plans), reads.asked["plan"]
        account = reads.read(lists)
        asked.append(reads.asked["plan"] - before)
    assert asked == [2, 1, 1, 2, 2, 1]
    assert shown(account) == {b"p": ("unplanned", None)}


def test_plan_that_cannot_be_read_ends_nothing() -> None:
    reads = Reads()
    reads.plans = [{b"p": b"a"}]
    first = reads.read({b"a": b"[]"})
    reads.plans = [{b"": b"unreadable"}]
    with pytest.raises(SourceError, match="no plan"):
        reads.read({b"a": b"[]"})
    reads.plans = [{b"p": b"a"}]
    assert reads.read({b"a": b"[]"}).since == first.since


def test_node_that_cannot_be_read_keeps_its_list_and_its_portfolios_their_since() -> None:
    reads, lists = Reads(), {b"a": b"[]", b"b": b'["q"]', b"c": b'["r"]'}
    reads.plans = [{b"p": b"a", b"q": b"b"}]
    first = reads.read(lists, [ONLINE, ONLINE, OFFLINE])
    assert shown(first) == {b"p": ("untraded", "undelivered"), b"q": ("traded", None), b"r": ("untraded", "dropped")}
    away = reads.read(dict.fromkeys(lists), [UNDECIDED] * 3, unread=(0, 1, 2))
    assert {state for state, _ in shown(away).values()} == {"unknown"}
    reads.plans = [{b"p": b"a"}]
    assert shown(reads.read({**lists, b"b": None}, [ONLINE, UNDECIDED, OFFLINE], unread=(1,)))[b"q"] == (
        "unknown",
        None,
    )
    back = reads.read(lists, [ONLINE, ONLINE, OFFLINE])
    assert {name: back.since[name] for name in first.since} == first.since
    assert (back.dropped, back.ledger.abnormal[b"q"].state) == (0, "unplanned")


def test_planned_node_that_nobody_has_looked_for_is_not_offline() -> None:
    reads = Reads()
    reads.plans = [{b"p": b"new"}]
    assert shown(reads.read({b"a": b"[]"})) == {b"p": ("unknown", None)}
    reads.read({b"a": b"[]", b"new": None}, [ONLINE, State.GONE])
    assert shown(reads.read({b"a": b"[]", b"new": None}, [ONLINE, State.GONE])) == {b"p": ("untraded", "node_offline")}


def test_queues_and_positions_count_for_the_node_that_has_the_portfolio_and_for_untraded_ones() -> None:
    reads = Reads()
    reads.plans = [{b"p1": b"a", b"p2": b"a", b"p3": b"b", b"lost": b"dead", b"poor": b"dead"}]
    reads.hashes = {
        b"p1": [b"a", b"7", b"3"],
        b"p2": [b"a", b"950", b"2"],
        b"p3": [b"dead", b"5", b"1"],  # written by another node
        b"lost": [b"dead", b"9", b"14"],
        b"poor": [b"dead", b"x", b"1"],
    }
    lists = {b"a": b'["p1", "p2"]', b"b": b'["p3"]', b"dead": b'["lost"]'}
    account = reads.read(lists, [ONLINE, ONLINE, OFFLINE])
    assert (account.queues, account.node_positions) == ({b"a": 950}, {b"a": 5})
    assert (account.positions, account.untraded_positions) == ({b"lost": 14, b"p1": 3, b"p2": 2}, 14)
    assert reads.invalid == {"portfolio_state": 1}
    reads.hashes = {b"p1": ResponseError("wrong type"), b"p2": None, b"lost": None}
    account = reads.read(lists, [ONLINE, ONLINE, OFFLINE])
    assert (account.queues, account.positions, account.untraded_positions) == ({}, {}, 0)
    silent = Reads(portfolios_states="false")
    silent.plans = reads.plans
    assert silent.read(lists)
    assert silent.asked["keys"] == 0


def test_too_many_loaded_portfolios_are_not_read_and_untraded_ones_are() -> None:
    reads = Reads()
    ids = [f"p{number}" for number in range(MOST_LOADED + 1)]
    reads.plans = [{b"lost": b"dead"}]
    reads.hashes = {b"lost": [b"dead", b"1", b"2"]}
    account = reads.read({b"a": str(ids).replace("'", '"').encode(), b"dead": None}, [ONLINE, OFFLINE])
    assert (reads.asked["keys"], account.untraded_positions) == (1, 2)


def test_workers_are_counted_and_none_is_believed_when_discovery_no_longer_knows_one() -> None:
    reads, lists = Reads(), {b"a": b"[]"}
    timer, data = b"heartbeat:task_timer:t", b"heartbeat:data_worker:d"
    none = {"task_timer": 0, "data_worker": 0, "backtest_worker": 0}

    def workers(*keys: bytes) -> Any:
        return reads.read(lists, workers=keys).workers

    assert workers() == none
    reads.ttls = {timer: 30_000, data: 10}
    assert workers(timer, data) == none | {"task_timer": 1, "data_worker": 1}
    reads.ttls = {data: 10, timer + b"2": 10}
    assert workers(timer, timer + b"2", data) == {"data_worker": 1, "backtest_worker": 0}, "another one may be new"
    reads.ttls = {data: 10, timer: NO_EXPIRY}
    assert workers(data, timer) == none | {"data_worker": 1}, "a key without expiry says nothing"
    reads.ttls = {timer: None}
    assert workers(timer) is None, "its primary cannot be read"
    assert reads.read(lists, workers=None).workers is None, "their absence proves nothing now"


def test_only_a_json_list_of_strings_says_what_is_loaded() -> None:
    cases: list[Any] = [
        (b"[]", ()),
        (b'["a", "b", "a"]', (b"a", b"b")),
        (b'["\\u00e4", "\xc3\xa4"]', ("ä".encode(),)),
        (b'["\\ud800"]', (b"\xed\xa0\x80",)),
        *((text, None) for text in (None, b"", b"{}", b'"p"', b"[1]", b'["a", null]', b'["\xff"]', b'["a"')),
        (b"[" * 100_000, None),
        (b"[" + b"9" * 10_000 + b"]", None),
    ]
    assert [parse_loaded(text) for text, _ in cases] == [ids for _, ids in cases]


NAMES = ("a", "b", "c", "d")
REWRITTEN = {f"p{number}": NAMES[number % 4] for number in range(12)} | {"lost": "a"}
"""The portfolio ``lost`` is loaded nowhere, so that each scrape reads the lists once more."""
NEW = "new"
"""A portfolio that is planned only while it is loaded."""
REWRITE_EVERY = 0.12
HOLD = 0.01
"""Seconds for which a rewritten plan is missing at least: one scrape in twelve falls into such a gap."""
SHORT = pytest.param(4.0, 0.005, id="4s")
LONG = pytest.param(300.0, 1.0, id="5m", marks=[pytest.mark.slow, pytest.mark.timeout(600)])

Span = tuple[float, float]


@contextmanager
def repeated(work: Callable[[], None], every: float) -> Iterator[None]:
    """Do some work again and again in a thread; a failure of the work is a failure of the block."""
    over, errors = Event(), list[Exception]()

    def run() -> None:
        try:
            while not over.wait(every):
                work()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


def write_list(client: "redis.Redis", name: str, loaded: set[str]) -> None:
    client.hset(metrics_key(name), "loaded_portfolio_ids", json.dumps(sorted(loaded)))


@pytest.fixture
def lists(client: "redis.Redis") -> dict[str, set[str]]:
    """Nodes that live for ten minutes, and the portfolios that each of them has loaded, as the plan says."""
    loaded = {name: {one for one, node in REWRITTEN.items() if node == name and one != "lost"} for name in NAMES}
    client.hset("schedule:plan", mapping=REWRITTEN)
    for name in NAMES:
        beat(client, name, ttl=600)
        write_list(client, name, loaded[name])
    return loaded


@pytest.fixture
def exporter(lists: dict[str, set[str]], shared_redis: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    assert lists, "Redis is filled before the exporter starts"
    with running_exporter(tmp_path, "--redis.url", shared_redis.url) as exporter:
        yield exporter


def ledger_of(series: Series) -> Series:
    """Return all that a scrape shows of portfolios and the plan, but for how long ago the scheduler looked."""
    prefixes = ("ginkgo_portfolio", "ginkgo_plan_", "ginkgo_node_planned")
    return {name: values for name, values in series.items() if name.startswith(prefixes) and "idle" not in name}


def untraded(series: Series) -> set[str]:
    faults = [labels.split(",") for labels in series["ginkgo_portfolio_fault_since_timestamp_seconds"]]
    return {portfolio for _, portfolio, state in faults if state == "untraded"}


def scrapes(exporter: Exporter, seconds: float, every: float) -> Iterator[tuple[Span, Series]]:
    """Scrape again and again; yield when each scrape began and ended, and what it showed."""
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        series = exporter.scrape()
        yield (begun, time.monotonic()), series
        time.sleep(every)


class Events(list[Span]):
    """When something happened; an event that has not ended yet ends at infinity."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        begun = time.monotonic()
        self.append((begun, math.inf))
        yield
        self[-1] = begun, time.monotonic()

    def within(self, span: Span) -> list[Span]:
        return [event for event in tuple(self) if event[0] <= span[1] and span[0] <= event[1]]


@pytest.mark.parametrize(("seconds", "every"), [SHORT, LONG])
def test_plan_that_is_rewritten_all_the_time_shows_no_other_ledger(
    client: "redis.Redis", exporter: Exporter, seconds: float, every: float
) -> None:
    gaps = Events()

    def rewrite() -> None:
        with gaps.noted():
            client.delete("schedule:plan")
            time.sleep(HOLD)
            client.hset("schedule:plan", mapping=REWRITTEN)

    before = last = None
    seen, end = 0, time.monotonic() + seconds
    with repeated(rewrite, REWRITE_EVERY - HOLD):
        for span, series in scrapes(exporter, seconds + PATIENCE, every):
            met, shown = gaps.within(span), ledger_of(series)
            # On a busy machine a gap may last too long, or a scrape may fall into two of them. What such a scrape has
            # seen changes the next ledgers, too, until two of them are alike.
            if len(met) > 1 or any(ended - begun >= GAP for begun, ended in met):
                before = last = None
            elif before:
                assert shown == before
                seen += bool(met)
            elif not met:
                before, last = shown if shown == last else None, shown
            if seen and span[1] > end:
                break
    assert seen, "no scrape fell into a gap"


@pytest.mark.parametrize(("seconds", "every"), [SHORT, LONG])
def test_portfolio_that_is_always_loaded_somewhere_is_never_untraded_while_it_moves(
    client: "redis.Redis", lists: dict[str, set[str]], exporter: Exporter, seconds: float, every: float
) -> None:
    dice = random.Random(3)  # noqa: S311 - the same moves each time
    moves = {portfolio: Events() for portfolio in (*REWRITTEN, NEW)}

    def move() -> None:
        """Let a node load a portfolio that another one has, or unload one that another one has too."""
        portfolio = dice.choice([one for one in REWRITTEN if one != "lost"])
        holders = [name for name in NAMES if portfolio in lists[name]]
        node = dice.choice(holders if len(holders) > 1 else NAMES)
        lists[node] = lists[node] - {portfolio} if len(holders) > 1 else lists[node] | {portfolio}
        with moves[portfolio].noted():
            write_list(client, node, lists[node])

    def come_or_go() -> None:
        """Let a portfolio be loaded and then planned, or be taken out of the plan and then unloaded; or move one."""
        if dice.random() < 1 / 2:
            move()
            return
        with moves[NEW].noted():
            if NEW in lists["a"]:
                client.hdel("schedule:plan", NEW)
            lists["a"] ^= {NEW}
            write_list(client, "a", lists["a"])
            if NEW in lists["a"]:
                client.hset("schedule:plan", NEW, "a")

    exporter.scrape()  # the first ledger counts at once, even if a portfolio moves during its read
    torn, before = 0, dict.fromkeys(moves, 0)
    with repeated(come_or_go, 0.008):
        for span, series in scrapes(exporter, seconds, every):
            moved = {portfolio: len(events.within(span)) for portfolio, events in moves.items()}
            torn += any(moved.values())
            # Two reads in a row may miss a portfolio that moves during both.
            assert {one for one in untraded(series) if not (moved[one] and before[one])} == {"lost"}
            before = moved
    assert torn, "no portfolio moved during a scrape"
