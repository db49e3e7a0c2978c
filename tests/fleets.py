"""Fleets of any kind for the property tests, and snapshots of them without a Redis."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from exporter.contract import FIELDS, STATUSES
from exporter.judge import Judge
from exporter.names import Names, names_of
from exporter.snapshot import Invalid, Snapshot, SnapshotMaker
from readings import Pair, reading_of

NUMBERS = st.one_of(
    st.integers(0, 10**18).map(str),
    st.floats(0, allow_infinity=False).map(repr),
    st.from_regex(r"\A[+-]?[0-9]{1,3}(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?\Z"),
).map(str.encode)
"""Mostly readable numbers; some are negative or infinite."""

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
    """Hear of unreadable values and do nothing."""


def names_and(pairs: Mapping[bytes, Pair]) -> Names:
    return names_of(pairs, 100_000)


def snapshot_of(
    pairs: Mapping[bytes, Pair],
    *,
    stale_gauges: bool = False,
    invalid: Invalid = nobody,
    maker: SnapshotMaker | None = None,
) -> Snapshot:
    """Return the snapshot that an exporter which has just started makes of these nodes."""
    names = names_and(pairs)
    judge = Judge(30, 10)
    reading = reading_of(pairs, names=names.raw)
    verdicts = judge.judge(reading, whole=True, sure=True)
    maker = maker or SnapshotMaker(ZoneInfo("UTC"), 30, invalid, stale_gauges=stale_gauges)
    return maker.make(names, reading, maker.texts(reading), verdicts, judge.last_beat, duration=0.25)
