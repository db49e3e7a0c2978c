"""Passwords are checked in an order in which guessers keep nobody out."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from exporter.web.password_check import PasswordCheck, Verdict

USERS = {"prom": "hash"}


class World:
    """Checks that wait until the test lets them go on, and note their order."""

    def __init__(self) -> None:
        self.now = 100.0
        self.order: list[bytes] = []
        self.effects: list[str] = []
        self.go_on = threading.Semaphore(0)
        self.passwords = PasswordCheck(self.effects.append, lambda: self.now, self.matches)

    def matches(self, password: bytes, _: str) -> bool:
        assert self.go_on.acquire(timeout=30)
        self.order.append(password)
        return password == b"right"

    def ask(self, password: bytes, address: str = "a", user: str = "prom") -> "asyncio.Task[Verdict]":
        return asyncio.ensure_future(self.passwords.check(USERS, user, password, address))

    def release(self, count: int = 1000) -> None:
        self.go_on.release(count)


def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    world = World()
    try:
        asyncio.run(scenario(world))
    finally:
        world.release()
        world.passwords.close()
    return world


async def begun(*asked: Awaitable[Verdict]) -> None:
    """Let requests that were made begin to wait."""
    assert asked
    for _ in range(3):
        await asyncio.sleep(0)


def test_newest_comes_first_so_that_those_who_wait_for_an_answer_delay_nobody() -> None:
    async def scenario(world: World) -> None:
        guesses = [world.ask(b"guess-%d" % number) for number in range(5)]
        await begun(*guesses)
        scrape = world.ask(b"right")
        await begun(scrape)
        world.release(2)
        assert await scrape is Verdict.RIGHT
        assert not all(guess.done() for guess in guesses)
        world.release()
        assert await asyncio.gather(*guesses) == [Verdict.WRONG] * 5

    assert run(scenario).order[1] == b"right"


def test_address_without_a_wrong_guess_comes_before_all_guessers() -> None:
    async def scenario(world: World) -> None:
        world.passwords.delay("guesser")
        first = world.ask(b"running")
        await begun(first)
        scrape = world.ask(b"right", "scraper")
        guesses = [world.ask(b"guess-%d" % number, "guesser") for number in range(5)]
        await begun(scrape, *guesses)
        world.release()
        await asyncio.gather(first, scrape, *guesses)

    assert run(scenario).order[:2] == [b"running", b"right"]


def test_password_that_was_right_needs_no_check_and_no_place() -> None:
    async def scenario(world: World) -> None:
        world.release(1)
        assert await world.ask(b"right") is Verdict.RIGHT
        guesses = [world.ask(b"guess-%d" % number) for number in range(300)]
        await begun(*guesses)
        assert await world.ask(b"right") is Verdict.RIGHT
        world.release()
        await asyncio.gather(*guesses)

    assert run(scenario).order.count(b"right") == 1


def test_requests_with_the_same_password_share_one_check() -> None:
    async def scenario(world: World) -> None:
        scrapes = [world.ask(b"right") for _ in range(50)]
        await begun(*scrapes)
        world.release(1)
        assert await asyncio.gather(*scrapes) == [Verdict.RIGHT] * 50

    assert run(scenario).order == [b"right"]


def test_too_many_are_told_to_come_again_and_never_that_they_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.password_check.MOST_WAITING", 3)

    async def scenario(world: World) -> None:
        asked = [world.ask(b"right-%d" % number) for number in range(6)]
        await begun(*asked)
        assert [task.done() for task in asked] == [False, True, True, False, False, False]
        assert {task.result() for task in asked if task.done()} == {Verdict.BUSY}
        world.release()
        await asyncio.gather(*asked)

    assert len(run(scenario).effects) == 2


def test_unknown_user_is_wrong_with_any_password_and_costs_a_check_too() -> None:
    async def scenario(world: World) -> None:
        world.release()
        assert await world.ask(b"right", user="nobody") is Verdict.WRONG
        assert await world.ask(b"right", user="prom") is Verdict.RIGHT
        assert await world.ask(b"right", user="nobody") is Verdict.WRONG

    assert len(run(scenario).order) == 3


def test_wrong_guesses_are_answered_later_and_later_until_the_address_is_forgiven() -> None:
    world = World()
    delays = [world.passwords.delay("a") for _ in range(200)]
    assert delays[:10] == [0.0] * 10
    assert delays == sorted(delays)
    assert delays[-1] == 10.0
    assert world.passwords.delay("b") == 0.0
    world.now += 61
    assert world.passwords.wrong_guesses("a") == 0
    assert world.passwords.delay("a") == 0.0
    world.passwords.close()


def test_password_that_no_thread_was_free_to_check_is_checked_with_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario(world: World) -> None:
        world.release()
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", no_thread)
            assert await world.ask(b"right") is Verdict.BUSY
        assert await world.ask(b"right") is Verdict.RIGHT

    run(scenario)
