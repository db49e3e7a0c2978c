"""Outputs that were closed before the start, or that break while the program writes."""

import os
import sys
from pathlib import Path
from typing import TextIO


def nowhere() -> TextIO:
    """Return a stream that discards its text. It replaces an output that was closed before the start."""
    return Path(os.devnull).open("w", encoding="utf-8")


def drop_unwritable_output() -> None:
    """Discard unwritable output. Python would write it again at its end, and fail with another exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
