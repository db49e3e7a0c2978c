"""Runs cases beside each other, those that mostly wait for servers; what fails in the crowd has to hold alone."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import pytest

C = TypeVar("C", bound=Hashable)


class Crowd(Generic[C]):
    """Cases under way, each in a folder of its own."""

    def __init__(
        self, run: Callable[[Path, C], None], cases: Iterable[C], folders: pytest.TempPathFactory, at_once: int
    ) -> None:
        self._run, self._folders = run, folders
        self._pool = ThreadPoolExecutor(at_once)
        self._under_way = {case: self._pool.submit(run, folders.mktemp("case"), case) for case in cases}

    def hold(self, case: C) -> None:
        """Raise what is wrong with a case.

        Heartbeats last a tenth of their time in these cases, and programs start no faster for it: a case that
        fails in the crowd is run once more when all others are over, and has to hold then.
        """
        if self._under_way[case].exception():
            wait(self._under_way.values())
            self._run(self._folders.mktemp("alone"), case)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def side_by_side(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, run: Callable[[Path, str], None], at_once: int
) -> Iterator[Crowd[str]]:
    """Have under way a case for each parameter ``name`` of the module's chosen tests."""
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]
    crowd = Crowd(run, chosen, folders, at_once)
    try:
        yield crowd
    finally:
        crowd.close()
