"""A simulated day of nodes that come and go: the exporter keeps nothing of nodes that are gone."""

import gc
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporter.contract import FIELDS, LOADED_FIELD, STATUS_FIELD
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.settings import load
from exporter.source.discovery import Found
from exporter.source.protocol import CHUNK
from exporter.source.reading import MISSING, Reading, Server, joined
from exporter.telemetry import Telemetry
from fleet_world import WithoutKeys

HOURS = 24
STEPS = 60  # an hour: one discovery and one scrape a minute
GROWTH = 1.05
"""Limit of the growth of resident memory after the first hour, in bytes."""


class Replacing(WithoutKeys):
    """A Redis whose nodes stop gracefully one by one, each replaced by a new node."""

    def __init__(self, live: int, seen: int) -> None:
        self.live = live
        self.replaced = (seen - live) / (HOURS * STEPS)
        self.step = 0

    def clock(self) -> float:
        """Return the seconds since the day began."""
        return self.step * 3600 / STEPS

    def names(self) -> frozenset[bytes]:
        first = round(self.step * self.replaced)
        return frozenset(b"node-%07d" % number for number in range(first, first + self.live))

    def reader(self) -> "Replacing":
        return self

    def discover(self, timeout: float) -> Found:  # noqa: ARG002
        return Found(self.names(), 0.0)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:  # noqa: ARG002
        living, at = self.names(), self.clock()
        for start in range(0, len(names) or 1, CHUNK):
            some = names[start : start + CHUNK]
            alive = [name in living for name in some]
            yield Reading(
                asked=at,
                at=at,
                wall=at,
                server=Server("run", "master"),
                names=some,
                fields=[[self._value(field) if here else None for here in alive] for field in FIELDS],
                ttl_ms=[20_000 + self.step if here else MISSING for here in alive],
                beats=[b"2026-01-06T12:30:45.%06d" % self.step if here else None for here in alive],
                without_hash=frozenset(i for i, here in enumerate(alive) if not here),
            )

    def _value(self, field: str) -> bytes | None:
        """Return what every living node writes into a field: a number, an unknown status, and no list of portfolios."""
        return {STATUS_FIELD: b"unknown %d" % self.step, LOADED_FIELD: None}.get(field, b"%d" % self.step)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        return joined(names, list(self.parts(names, deadline)))

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _without_log() -> Iterator[None]:
    """Log nothing: pytest would keep each line of the day in its memory."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("live", "seen"),
    [
        pytest.param(500, 50_000, id="500 live, 50,000 seen"),
        pytest.param(
            10_000,
            1_000_000,
            id="10,000 live, 1,000,000 seen",
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_memory_is_flat_after_the_first_hour_of_a_day_of_replaced_nodes(live: int, seen: int) -> None:
    source = Replacing(live, seen)
    fleet = Fleet(load({}), Telemetry(source.clock), source, source.clock)
    after = []
    for _ in range(HOURS):
        for _ in range(STEPS):
            source.step += 1
            snapshot = fleet.look()
            fleet.judge.take()
            assert len(snapshot.ids) == live
            list(exposition(snapshot, (), Format.TEXT))
        gc.collect()
        after.append(_resident())
    fleet.close()
    print([f"{size / 2**20:.1f}" for size in after])  # noqa: T201
    assert max(after[1:]) < GROWTH * after[0]


def _resident() -> int:
    """Return the resident memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
