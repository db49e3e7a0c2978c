"""Runs a module's parametrised cases beside each other: those that mostly wait for servers."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def side_by_side(
    request: pytest.FixtureRequest,
    folders: pytest.TempPathFactory,
    run: Callable[[Path, str], None],
    at_once: int,
) -> Iterator[dict[str, Future[None]]]:
    """Run, for each parameter ``name`` of the module's chosen tests, a case in a folder of its own."""
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(at_once) as pool:
        yield {name: pool.submit(run, folders.mktemp("case"), name) for name in chosen}
        pool.shutdown(wait=False, cancel_futures=True)
