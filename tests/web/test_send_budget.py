"""The budget of answers: shared pieces count once, and the slowest clients go when it is short."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from exporter.web.scrape import in_blocks
from exporter.web.send_budget import FLOOR, GRACE, SendBudget, Sending

KIB = 1024


class Client:
    closed = False

    def close(self) -> None:
        self.closed = True


class World:
    """A budget of 100 KiB with a share of 50 KiB, and a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.effects: list[str] = []
        self.budget = SendBudget(self.effects.append, 100 * KIB, 50 * KIB, self.tick)
        self.stack = ExitStack()

    def tick(self) -> float:
        self.now += 0.001
        return self.now

    def send(self, body: Sequence[bytes], *, scrape: bool = True) -> tuple[Sending, Client]:
        client = Client()
        return self.stack.enter_context(self.budget.sending(body, client, scrape=scrape)), client

    def room(self, *, scrape: bool = True) -> bool:
        return asyncio.run(self.budget.room(scrape=scrape))


def pieces(kib: int) -> list[bytes]:
    return [bytes([number % 256]) * KIB for number in range(kib)]


def test_body_that_many_clients_share_counts_once_until_the_last_of_them_has_it() -> None:
    world, body = World(), pieces(30)
    with world.budget.sending(body, Client(), scrape=True):
        with world.budget.sending(body, Client(), scrape=False):
            assert world.budget.waiting == 30 * KIB
        assert world.budget.waiting == 30 * KIB
    assert world.budget.waiting == 0


def test_body_larger_than_the_budget_is_served_when_nothing_else_waits() -> None:
    world = World()
    assert world.room()
    world.send(pieces(500))
    assert world.budget.waiting == 500 * KIB


def test_slowest_client_goes_when_the_budget_is_short_and_others_stay() -> None:
    world = World()
    quick, quick_client = world.send(pieces(40))
    _, slow_client = world.send([b"x" * 40 * KIB])
    world.now += 2 * GRACE
    quick.taken = 10 * FLOOR
    assert world.room()
    assert (slow_client.closed, quick_client.closed) == (True, False)
    assert world.effects == ["a client that reads too slowly was disconnected"]


def test_client_that_has_not_had_its_grace_keeps_its_place_and_the_newcomer_is_refused() -> None:
    world = World()
    _, client = world.send(pieces(60), scrape=False)
    assert not world.room(scrape=False)
    assert not client.closed
    assert world.effects == ["a request was answered with 503"]


def test_page_never_takes_a_scraper_s_place_and_a_scraper_takes_that_of_a_page() -> None:
    for scrape in (True, False):
        world = World()
        _, client = world.send(pieces(90), scrape=not scrape)
        world.now += 2 * GRACE
        world.send([b"y"], scrape=scrape)
        world.budget._typical = [20 * KIB, 20 * KIB]
        assert world.room(scrape=scrape) is scrape
        assert client.closed is scrape


def test_other_answers_have_their_share_only() -> None:
    world = World()
    world.send(pieces(40), scrape=False)
    assert world.room(scrape=True)
    assert not world.room(scrape=False)


def test_scrape_gets_the_room_that_is_freed_while_it_waits() -> None:
    async def scenario() -> bool:
        budget = SendBudget(lambda _: None, 100, 50)
        with ExitStack() as stack:
            stack.enter_context(budget.sending([b"x" * 90], Client(), scrape=True))
            asyncio.get_running_loop().call_later(0.1, stack.close)
            return await budget.room(scrape=True)

    assert asyncio.run(scenario())


def test_answers_copy_their_bodies_only_while_they_are_few() -> None:
    world = World()
    for _ in range(16):
        world.send(pieces(1))
    assert not world.budget.crowded
    world.send(pieces(1))
    assert world.budget.crowded


def test_blocks_of_a_crowd_are_pieces_that_all_answers_share() -> None:
    body = [b"a" * 100, b"b" * 100, b"c" * 70_000, b"d" * 70_000]
    assert [len(block) for block in in_blocks(body)] == [140_200]
    first, second = in_blocks(body, shared=True)
    assert (len(first), second is body[3]) == (70_200, True)
