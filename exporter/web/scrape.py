"""The body of a scrape: one read and one rendering for all who ask at once."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from isal import isal_zlib
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.errors import SourceError
from exporter.exposition.collector import read_families
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.snapshot.snapshot import Snapshot

_GZIP_LEVEL: Final = 0
"""isal's fastest: a tenth of the size, in a tenth of the time that reading takes."""
_BLOCK: Final = 1 << 18
"""Bytes: so many fit into a processor's cache, and cost more to send than to hand over."""
_GZIP_FORMAT: Final = 16 + isal_zlib.MAX_WBITS

Body = Sequence[bytes]
"""The pieces of an answer, which others may share. One of many megabytes is nowhere put together."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scrape asks for.

    Attributes:
        form: The text format.
        gzip: Whether to compress.
        names: Names of families or samples, as ``name[]`` has them; all if it is empty.
    """

    form: Format
    gzip: bool = False
    names: frozenset[str] = frozenset()


class Scrapes:
    """Answers scrapes. Its state is the event loop's; rendering runs in a thread of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")
        # Bodies of many megabytes are let go together with what they were made of.
        self._bodies: WeakKeyDictionary[Snapshot, dict[Wanted, asyncio.Future[Body]]] = WeakKeyDictionary()

    async def body(self, wanted: Wanted, limit: float) -> Body:
        """Return what a scrape is answered with, within ``limit`` seconds.

        If Redis cannot be read in that time it holds no per-node series.
        """
        try:
            async with asyncio.timeout(limit):
                if body := self._being_rendered(wanted):
                    return await asyncio.shield(body)
                snapshot = await shared(self._fleet.request())
                return await asyncio.shield(self._body(snapshot, wanted))
        except (SourceError, TimeoutError):
            return self._render(None, wanted)

    def close(self) -> None:
        """Stop the thread."""
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _being_rendered(self, wanted: Wanted) -> "asyncio.Future[Body] | None":
        """Return the body that others wait for now: who comes after their read shares it all the same."""
        waited_for = (bodies[wanted] for bodies in self._bodies.values() if wanted in bodies)
        return next((body for body in waited_for if not body.done()), None)

    def _body(self, snapshot: Snapshot, wanted: Wanted) -> "asyncio.Future[Body]":
        bodies = self._bodies.setdefault(snapshot, {})
        body = bodies.get(wanted)
        if body is None:
            loop = asyncio.get_running_loop()
            body = bodies[wanted] = loop.run_in_executor(self._renderer, self._render, snapshot, wanted)
        return body

    def _render(self, snapshot: Snapshot | None, wanted: Wanted) -> Body:
        own = _Own(list(read_families(snapshot, self._fleet.info)), self._fleet.telemetry.registry, wanted.names)
        pieces = list(exposition(snapshot, wanted.form, wanted.names)) if snapshot else []
        pieces.append(generate_openmetrics(own) if wanted.form is Format.OPENMETRICS else generate_latest(own))
        return [_gzip(pieces)] if wanted.gzip else pieces


def in_blocks(body: Body) -> Iterator[bytes]:
    """Yield a body in blocks that are worth a write each."""
    block: list[bytes] = []
    size = 0
    for piece in body:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _gzip(pieces: Body) -> bytes:
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


def shared(read: "Future[Snapshot]") -> "asyncio.Future[Snapshot]":
    """Return a read to wait for: who leaves before its end neither cancels it nor has its failure logged as lost."""
    waited_for = asyncio.wrap_future(read)
    waited_for.add_done_callback(lambda done: done.cancelled() or done.exception())
    return asyncio.shield(waited_for)


class _Own(Collector):
    """The families about the read, and those of the exporter's registry."""

    def __init__(self, families: list[MetricFamily], registry: CollectorRegistry, names: frozenset[str]) -> None:
        self._families = families
        self._registry = registry
        self._names = names

    def collect(self) -> Iterator[MetricFamily]:
        for family in (*self._families, *self._registry.collect()):
            if not self._names or family.name in self._names:
                yield family
            elif samples := [sample for sample in family.samples if sample.name in self._names]:
                part = copy(family)
                part.samples = samples
                yield part
