"""Gives memory back to the system: malloc keeps what a crowd of requests or a very large reply needed once."""

import ctypes
from contextlib import suppress
from typing import Final

_OPTIONS: Final = {-8: 1, -3: 12 * 2**20, -1: 64 * 2**20}
"""Options of glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.

All threads share one heap. malloc keeps the pages in which bodies of 10,000 nodes are made. It gives
larger blocks back at once."""


def set_malloc_options() -> None:
    """Set the options of glibc's malloc, before threads start. Other C libraries have no such options."""
    with suppress(AttributeError):
        for option, value in _OPTIONS.items():
            ctypes.CDLL(None).mallopt(option, value)


def give_back() -> None:
    """Have glibc's malloc give back what is free. Other C libraries have no such function."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
