"""Events as lines of JSON: written to a file, and read back from its end."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from exporter.escaping import printable_json
from exporter.journal.event import Event, event_of

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a journal's files held.

    Attributes:
        events: The last events, the oldest one first.
        unreadable: Lines that are not events.
    """

    events: Sequence[Event]
    unreadable: int


def line_of(event: Event) -> bytes:
    """Return an event as one line of JSON that no terminal obeys."""
    return printable_json(event.to_json(), separators=(",", ":")).encode() + b"\n"


def parts_of(path: Path, kept: int) -> list[Path]:
    """Return the files of a journal, the newest one first; some of them may not exist."""
    return [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, kept))]


def read_back(path: Path, kept: int, most_events: int, most_bytes: int) -> ReadBack:
    """Return the last events of a journal, whatever its size.

    Args:
        path: Its newest file.
        kept: How many files there are at most.
        most_events: Events to read at most.
        most_bytes: Bytes to read at most.

    Raises:
        OSError: A file that exists cannot be read.
    """
    events: list[Event] = []
    unreadable = 0
    left = most_bytes
    for part in parts_of(path, kept):
        try:
            with part.open("rb") as file:
                for line in _lines_from_the_end(file, left):
                    left -= len(line) + 1
                    event = _event(line)
                    if event is not None:
                        events.append(event)
                    elif line.strip():
                        unreadable += 1
                    if len(events) >= most_events:
                        break
        except FileNotFoundError:
            continue
        if left <= 0 or len(events) >= most_events:
            break
    # In a rolling update the new process writes when the old one has ended: what it saw meanwhile comes late.
    return ReadBack(sorted(events, key=lambda event: event.id), unreadable)


def _event(line: bytes) -> Event | None:
    try:
        return event_of(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _lines_from_the_end(file: BinaryIO, most_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first; not the one that begins before the last ``most_bytes``."""
    position = file.seek(0, os.SEEK_END)
    end = max(0, position - most_bytes)
    pieces: list[bytes] = []  # of the line that is not complete yet, the last piece first
    while position > end:
        start = max(end, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        position = start
        first, *lines = block.split(b"\n")
        for line in reversed(lines):
            pieces.append(line)
            yield b"".join(reversed(pieces))
            pieces = []
        pieces.append(first)
    if end == 0:
        yield b"".join(reversed(pieces))
