"""Fleets of any kind for the property tests, and snapshots of them without a Redis."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hypothesis import strategies as st

from exporter.contract import FIELDS, STATUSES
from exporter.exposition.text import LineWriter
from exporter.liveness import LOOK_AGAIN, Judge
from exporter.portfolios.account import Account
from exporter.settings import Heartbeat, Nodes, Settings
from exporter.snapshot.maker import Invalid, SnapshotMaker
from exporter.snapshot.snapshot import Snapshot
from exporter.source.reading import Names, Reading, names_of
from lab.nodes import Pair, reading_of

NUMBERS = st.one_of(
    st.integers(0, 10**18).map(str),
    st.floats(0, allow_infinity=False).map(repr),
    st.from_regex(r"\A[+-]?[0-9]{1,3}(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?\Z"),
).map(str.encode)
"""Mostly valid numbers; some are negative or infinite."""

RUBBISH = st.one_of(st.binary(max_size=12), st.sampled_from([b"abc", b"1_000", b" 5", b"nan", b"inf", b"-1", b"1e400"]))
STATUS_TEXTS = st.one_of(st.sampled_from([status.encode() for status in STATUSES]), RUBBISH)
VALUES = st.one_of(NUMBERS, NUMBERS, RUBBISH)
HASHES = st.fixed_dictionaries({}, optional={field: STATUS_TEXTS if field == "status" else VALUES for field in FIELDS})
TIMES = st.one_of(
    st.datetimes().map(lambda time: time.isoformat().encode()),
    st.datetimes().map(lambda time: f"{time.isoformat()}+08:00".encode()),
    st.just(b"2026-01-06T12:30:45.123456"),
    RUBBISH,
)
PAIRS = st.builds(
    Pair,
    ttl=st.one_of(st.none(), st.just(-1.0), st.integers(0, 60_000).map(lambda ms: ms / 1000)),
    fields=st.one_of(st.none(), HASHES),
    beat=TIMES,
)
NODE_IDS = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b'"', b"\\", b"\n", b"\\n", b"a:b", b"%b", b"%", b"\xff", b"\\xff", "\N{OWL}".encode(), b"{}", b"# EOF"]
    ),
)
FLEETS = st.dictionaries(NODE_IDS, PAIRS, max_size=5)


def nobody(_field: str, _node_ids: object) -> None:
    """Ignore invalid values."""


def parts_of(reading: Reading, size: int) -> Iterator[Reading]:
    """Yield a reading in parts of ``size`` nodes, as they come from Redis."""
    for start in range(0, len(reading.names) or 1, size):
        some = slice(start, start + size)
        yield replace(
            reading,
            names=reading.names[some],
            fields=tuple(column[some] for column in reading.fields),
            ttl_ms=reading.ttl_ms[some],
            beats=reading.beats[some],
            without_hash=frozenset(i - start for i in reading.without_hash if start <= i < start + size),
        )


class Exporter:
    """An exporter without a Redis.

    Args:
        invalid: Called with the field and the nodes of invalid values.
        stale_gauges: Whether offline nodes keep their gauges.
        forget_after: Seconds after which an offline node is only counted; None for never.
        part: Number of nodes in one part of a reading.
    """

    def __init__(
        self,
        invalid: Invalid = nobody,
        *,
        stale_gauges: bool = False,
        forget_after: float | None = None,
        part: int = 2,
    ) -> None:
        self._judge = Judge(Settings(nodes=Nodes(forget_after=forget_after, forget_rehomed_after=None)))
        self._maker = SnapshotMaker(Heartbeat(), invalid, LineWriter().write, stale_gauges=stale_gauges)
        self._part = part
        self._names = Names()

    def snapshot(self, pairs: Mapping[bytes, Pair], at: float = 0.0, account: Account | None = None) -> Snapshot:
        """Return the snapshot of these nodes, ``at`` in monotonic seconds; a node that reads as crashed is offline."""
        if pairs.keys() != set(self._names.raw):
            self._names = names_of(pairs, 100_000)
        names, parts = self._names, []
        self._judge.let_go(None, at)
        for reading in parts_of(reading_of(pairs, at, names=names.raw), self._part):
            before = at - 2 * LOOK_AGAIN
            self._judge.look(replace(reading, asked=before, at=before, server=replace(reading.server)))
            verdicts = self._judge.look(reading)
            parts.append(self._maker.part(names, sum(len(part.states) for part in parts), reading, verdicts))
        return self._maker.snapshot(names, parts, account)


def snapshot_of(
    pairs: Mapping[bytes, Pair],
    *,
    stale_gauges: bool = False,
    invalid: Invalid = nobody,
    account: Account | None = None,
) -> Snapshot:
    """Return the snapshot of these nodes by an exporter that has just started."""
    return Exporter(invalid, stale_gauges=stale_gauges).snapshot(pairs, account=account)
