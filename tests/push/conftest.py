"""Fixtures of the push tests: a stack for one test, and scenarios that run beside each other."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bridge_world import BEAT, World
from push_stack import Stack, running_stack

from side_by_side import Crowd

Scenario = Callable[[Stack], None]

AT_ONCE = 6
"""Scenarios that run at the same time: they mostly wait."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A maker of parts whose parts end with the test."""
    with running_stack(tmp_path) as stack:
        yield stack


def run(folder: Path, scenario: Scenario) -> None:
    with running_stack(folder) as stack:
        scenario(stack)


@pytest.fixture(scope="module")
def scenarios(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd[Scenario]]:
    """All scenarios of the module that were chosen, under way."""
    chosen = [item.originalname for item in request.session.items if item.module is request.module]
    tests = [getattr(request.module, name) for name in chosen]
    scenarios = [test.scenario for test in tests if hasattr(test, "scenario")]
    with closing(Crowd(run, scenarios, tmp_path_factory, AT_ONCE)) as crowd:
        yield crowd


@pytest.fixture
def world() -> World:
    """Five nodes that beat."""
    made = World({})
    made.start(b"a", b"b", b"c", b"d", b"e")
    made.find()
    made.live(BEAT)
    assert made.offered == []
    return made
