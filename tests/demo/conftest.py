"""What the tests of the demo share: demos that end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from demos import Demo


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Start demos, and end those that a test leaves."""
    started: list[Demo] = []

    def start(*flags: str, **options: Any) -> Demo:
        started.append(Demo(tmp_path / f"demo{len(started)}", *flags, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
