"""The body of a scrape: scrapes at the same time share one read of Redis and one rendering."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from isal import isal_zlib
from prometheus_client.metrics_core import Metric as MetricFamily

from exporter.errors import SourceError
from exporter.exposition.collector import read_families
from exporter.exposition.families import FamilyWriter
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.snapshot.snapshot import Snapshot
from exporter.web.precedence import Precedence

_GZIP_LEVEL: Final = 0
"""isal's fastest level. It shrinks a body to a tenth, in a tenth of the time that the read takes."""
_BLOCK: Final = 1 << 18
"""Bytes of a body that are written at a time. They fit into a processor's cache; the cost of each write is small."""
_SMALL: Final = 1 << 14
"""Bytes of a block at least while there are many answers: each of these may hold a block that its client does not read.
"""
_FEW: Final = 100
"""Nodes whose scrape is rendered in the event loop. It takes a millisecond; another thread would cost as much again."""
_GZIP_FORMAT: Final = 16 + isal_zlib.MAX_WBITS

Body = Sequence[bytes]
"""The pieces of an answer. Several answers may share them. They are not joined: a body may have many megabytes."""


@dataclass(frozen=True, slots=True)
class ScrapeOptions:
    """The options of a scrape.

    Attributes:
        form: The text format.
        gzip: Whether to compress.
        names: Names of families or samples, from ``name[]``; all if it is empty.
    """

    form: Format
    gzip: bool = False
    names: frozenset[str] = frozenset()


class Scrapes:
    """Makes the bodies of scrapes. Its state belongs to the event loop; many nodes are rendered in a thread of its own.

    Args:
        fleet: The fleet.
        precedence: Told of each scrape; None if nothing waits for scrapes.
    """

    def __init__(self, fleet: Fleet, precedence: Precedence | None = None) -> None:
        self._fleet = fleet
        self._precedence = precedence or Precedence()
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")
        self._writers = {form: FamilyWriter(form) for form in Format}
        # Bodies have many megabytes. So a body must not outlive the snapshot that it was made of.
        self._bodies: WeakKeyDictionary[Snapshot, dict[ScrapeOptions, asyncio.Future[Body]]] = WeakKeyDictionary()

    async def body(self, options: ScrapeOptions, limit: float) -> Body:
        """Return the body of a scrape within ``limit`` seconds.

        If Redis cannot be read in that time, the body has no per-node series.
        """
        try:
            async with asyncio.timeout(limit):
                with self._precedence:
                    return await self._shared_body(options)
        except (SourceError, TimeoutError):
            return self._render(None, options)

    async def _shared_body(self, options: ScrapeOptions) -> Body:
        if body := self._being_rendered(options):
            return await asyncio.shield(body)
        snapshot = await awaitable(self._fleet.request())
        return await asyncio.shield(self._body(snapshot, options))

    def close(self) -> None:
        """Stop the rendering thread."""
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _being_rendered(self, options: ScrapeOptions) -> "asyncio.Future[Body] | None":
        """Return the body that other scrapes wait for now. A scrape that comes after their read shares it too."""
        waited_for = (bodies[options] for bodies in self._bodies.values() if options in bodies)
        return next((body for body in waited_for if not body.done()), None)

    def _body(self, snapshot: Snapshot, options: ScrapeOptions) -> "asyncio.Future[Body]":
        bodies = self._bodies.setdefault(snapshot, {})
        body = bodies.get(options)
        if body is None:
            loop = asyncio.get_running_loop()
            if len(snapshot.ids) <= _FEW:
                body = loop.create_future()
                body.set_result(self._render(snapshot, options))
            else:
                body = loop.run_in_executor(self._renderer, self._render, snapshot, options)
            bodies[options] = body
        return body

    def _render(self, snapshot: Snapshot | None, options: ScrapeOptions) -> Body:
        about = (*read_families(snapshot, self._fleet.info), *self._fleet.telemetry.registry.collect())
        pieces = list(exposition(snapshot, options.form, options.names)) if snapshot else []
        pieces.append(self._writers[options.form].write(_wanted(about, options.names)))
        return [_gzip(pieces)] if options.gzip else pieces


def in_blocks(body: Body, *, shared: bool = False) -> Iterator[bytes]:
    """Yield a body in blocks of at least ``_BLOCK`` bytes, short of the last one.

    Args:
        body: The body.
        shared: Join only pieces of less than ``_SMALL`` bytes. A larger block is then a piece that all answers share.
    """
    least = _SMALL if shared else _BLOCK
    block: list[bytes] = []
    size = 0
    for piece in body:
        block.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _gzip(pieces: Body) -> bytes:
    compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


def awaitable(read: "Future[Snapshot]") -> "asyncio.Future[Snapshot]":
    """Return a future of a read for one waiter. A waiter that is cancelled does not cancel the read."""
    waiting = asyncio.wrap_future(read)
    # asyncio logs an exception that nobody retrieves. The waiter may be gone, so it is retrieved here.
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    return asyncio.shield(waiting)


def _wanted(families: Iterable[MetricFamily], names: Collection[str]) -> Iterator[MetricFamily]:
    """Yield the families, or their samples, that have one of the names; all families without names."""
    for family in families:
        if not names or family.name in names:
            yield family
        elif samples := [sample for sample in family.samples if sample.name in names]:
            part = copy(family)
            part.samples = samples
            yield part
