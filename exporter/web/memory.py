"""Gives memory back to the system: malloc keeps what a crowd of requests or a very large reply needed once."""

import ctypes
from contextlib import suppress
from typing import Final

MOST: Final = 24 * 2**20
"""Free bytes that malloc may keep; scrapes of 20,000 nodes need fewer."""
_OPTIONS: Final = {-8: 1, -3: 12 * 2**20, -1: 64 * 2**20}
"""Options of glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.

All threads share one heap, so that its free memory can be measured. malloc keeps the pages in which bodies of 10,000
nodes are made. It gives larger blocks back at once."""


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


def give_back() -> bool:
    """Have glibc's malloc give back what is free, if that is much. Return whether it was much.

    Other C libraries have no such functions.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _MallocInfo
        if libc.mallinfo2().fordblks > MOST:
            libc.malloc_trim(0)
            return True
    return False
