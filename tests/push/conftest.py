"""Fixtures of the push tests: a stack for one test, and scenarios that run beside each other."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from push_stack import Stack, running_stack

Scenario = Callable[[Stack], None]

AT_ONCE = 6
"""Scenarios that run at the same time: they mostly wait."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A maker of parts whose parts end with the test."""
    with running_stack(tmp_path) as stack:
        yield stack


class Scenarios:
    """Scenarios that run beside each other, each in a stack of its own."""

    def __init__(self, scenarios: Iterable[Scenario], folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._under_way = {scenario: self._pool.submit(self._run, scenario) for scenario in scenarios}

    def _run(self, scenario: Scenario) -> None:
        with running_stack(self._folders.mktemp("scenario")) as stack:
            scenario(stack)

    def hold(self, scenario: Scenario) -> None:
        """Raise what is wrong with a scenario.

        Heartbeats last a tenth of their time here, and programs start no faster for it: a scenario that fails in
        the crowd is played once more when all others are over, and has to hold then.
        """
        if self._under_way[scenario].exception():
            wait(self._under_way.values())
            self._run(scenario)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def scenarios(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenarios]:
    """All scenarios of the module that were chosen, under way."""
    chosen = [item.originalname for item in request.session.items if item.module is request.module]
    tests = [getattr(request.module, name) for name in chosen]
    with closing(
        Scenarios([test.scenario for test in tests if hasattr(test, "scenario")], tmp_path_factory)
    ) as playing:
        yield playing
