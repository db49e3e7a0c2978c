"""The ledger while the plan is rewritten and portfolios move all the time: no scrape shows the gaps."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import redis

from exporter.portfolios.reader import GAP
from lab.nodes import beat, metrics_key
from lab.servers import PATIENCE, Exporter, RedisServer, Series, running_exporter

NAMES = ("a", "b", "c", "d")
PLAN = {f"p{number}": NAMES[number % 4] for number in range(12)} | {"lost": "a"}
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
    loaded = {name: {one for one, node in PLAN.items() if node == name and one != "lost"} for name in NAMES}
    client.hset("schedule:plan", mapping=PLAN)
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
            client.hset("schedule:plan", mapping=PLAN)

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
    moves = {portfolio: Events() for portfolio in (*PLAN, NEW)}

    def move() -> None:
        """Let a node load a portfolio that another one has, or unload one that another one has too."""
        portfolio = dice.choice([one for one in PLAN if one != "lost"])
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
