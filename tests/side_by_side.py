"""Runs cases in parallel, because they mostly wait for servers. A case that fails so is run again alone."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import pytest

C = TypeVar("C", bound=Hashable)


class Crowd(Generic[C]):
    """Cases that run in parallel, each in a folder of its own."""

    def __init__(
        self, run: Callable[[Path, C], None], cases: Iterable[C], folders: pytest.TempPathFactory, at_once: int
    ) -> None:
        self._run, self._folders = run, folders
        self._pool = ThreadPoolExecutor(at_once)
        self._under_way = {case: self._pool.submit(run, folders.mktemp("case"), case) for case in cases}

    def hold(self, case: C) -> None:
        """Wait for a case, and raise its error if it fails.

        Heartbeats live a tenth of their normal time in these cases, but programs start no faster. So a case may
        fail because the machine is busy. It is run once more after all others, and must not fail then.
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
    """Run a case for each parameter ``name`` of the module's selected tests."""
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
