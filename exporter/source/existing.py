"""Which of many names have keys: asked slice by slice, so that names without keys cost no memory for long."""

import time
from dataclasses import replace
from itertools import islice
from typing import Final

from exporter.source.discovery import Found
from exporter.source.reading import MISSING, Reader

_SLICE: Final = 1000


def existing(found: Found, reader: Reader, timeout: float) -> Found:
    """Return the result of a scan that ended at a bound, with only those names that have a hash or a heartbeat.

    Args:
        found: The result. One of a scan that did not end at a bound is returned as it is.
        reader: Reads the names.
        timeout: Seconds for each slice of the names.

    Raises:
        SourceError: Redis could not be read.
    """
    if not found.cut:
        return found
    names, kept = iter(sorted(found.names)), set[bytes]()
    while some := tuple(islice(names, _SLICE)):
        reading = reader.read(some, time.monotonic() + timeout)
        kept.update(
            name
            for position, (name, ttl) in enumerate(zip(some, reading.ttl_ms, strict=True))
            if ttl != MISSING or position not in reading.without_hash
        )
    return replace(found, names=frozenset(kept))
