"""The exporter's own families have the bytes that prometheus_client writes, also when they are written again."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.exposition.families import FamilyWriter
from exporter.exposition.text import Format
from exporter.telemetry import Telemetry


class Fixed(Collector):
    """Collects the families that it was given."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def reference(families: Sequence[Metric], form: Format) -> bytes:
    """Return what prometheus_client writes."""
    write = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
    return write(Fixed(families))


@pytest.mark.parametrize("form", Format)
def test_own_metrics_are_written_as_prometheus_client_writes_them(form: Format) -> None:
    telemetry, writer = Telemetry(), FamilyWriter(form)
    for count in range(3):
        telemetry.invalid("cpu_usage", ["n"] * count)
        families = list(telemetry.registry.collect())
        assert writer.write(families) == reference(families, form)


@pytest.mark.parametrize("form", Format)
def test_every_kind_of_metric_is_written_as_prometheus_client_writes_it(form: Format) -> None:
    registry, writer = CollectorRegistry(), FamilyWriter(form)
    counter = Counter("c", "A counter.", ("a", "b"), registry=registry)
    gauge = Gauge("g_seconds", 'A gauge, with "quotes",\na new line and \\.', unit="seconds", registry=registry)
    histogram = Histogram("h", "A histogram.", registry=registry)
    Summary("s", "A summary.", registry=registry).observe(2)
    Info("i", "An info.", registry=registry).info({"version": "1"})
    for value in (0.0, 1.5, 1e20, float("inf"), float("nan")):
        counter.labels('"', "\n\\").inc(1, exemplar={"trace": "x"} if value == 1e20 else None)
        gauge.set(value)
        histogram.observe(value)
        families = list(registry.collect())
        assert writer.write(families) == reference(families, form)


@given(
    labels=st.dictionaries(st.sampled_from(["b", "a"]), st.text(max_size=5), max_size=2),
    values=st.lists(st.floats(), min_size=1, max_size=3),
    help_text=st.text(max_size=5),
    form=st.sampled_from(Format),
)
def test_any_label_value_and_help_is_escaped_as_prometheus_client_escapes_it(
    labels: dict[str, str], values: list[float], help_text: str, form: Format
) -> None:
    writer = FamilyWriter(form)
    for value in values:
        family = Metric("m", help_text, "gauge")
        family.add_sample("m", labels, value)
        assert writer.write([family]) == reference([family], form)


def test_texts_of_portfolios_that_come_and_go_are_forgotten() -> None:
    writer = FamilyWriter(Format.TEXT)
    for number in range(2100):
        family = Metric("m", "A gauge.", "gauge")
        family.add_sample("m", {"portfolio_id": str(number)}, 1)
        writer.write([family])
    assert len(writer._samples) < 2000
