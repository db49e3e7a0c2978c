"""The body of a scrape: one read and one rendering for all who ask at once."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from isal import igzip
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.collector import read_families
from exporter.errors import SourceError
from exporter.exposition import Exposition, Format
from exporter.fleet import Fleet
from exporter.snapshot import Snapshot

_GZIP_LEVEL: Final = 0
"""isal's fastest: a tenth of the size, in a tenth of the time that reading takes."""


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
        self._exposition = Exposition()
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")
        # Bodies of many megabytes are let go together with what they were made of.
        self._bodies: WeakKeyDictionary[Snapshot, dict[Wanted, asyncio.Future[bytes]]] = WeakKeyDictionary()

    async def body(self, wanted: Wanted, limit: float) -> bytes:
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

    def _being_rendered(self, wanted: Wanted) -> "asyncio.Future[bytes] | None":
        """Return the body that others wait for now: who comes after their read shares it all the same."""
        waited_for = (bodies[wanted] for bodies in self._bodies.values() if wanted in bodies)
        return next((body for body in waited_for if not body.done()), None)

    def _body(self, snapshot: Snapshot, wanted: Wanted) -> "asyncio.Future[bytes]":
        bodies = self._bodies.setdefault(snapshot, {})
        body = bodies.get(wanted)
        if body is None:
            loop = asyncio.get_running_loop()
            body = bodies[wanted] = loop.run_in_executor(self._renderer, self._render, snapshot, wanted)
        return body

    def _render(self, snapshot: Snapshot | None, wanted: Wanted) -> bytes:
        own = _Own(list(read_families(snapshot, self._fleet.discovered)), self._fleet.telemetry.registry, wanted.names)
        body = generate_openmetrics(own) if wanted.form is Format.OPENMETRICS else generate_latest(own)
        if snapshot:
            body = self._exposition.render(snapshot, wanted.form, wanted.names, rest=body)
        return igzip.compress(body, _GZIP_LEVEL, mtime=0) if wanted.gzip else body


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
