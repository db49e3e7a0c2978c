"""Fixtures of the push tests: a stack for one test, and scenarios that run beside each other."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from push_stack import Stack, running_stack

AT_ONCE = 6
"""Scenarios that run at the same time: they mostly wait."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A maker of parts whose parts end with the test."""
    with running_stack(tmp_path) as stack:
        yield stack


@pytest.fixture(scope="module")
def scenarios(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """All scenarios of the module that were chosen, under way."""
    chosen = [item.originalname for item in request.session.items if item.module is request.module]

    def run(scenario: Callable[[Stack], None]) -> None:
        with running_stack(tmp_path_factory.mktemp("scenario")) as stack:
            scenario(stack)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(run, test.scenario)
            for name in chosen
            if hasattr(test := getattr(request.module, name), "scenario")
        }
        pool.shutdown(wait=False, cancel_futures=True)
