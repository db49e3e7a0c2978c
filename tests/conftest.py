"""What all tests share: a Redis for those that only need an empty one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from servers import RedisServer, running_redis

# The same examples at every run, however slow the machine; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share which neither stop nor configure it."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(shared_redis: RedisServer) -> Iterator["redis.Redis"]:
    """A client of the shared server, empty at the start of each test."""
    with shared_redis.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be stopped, paused or filled at will."""
    with running_redis(tmp_path / "redis") as server:
        yield server
