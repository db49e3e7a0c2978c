"""What all tests share: a Redis for those that only need an empty one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from servers import RedisServer, running_redis

# The same examples at every run, however slow the machine; `--examples` looks for new ones.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, help="let each property look for that many new examples")


def pytest_configure(config: pytest.Config) -> None:
    if examples := config.getoption("--examples"):
        settings.register_profile(
            "explore", settings.get_profile("suite"), derandomize=False, max_examples=examples, print_blob=True
        )
        settings.load_profile("explore")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where nothing may be missing: in CI a skipped test is one that was not run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("skipped, and so failed, since CI is set")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
