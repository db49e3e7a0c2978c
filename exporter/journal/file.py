"""The journal's file: one process writes it, it is rotated by size, and a failure to write it stops nothing."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from exporter.journal.lines import ReadBack, parts_of, read_back
from exporter.settings import Journal

KEPT: Final = 3
"""Number of files that are kept: the present file and two older files."""
MOST_READ: Final = 16 * 2**20
"""Most bytes that are read back at the start, so that a large file does not delay the start."""


class JournalFile:
    """Appends lines to a file. For one thread at a time.

    The lock is on a file of its own beside the journal, since rotation renames the journal.

    Args:
        path: The file.
        max_size: Bytes after which the next line goes into a new file.
        write: Writes bytes to a descriptor and returns how many it wrote.
    """

    def __init__(self, path: Path, max_size: int, write: Callable[[int, bytes], int] = os.write) -> None:
        self.path = path
        self._max_size, self._write = max_size, write
        self._lock: int | None = None
        self._file: int | None = None
        self._size = 0

    @classmethod
    def of(cls, settings: Journal) -> "JournalFile | None":
        """Return the file that the settings name; None if they name none."""
        return cls(settings.file, settings.max_size) if settings.file else None

    def read_back(self, most_events: int) -> ReadBack:
        """Return the last events in the files; raises an OSError if a file cannot be read."""
        return read_back(self.path, KEPT, most_events, MOST_READ)

    def append(self, lines: bytes) -> None:
        """Append whole lines.

        Raises:
            OSError: The lines could not be written, and the file holds no part of them. ``BlockingIOError`` means that
                another process writes this journal.
        """
        self._open()
        if self._size and self._size + len(lines) > self._max_size:
            self._rotate()
        self._append(lines)

    def close(self) -> None:
        """Close the files, and let another process write them."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _open(self) -> None:
        if self._lock is None:
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
        if self._file is None or self._is_gone(self._file):
            self._close_file()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = os.fstat(self._file).st_size
            if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
                self._append(b"\n")  # the last line was cut off: the next one must not continue it

    def _is_gone(self, file: int) -> bool:
        """Return whether the file was deleted or replaced."""
        try:
            return not os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return True

    def _append(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("the journal is closed")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._write(self._file, bytes(rest)) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)  # a line that is cut off must not stay
            self._close_file()
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        parts = parts_of(self.path, KEPT)
        for newer, older in zip(parts[-2::-1], parts[:0:-1], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._close_file()
        self._open()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
