"""The fast writer against the reference: prometheus_client's writer over ``NodeCollector``'s families."""

from collections.abc import Collection, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from exporter.contract import MASS_LOST, NODE_METRICS
from exporter.exposition.collector import node_families
from exporter.exposition.text import Format, exposition
from exporter.liveness.judge import State
from exporter.snapshot.snapshot import Snapshot
from exporter.source.names import names_of
from fleets import FLEETS, Exporter, snapshot_of
from lab.readings import ALIVE, CRASHED, ENDLESS, GONE, ZOMBIE, Pair

GOLDEN = Path(__file__).parent / "golden"
FIELDS: Mapping[str, bytes] = {
    "portfolio_count": b"3",
    "queue_size": b"15",
    "cpu_usage": b"12.5",
    "memory_usage": b"512",
    "total_events": b"15000",
    "backpressure_count": b"5",
    "dropped_events": b"2",
    "status": b"RUNNING",
}
FLEET = {
    b"node-1": Pair(ttl=25.5, fields=FIELDS),
    b"node-2": Pair(fields=FIELDS),
    b"node-3": Pair(ttl=30, fields=None, beat=b"2026-01-06T20:30:44+08:00"),
    b"node-4": Pair(ttl=-1, fields={"total_events": b"1e3", "queue_size": b"abc"}),
    b"node-5": GONE,
    b'a "quoted" \\ id\nof two lines': Pair(ttl=12.345, fields={**FIELDS, "status": b"PAUSED"}, beat=b"noon"),
    b"\xff\xfe": Pair(ttl=1, fields={}),
    "\N{DEER} 100%b".encode(): Pair(ttl=1, fields={"memory_usage": b"0.5", "cpu_usage": b"0.0"}),
}


class Reference(Collector):
    """The families that NodeCollector yields for a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[MetricFamily]:
        return node_families(self._snapshot)


def reference(snapshot: Snapshot, form: Format) -> bytes:
    write = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
    return bytes(write(Reference(snapshot)))


def as_double(sample: Sample) -> Sample:
    return sample._replace(value=float(sample.value))


def parsed(body: bytes, form: Format) -> list[tuple[Any, ...]]:
    """Return all that prometheus_client's parser reads; values as doubles, which is what Prometheus keeps."""
    parse = parse_openmetrics if form is Format.OPENMETRICS else parse_text
    return [
        (family.name, family.type, family.documentation, family.unit, list(map(as_double, family.samples)))
        for family in parse(body.decode())
    ]


def ours(snapshot: Snapshot, form: Format, wanted: Collection[str] = ()) -> bytes:
    body = b"".join(exposition(snapshot, form, wanted))
    return body + b"# EOF\n" if form is Format.OPENMETRICS else body


@pytest.mark.parametrize("form", Format)
@given(
    fleets=st.lists(FLEETS, min_size=1, max_size=3),
    part=st.integers(1, 3),
    forget_after=st.sampled_from([None, 0.5]),
    stale_gauges=st.booleans(),
)
def test_text_has_the_same_series_as_the_reference(
    form: Format,
    fleets: list[dict[bytes, Pair]],
    part: int,
    forget_after: float | None,
    *,
    stale_gauges: bool,
) -> None:
    exporter = Exporter(stale_gauges=stale_gauges, forget_after=forget_after, part=part)
    for at, pairs in enumerate(fleet for fleet in fleets for _ in range(3)):
        snapshot = exporter.snapshot(pairs, at)
        assert parsed(ours(snapshot, form), form) == parsed(reference(snapshot, form), form)


@pytest.mark.parametrize("form", Format)
@given(pairs=FLEETS)
def test_lines_equal_those_of_the_reference_up_to_the_form_of_numbers(form: Format, pairs: dict[bytes, Pair]) -> None:
    snapshot = snapshot_of(pairs)

    def without_values(body: bytes) -> list[bytes]:
        return [line if line.startswith(b"#") else line.rpartition(b" ")[0] for line in body.split(b"\n")]

    assert without_values(ours(snapshot, form)) == without_values(reference(snapshot, form))


@given(pairs=FLEETS, part=st.integers(1, 3))
def test_output_does_not_depend_on_the_parts_of_a_reading(pairs: dict[bytes, Pair], part: int) -> None:
    apart, whole = Exporter(part=part).snapshot(pairs), Exporter(part=len(pairs) + 1).snapshot(pairs)
    assert len(apart.parts) == max(1, ceil(len(names_of(pairs, 100).raw) / part))
    assert (apart.ids, apart.states, apart.counts) == (whole.ids, whole.states, whole.counts)
    assert ours(apart, Format.TEXT) == ours(whole, Format.TEXT)


@pytest.mark.parametrize(("form", "file"), [(Format.TEXT, "fleet.txt"), (Format.OPENMETRICS, "fleet.openmetrics")])
def test_output_is_the_golden_file(form: Format, file: str) -> None:
    assert ours(snapshot_of(FLEET), form).decode() == (GOLDEN / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("form", "file"), [(Format.TEXT, "fleet.txt"), (Format.OPENMETRICS, "fleet.openmetrics")])
def test_golden_file_has_the_same_series_as_the_reference(form: Format, file: str) -> None:
    assert parsed((GOLDEN / file).read_bytes(), form) == parsed(reference(snapshot_of(FLEET), form), form)


def test_empty_fleet_has_no_series() -> None:
    assert ours(snapshot_of({}), Format.TEXT) == b""


def test_family_without_series_is_not_written() -> None:
    body = ours(snapshot_of({b"n": ZOMBIE}), Format.TEXT)
    assert b"ginkgo_node_up" in body
    assert b"ginkgo_node_queue_size" not in body


def test_families_come_in_the_contracts_order() -> None:
    body = ours(snapshot_of({b"n": Pair(ttl=30, fields=FIELDS)}), Format.TEXT)
    types = [line.split()[2].decode() for line in body.splitlines() if line.startswith(b"# TYPE")]
    assert types == [metric.name for metric in NODE_METRICS if metric is not MASS_LOST]  # no node is


@pytest.mark.parametrize("wanted", ["ginkgo_node_events_total", "ginkgo_node_events"])
def test_one_family_can_be_asked_for_by_its_name_or_its_samples(wanted: str) -> None:
    body = ours(snapshot_of({b"n": Pair(ttl=30, fields=FIELDS)}), Format.TEXT, {wanted})
    assert body.splitlines()[2:] == [b'ginkgo_node_events_total{node_id="n"} 15000']


def test_template_follows_nodes_that_come_and_go_and_values_that_vanish() -> None:
    exporter = Exporter()
    one, two = {b"a": ALIVE}, {b"a": ALIVE, b"b": ALIVE}
    changed = {b"a": Pair(ttl=30, fields=FIELDS), b"b": CRASHED, b"c": ENDLESS}
    for pairs in (one, two, changed, two, one, {}, changed):
        snapshot = exporter.snapshot(pairs)
        assert parsed(ours(snapshot, Format.TEXT), Format.TEXT) == parsed(reference(snapshot, Format.TEXT), Format.TEXT)


def test_forgotten_node_among_others_has_no_series() -> None:
    exporter = Exporter(forget_after=60, part=3)
    pairs = {b"a": ALIVE, b"b": CRASHED, b"c": ALIVE}
    before, after = exporter.snapshot(pairs, 0), exporter.snapshot(pairs, 61)
    wanted = {"ginkgo_node_up"}
    assert ours(before, Format.TEXT, wanted).splitlines()[2:] == [
        b'ginkgo_node_up{node_id="a"} 1',
        b'ginkgo_node_up{node_id="b"} 0',
        b'ginkgo_node_up{node_id="c"} 1',
    ]
    assert ours(after, Format.TEXT, wanted).splitlines()[2:] == [
        b'ginkgo_node_up{node_id="a"} 1',
        b'ginkgo_node_up{node_id="c"} 1',
    ]
    assert after.ids == ["a", "c"]
    assert after.counts[State.FORGOTTEN] == 1
