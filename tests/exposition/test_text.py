"""The fast writer against the reference: prometheus_client's writer over the same families."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from reference import reference

from exporter.contract import MASS_LOST, NODE_METRICS
from exporter.exposition.text import Format, LineWriter, exposition, own_families
from exporter.liveness import State
from exporter.snapshot.maker import Column
from exporter.snapshot.snapshot import Discovered, ReadInfo, Snapshot
from exporter.source.reading import Server
from fleets import FLEETS, NODE_IDS, Exporter, snapshot_of
from lab import nodes
from lab.nodes import ALIVE, CRASHED, ENDLESS, GONE, ZOMBIE, Pair
from portfolio_example import example

GOLDEN = Path(__file__).parent / "golden"
FORMS = ((Format.TEXT, "fleet.txt"), (Format.OPENMETRICS, "fleet.openmetrics"))
INFO = ReadInfo(
    0.25,
    Discovered(0.5, 1_767_702_645.0, 2),
    Server("run", "master", refused={"OOM": 3}, last_save_ok=False, memory_used_ratio=0.5),
    expected=7,
)
FIELDS: Mapping[str, bytes] = {name: str(value).encode() for name, value in nodes.FIELDS.items()}
FIRST_FIELDS = (
    *("portfolio_count", "queue_size", "cpu_usage", "memory_usage", "status"),
    *("total_events", "backpressure_count", "dropped_events"),
)
"""The fields in the golden files, which a new field leaves as they are."""
OLD = {name: FIELDS[name] for name in FIRST_FIELDS}
FLEET = {
    b"node-1": Pair(ttl=25.5, fields=OLD),
    b"node-2": Pair(fields=OLD),
    b"node-3": Pair(ttl=30, fields=None, beat=b"2026-01-06T20:30:44+08:00"),
    b"node-4": Pair(ttl=ENDLESS.ttl, fields={"total_events": b"1e3", "queue_size": b"abc"}),
    b"node-5": GONE,
    b'a "quoted" \\ id\nof two lines': Pair(ttl=12.345, fields={**OLD, "status": b"PAUSED"}, beat=b"noon"),
    b"\xff\xfe": Pair(ttl=1, fields={}),
    "\N{DEER} 100%b".encode(): Pair(ttl=1, fields={"memory_usage": b"0.5", "cpu_usage": b"0.0"}),
}


def parsed(body: bytes, form: Format) -> list[tuple[Any, ...]]:
    """Return all that prometheus_client's parser reads; values as doubles, which is what Prometheus keeps."""
    parse = parse_openmetrics if form is Format.OPENMETRICS else parse_text
    return [
        (
            *(family.name, family.type, family.documentation, family.unit),
            [sample._replace(value=float(sample.value)) for sample in family.samples],
        )
        for family in parse(body.decode())
    ]


def ours(snapshot: Snapshot, form: Format = Format.TEXT, wanted: Collection[str] = (), *, own: bool = False) -> bytes:
    return b"".join(exposition(snapshot, own_families(snapshot, INFO) if own else (), form, wanted))


def is_like_the_reference(snapshot: Snapshot, form: Format) -> None:
    """Compare the series, and the bytes of all lines but for the form of numbers."""
    mine, theirs = ours(snapshot, form, own=True), reference(snapshot, INFO, form)
    assert parsed(mine, form) == parsed(theirs, form)
    assert list(map(without_value, mine.split(b"\n"))) == list(map(without_value, theirs.split(b"\n")))


def without_value(line: bytes) -> bytes:
    return line if line.startswith(b"#") else line.rpartition(b" ")[0]


@settings(max_examples=25)
@given(
    fleets=st.lists(FLEETS, min_size=1, max_size=3),
    part=st.integers(1, 3),
    forget_after=st.sampled_from([None, 0.5]),
    stale_gauges=st.booleans(),
)
def test_series_are_those_of_the_reference(
    fleets: list[dict[bytes, Pair]], part: int, forget_after: float | None, *, stale_gauges: bool
) -> None:
    exporter = Exporter(stale_gauges=stale_gauges, forget_after=forget_after, part=part)
    for at, pairs in enumerate(fleet for fleet in fleets for _ in range(3)):
        snapshot = exporter.snapshot(pairs, at)
        for form in Format:
            is_like_the_reference(snapshot, form)


@pytest.mark.parametrize(("form", "file"), FORMS)
def test_output_is_the_golden_file(form: Format, file: str) -> None:
    assert ours(snapshot_of(FLEET), form).decode() == (GOLDEN / file).read_text(encoding="utf-8")


def test_series_of_portfolios_and_of_the_exporter_are_those_of_the_reference() -> None:
    nodes = {b"alpha": ALIVE, b"beta": ALIVE, b"gamma": CRASHED, b"delta": GONE}
    snapshot = snapshot_of(nodes, account=example())
    for form in Format:
        is_like_the_reference(snapshot, form)
    text = ours(snapshot, own=True).decode()
    assert 'ginkgo_node_planned_portfolios{node_id="gamma"} 1.0\n' in text
    assert 'ginkgo_redis_refused_writes_total{error="OOM"} 3.0\n' in text
    assert "# TYPE ginkgo_portfolios_untraded_positions gauge\nginkgo_portfolios_untraded_positions 7.0\n" in text


@given(loss=NODE_IDS)
def test_members_of_a_mass_loss_carry_its_name(loss: bytes) -> None:
    whole = snapshot_of({b'"100%"': CRASHED, b"b": ALIVE})
    part = whole.parts[0]
    columns = {MASS_LOST.name: Column.of([loss.decode("utf-8", "backslashreplace").encode(), None])}
    part = part._replace(lines=LineWriter().write(part.names, part.positions, columns))
    snapshot = replace(whole, parts=[part])
    (family,) = parse_text(ours(snapshot).decode())
    assert [sample.labels for sample in family.samples] == [
        {"node_id": '"100%"', "loss": loss.decode("utf-8", "backslashreplace")}
    ]


def test_families_come_in_the_contracts_order_and_only_with_series() -> None:
    body = ours(snapshot_of({b"n": Pair(ttl=30, fields=FIELDS)}))
    types = [line.split()[2].decode() for line in body.splitlines() if line.startswith(b"# TYPE")]
    assert types == [metric.name for metric in NODE_METRICS if metric is not MASS_LOST]  # no node is
    assert b"ginkgo_node_queue_size" not in ours(snapshot_of({b"n": ZOMBIE}))
    assert ours(snapshot_of({})) == b""


def test_families_can_be_asked_for_by_their_names_or_those_of_their_samples() -> None:
    snapshot = snapshot_of({b"n": Pair(ttl=30, fields=FIELDS)})
    for wanted in ("ginkgo_node_events_total", "ginkgo_node_events"):
        assert ours(snapshot, wanted={wanted}).splitlines()[2:] == [b'ginkgo_node_events_total{node_id="n"} 15000']
    for wanted in ("ginkgo_redis_refused_writes_total", "ginkgo_redis_refused_writes"):
        text = ours(snapshot, Format.OPENMETRICS, {wanted}, own=True).decode()
        assert [family.name for family in parse_openmetrics(text)] == ["ginkgo_redis_refused_writes"]


def test_template_follows_nodes_that_come_and_go_and_values_that_vanish() -> None:
    exporter = Exporter()
    one, two = {b"a": ALIVE}, {b"a": ALIVE, b"b": ALIVE}
    changed = {b"a": Pair(ttl=30, fields=FIELDS), b"b": CRASHED, b"c": ENDLESS}
    for pairs in (one, two, changed, two, one, {}, changed):
        is_like_the_reference(exporter.snapshot(pairs), Format.TEXT)


def test_forgotten_node_among_others_has_no_series() -> None:
    exporter = Exporter(forget_after=60, part=3)
    pairs = {b"a": ALIVE, b"b": CRASHED, b"c": ALIVE}
    before, after = exporter.snapshot(pairs, 1), exporter.snapshot(pairs, 200)
    for snapshot, ids in ((before, [b"a", b"b", b"c"]), (after, [b"a", b"c"])):
        lines = ours(snapshot, wanted={"ginkgo_node_up"}).splitlines()[2:]
        assert lines == [b'ginkgo_node_up{node_id="%b"} %d' % (name, name != b"b") for name in ids]
        assert snapshot.ids == [name.decode() for name in ids]
    assert after.counts[State.FORGOTTEN] == 1


def test_families_about_redis_are_absent_where_redis_does_not_tell() -> None:
    evicting = replace(INFO.server or Server("", ""), evicts=True, refused=None, last_save_ok=None)
    names = {family.name for family in own_families(snapshot_of({}), ReadInfo(server=evicting))}
    assert not names & {"ginkgo_redis_refused_writes", "ginkgo_redis_last_save_ok", "ginkgo_redis_memory_used_ratio"}
    assert "ginkgo_redis_writes_refused" in names
    partial = own_families(snapshot_of({}), ReadInfo(server=cluster("B")))
    assert "ginkgo_redis_refused_writes" not in [family.name for family in partial], "a counter must not fall"
    away = {family.name: family for family in own_families(None, INFO)}
    assert away["ginkgo_redis_up"].samples[0].value == 0
    assert not {"ginkgo_nodes", "ginkgo_redis_writes_refused", "ginkgo_redis_last_save_ok"} & away.keys()
