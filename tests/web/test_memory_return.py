"""Memory that was needed once is given back, and memory that each scrape needs is kept."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

from exporter.web.memory import MemoryReturn

_MIB = 2**20


class Process:
    """A process in which malloc keeps so many MiB at each look."""

    def __init__(self, *kept: int) -> None:
        self.later = list(kept)
        self.mib = 0
        self.returns = list[int]()

    def give_back(self) -> None:
        self.returns.append(self.mib)

    def kept(self) -> int:
        self.mib = self.later.pop(0) if self.later else 0
        return self.mib * _MIB


async def _watched(process: Process, done: Callable[[], bool], pause: float = 0.0) -> None:
    memory = MemoryReturn(process.give_back, process.kept, every=0.001, pause=pause)
    memory.start()
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - the process has no event
            await asyncio.sleep(0.001)
    memory.stop()


def test_memory_is_given_back_when_much_is_free() -> None:
    process = Process(20, 90, 20, 25, 20)
    asyncio.run(_watched(process, lambda: not process.later))
    assert process.returns == [90, 25]


def test_memory_that_a_scrape_needs_again_is_kept() -> None:
    process = Process(*[24, 10] * 10)
    asyncio.run(_watched(process, lambda: not process.later))
    assert not process.returns


def test_memory_that_comes_back_at_once_is_not_given_back_all_the_time() -> None:
    process = Process(*[200] * 1000)
    asyncio.run(_watched(process, lambda: bool(process.returns), pause=3600))
    assert process.returns == [200]


_PROGRAM = """
from exporter.web.memory import give_back, kept, set_malloc_options

set_malloc_options()
blocks = [b"x" * 100_000 for _ in range(1000)]
full = kept()
last = blocks.pop()
del blocks
free = kept()
give_back()
print(full >> 20, free >> 20, kept() >> 20)
"""


def test_free_memory_is_seen_and_given_back() -> None:
    printed = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    full, free, after = map(int, printed.stdout.split())
    assert full < 20
    assert free > 60
    assert after < 20
