"""The hour as a Prometheus would have scraped it from the exporters: OpenMetrics with timestamps."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from grafana.proof.lives import (
    END,
    LENGTH,
    NEVER,
    STEP,
    Life,
    eight_nodes,
    many_nodes,
    minutes_before_end,
    troubled_node,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STATUSES: Final = ("RUNNING", "PAUSED", "STOPPED")

OfNode: TypeAlias = "Callable[[Life, float], float | None]"
OfExporter: TypeAlias = "Callable[[float], float | None]"


@dataclass(frozen=True)
class Story:
    """A fleet, the exporters that watch it, and when they lost Redis."""

    lives: tuple[Life, ...]
    instances: tuple[str, ...] = ("exporter-0:19121", "exporter-1:19121")
    redis_lost: float = NEVER

    def scrapes(self, instance: str) -> tuple[float, ...]:
        """Each exporter is scraped at its own moment; the last time is at most 15 s before the end."""
        shift = 7.0 * self.instances.index(instance)
        return tuple(at - shift for at in range(STEP, LENGTH + 1, STEP))


def normal() -> Story:
    """Eight nodes, one of them offline."""
    return Story(eight_nodes())


def one_node() -> Story:
    """A single node and a single exporter."""
    return Story((troubled_node(),), ("exporter-0:19121",))


def redis_down() -> Story:
    """The same eight, unreadable for the last ten minutes."""
    return Story(eight_nodes(), redis_lost=minutes_before_end(10))


def thousand() -> Story:
    """A thousand nodes."""
    return Story(many_nodes(1_000), ("exporter-0:19121",))


def openmetrics(story: Story) -> Iterator[str]:
    """The story's samples, family by family, ending in `# EOF`."""
    families: dict[tuple[str, str], list[Iterator[str]]] = defaultdict(list)
    for series in (*_node_series(story), *_exporter_series(story)):
        families[series.family, series.kind].append(series.samples(story))
    for (family, kind), samples in families.items():
        yield f"# TYPE {family} {kind}\n"
        for each in samples:
            yield from each
    yield "# EOF\n"


@dataclass(frozen=True)
class _Series:
    """One series of each exporter: its name, labels, and value at a time, None where it is absent."""

    name: str
    value: OfExporter
    kind: str = "gauge"
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def family(self) -> str:
        """The name in the TYPE line."""
        if self.kind == "histogram":
            return self.name.rsplit("_", 1)[0]
        return self.name.removesuffix("_total")

    def samples(self, story: Story) -> Iterator[str]:
        """The series' lines, exporter by exporter."""
        for instance in story.instances:
            pairs = (("job", "ginkgo-exporter"), ("instance", instance), *self.labels)
            labels = ",".join(f'{key}="{value}"' for key, value in pairs)
            identity = f"{self.name}{{{labels}}}"
            yield "".join(f"{identity} {point}\n" for point in _points(self.value, story.scrapes(instance)))


@cache
def _points(value: OfExporter, scrapes: tuple[float, ...]) -> list[str]:
    return [f"{number!r} {END - LENGTH + at:.0f}" for at in scrapes if (number := value(at)) is not None]


def _offline_too(value: Callable[[Life, float], float]) -> OfNode:
    """A state or a total, told of offline nodes as well."""
    return lambda life, now: value(life, now) if life.is_known(now) else None


def _online_only(value: Callable[[Life, float], float]) -> OfNode:
    """A gauge: what it describes ends with the node."""
    return lambda life, now: value(life, now) if life.is_online(now) else None


@cache
def _reports(status: str) -> OfNode:
    return _online_only(lambda life, now: float(life.status(now) == status))


_OF_NODE: Final[dict[str, OfNode]] = {
    "ginkgo_node_up": _offline_too(lambda life, now: float(life.is_online(now))),
    "ginkgo_node_heartbeat_ttl_seconds": _offline_too(Life.heartbeat_ttl),
    "ginkgo_node_last_heartbeat_timestamp_seconds": _offline_too(
        lambda life, now: END - LENGTH + life.last_beat(now)
    ),
    "ginkgo_node_portfolios": _online_only(Life.portfolios),
    "ginkgo_node_queue_size": _online_only(Life.queue),
    "ginkgo_node_cpu_usage_ratio": _online_only(Life.cpu),
    "ginkgo_node_memory_usage_bytes": _online_only(Life.memory),
    "ginkgo_node_events_total": _offline_too(Life.events),
    "ginkgo_node_backpressure_total": _offline_too(Life.backpressure),
    "ginkgo_node_dropped_events_total": _offline_too(Life.dropped),
}


def _node_series(story: Story) -> Iterator[_Series]:
    @cache
    def of_twin(value: OfNode, life: Life) -> OfExporter:
        """One function, and so one computation, for all nodes that differ only in their name."""
        return lambda at: value(life, at) if at < story.redis_lost else None

    def told(value: OfNode, life: Life) -> OfExporter:
        return of_twin(value, replace(life, node_id=""))

    for name, value in _OF_NODE.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        for life in story.lives:
            yield _Series(name, told(value, life), kind, (("node_id", life.node_id),))
    for life in story.lives:
        for status in () if life.old else _STATUSES:
            labels = (("node_id", life.node_id), ("status", status))
            yield _Series("ginkgo_node_status", told(_reports(status), life), "gauge", labels)


def _exporter_series(story: Story) -> Iterator[_Series]:
    nodes = len(story.lives)

    def readable(at: float) -> bool:
        return at < story.redis_lost

    @cache
    def online(at: float) -> float:
        return float(sum(life.is_online(at) for life in story.lives))

    @cache
    def offline(at: float) -> float:
        return sum(life.is_known(at) for life in story.lives) - online(at)

    def none(_: float) -> float:
        return 0.0

    def while_readable(value: OfExporter) -> OfExporter:
        return lambda at: value(at) if readable(at) else None

    yield _Series("up", lambda _: 1.0)
    yield _Series("scrape_duration_seconds", lambda at: 0.004 + nodes * 1.6e-5 * (1 + 0.2 * math.sin(at)))
    yield _Series("scrape_samples_scraped", lambda at: 60.0 + 13 * nodes * readable(at))
    yield _Series("ginkgo_redis_up", lambda at: float(readable(at)))
    for state, count in (("online", online), ("offline", offline), ("undecided", none), ("forgotten", none)):
        yield _Series("ginkgo_nodes", while_readable(count), labels=(("state", state),))
    version = (("version", "1.0.0"), ("revision", "c2f5e43"), ("python_version", "3.11.7"))
    yield _Series("ginkgo_exporter_build_info", lambda _: 1.0, labels=version)
    yield _Series("ginkgo_exporter_collect_duration_seconds", lambda at: 0.002 + nodes * 5e-6 * (1 + at % 3))
    yield _Series("ginkgo_exporter_discovery_duration_seconds", lambda at: 0.03 + 0.01 * math.sin(at / 300))
    yield _Series(
        "ginkgo_exporter_discovery_timestamp_seconds",
        lambda at: END - LENGTH + min(at, story.redis_lost) // 10 * 10.0,
    )
    yield _Series(
        "ginkgo_exporter_invalid_values_total",
        lambda at: max(0, at - minutes_before_end(31)) // 60,
        "counter",
        (("field", "memory_usage"),),
    )
    yield from _bridge_series(offline)
    yield _Series("process_cpu_seconds_total", lambda at: 5 + at * (0.01 + nodes * 2e-5), "counter")
    yield _Series("process_resident_memory_bytes", lambda at: 4.1e7 + nodes * 2_000 + 900 * at)
    yield _Series("process_open_fds", lambda at: 14.0 + at % 4)


def _bridge_series(offline: Callable[[float], float]) -> Iterator[_Series]:
    def counted(share: float) -> OfExporter:
        return lambda at: float(round(share * 10 * offline(at)))

    def every(seconds: float) -> OfExporter:
        return lambda at: at // seconds

    yield _Series("ginkgo_bridge_active", lambda _: 1.0)
    yield _Series("ginkgo_bridge_alerts", offline, labels=(("alertname", "GinkgoNodeOffline"),))
    for result, period in (("ok", 15), ("error", 900)):
        where = (("alertmanager", "http://alertmanager:9093"), ("result", result))
        yield _Series("ginkgo_bridge_posts_total", every(period), "counter", where)
    delay = "ginkgo_bridge_detection_delay_seconds"
    for bound, share in (("0.05", 0.6), ("0.1", 0.9), ("0.25", 1.0), ("+Inf", 1.0)):
        yield _Series(f"{delay}_bucket", counted(share), "histogram", (("le", bound),))
    yield _Series(f"{delay}_count", counted(1.0), "histogram")
    yield _Series(f"{delay}_sum", lambda at: 0.6 * offline(at), "histogram")
