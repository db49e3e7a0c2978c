"""Connections shared by threads: each is lent to one thread at a time, and each thread gets its own replies."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source.connection import linked
from exporter.source.options import pool_of
from exporter.source.requests import pack
from lab.servers import RedisServer

THREADS = 8
ROUNDS = 150
GIVEN_UP = "given up"


def _give_up() -> None:
    raise SourceError(GIVEN_UP)


def test_threads_that_share_a_pool_get_their_own_replies(shared_redis: RedisServer, client: "redis.Redis") -> None:
    pool = pool_of(load({"redis.url": [shared_redis.url]}).redis)
    before = len(client.client_list())

    def work(number: int) -> int:
        chance = random.Random(number)  # noqa: S311 - the same in every run
        right = 0
        for turn in range(ROUNDS):
            word = b"%d of %d" % (turn, number)
            try:
                with linked(pool, time.monotonic() + 10) as link:
                    link.send(pack(b"ECHO", word))
                    count = chance.choice((0, 1, 1, 1))  # sometimes the reply is not received
                    right += link.receive(count) == [word] * count
                    if not count:
                        _give_up()
            except SourceError as error:
                right += str(error) != GIVEN_UP
            if chance.random() < 0.02:
                pool.disconnect_idle()
        return right

    with ThreadPoolExecutor(THREADS) as threads:
        assert list(threads.map(work, range(THREADS))) == [ROUNDS] * THREADS
    assert len(client.client_list()) - before <= THREADS
    pool.disconnect()


def test_connection_that_the_server_closed_is_replaced(shared_redis: RedisServer, client: "redis.Redis") -> None:
    pool = pool_of(load({"redis.url": [shared_redis.url]}).redis)
    for _ in range(3):
        with linked(pool, time.monotonic() + 5) as link:
            assert link.ask(pack(b"PING"), 1) == [b"PONG"]
        client.client_kill_filter(_type="normal", skipme=True)
    pool.disconnect()


def test_closing_a_pool_ends_the_waiting_of_lent_connections(shared_redis: RedisServer) -> None:
    pool = pool_of(load({"redis.url": [shared_redis.url]}).redis)

    def wait_for_nothing() -> None:
        with linked(pool, time.monotonic() + 30) as link:
            link.send(pack(b"BLPOP", b"nothing", b"30"))
            pool.disconnect()
            link.receive(1)

    start = time.monotonic()
    with pytest.raises(SourceError):
        wait_for_nothing()
    assert time.monotonic() - start < 10
