"""Gives memory back to the system: malloc keeps what a crowd of requests or a very large reply needed once."""

import asyncio
import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_EVERY: Final = 10.0
"""Seconds between two looks at the memory."""
_PAUSE: Final = 20.0
"""Seconds between a return of memory and the next look. Scrapes of a very large fleet need so much that there is some
to return at every look, and each next scrape needs new pages."""
_MOST: Final = 24 * 2**20
"""Free bytes that malloc may keep; scrapes of 20,000 nodes need fewer."""
_OPTIONS: Final = {-8: 1, -3: 12 * 2**20, -1: 64 * 2**20}
"""Options of glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.

All threads share one heap, so that its free memory can be measured. malloc keeps the pages in which bodies of 10,000
nodes are made. It gives larger blocks back at once."""
_MAPS: Final = Path("/proc/self/smaps")


class _MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def set_malloc_options() -> None:
    """Set the options of glibc's malloc, before threads start. Other C libraries have no such options."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _OPTIONS.items():
            mallopt(option, value)


def give_back() -> None:
    """Have glibc's malloc give back what is free. Other C libraries have no such function."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def kept() -> int:
    """Return the bytes of memory that glibc's malloc keeps though they are free; 0 where that cannot be found out.

    malloc does not know which of its free pages are in memory. The system knows, but takes milliseconds to tell. So
    the system is asked only if so many bytes are free that some may have to be given back.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallinfo2 = ctypes.CDLL(None).mallinfo2
        mallinfo2.restype = _MallocInfo
        known = mallinfo2()
        free = int(known.fordblks)
        return free if free <= _MOST else max(0, _heap() - int(known.uordblks))
    return 0


def _heap() -> int:
    """Return the bytes of the heap that are in memory. All threads share one heap."""
    lines = iter(_MAPS.read_text(encoding="utf-8", errors="replace").splitlines())
    if any(line.endswith("[heap]") for line in lines):
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:")), 0)
    return 0


class MemoryReturn:
    """Looks at the memory from ``start`` to ``stop``, and gives some back when much is free. For the event loop.

    Args:
        give_back: Gives memory back; it runs in another thread.
        kept: Returns the bytes of memory that are free and not given back; it runs in another thread.
        every: Seconds between two looks.
        pause: More seconds between a return of memory and the next look.
    """

    def __init__(
        self,
        give_back: Callable[[], None] = give_back,
        kept: Callable[[], int] = kept,
        every: float = _EVERY,
        pause: float = _PAUSE,
    ) -> None:
        self._give_back, self._kept = give_back, kept
        self._every, self._pause = every, pause
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the memory."""
        self._task = asyncio.get_running_loop().create_task(self._look_on())

    def stop(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()

    async def _look_on(self) -> None:
        while True:
            if await asyncio.to_thread(self._kept) > _MOST:
                await asyncio.to_thread(self._give_back)
                await asyncio.sleep(self._pause)
            await asyncio.sleep(self._every)
