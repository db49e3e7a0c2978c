"""The hour as Prometheus would have scraped it, exported by the exporter's own code from simulated nodes.

Judge, snapshot and exposition are the real ones. Their input is simulated: the lives of nodes in Redis. The metrics
of the exporter's process and of scrapes are simulated too.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from exporter.contract import FIELDS, LOADED_FIELD
from exporter.exposition.collector import read_families
from exporter.exposition.lines import LineWriter
from exporter.exposition.text import Format, exposition
from exporter.liveness.judge import Judge, State
from exporter.settings import Heartbeat
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.read_info import Discovered, ReadInfo
from exporter.source.names import Names, names_of
from exporter.source.reading import MISSING, Reading, Server
from grafana.proof.lives import (
    BEAT,
    BEFORE,
    END,
    LENGTH,
    NEVER,
    STEP,
    TTL,
    Life,
    eight_nodes,
    many_nodes,
    minutes_before_end,
    troubled_node,
)
from grafana.proof.portfolios import Ledgers, loaded_list

_JOB: Final = "ginkgo-exporter"
_REDIS: Final = Server("simulated", "master")
_EOF: Final = b"# EOF\n"
_HEADERS: Final = re.compile(rb"# HELP .*\n# TYPE .*\n")
_LABELS: Final = re.compile(rb"^(\w+)\{(.*)", re.MULTILINE)
_NO_LABELS: Final = re.compile(rb"^(\w+) ", re.MULTILINE)


@dataclass(frozen=True)
class Story:
    """A fleet, the exporters that watch it, and when they lost Redis."""

    lives: tuple[Life, ...]
    instances: tuple[str, ...] = ("exporter-0:19121", "exporter-1:19121")
    redis_lost: float = NEVER

    def scrapes(self, instance: str) -> tuple[float, ...]:
        """Return the times of an exporter's scrapes, in seconds from the hour's start.

        Each exporter has its own moments. Its last scrape is less than 15 s before the end.
        """
        shift = 7.0 * self.instances.index(instance)
        return tuple(at - shift for at in range(STEP - BEFORE, LENGTH + 1, STEP))


def normal() -> Story:
    """Return a fleet of eight nodes, one of them offline."""
    return Story(eight_nodes())


def one_node() -> Story:
    """Return a single node with a single exporter."""
    return Story((troubled_node(),), ("exporter-0:19121",))


def redis_down() -> Story:
    """Return the same eight nodes, with Redis unreadable for the last ten minutes."""
    return Story(eight_nodes(), redis_lost=minutes_before_end(10))


def thousand() -> Story:
    """Return a fleet of a thousand nodes with a single exporter."""
    return Story(many_nodes(1_000), ("exporter-0:19121",))


def openmetrics(story: Story) -> Iterator[bytes]:
    """Yield the story's scrapes one after the other, each sample with its time, and `# EOF` at the end."""
    for instance in story.instances:
        exporter = _Exporter(story)
        for at in story.scrapes(instance):
            nodes, rest = exporter.scrape(at)
            around = "".join(f"{sample}\n" for sample in _around(story, at, exporter.offline)).encode()
            place = f'job="{_JOB}",instance="{instance}"'.encode()
            time = f" {END - LENGTH + at:.0f}\n".encode()
            # A regular expression would be slow here: there are many samples, and all have this label first.
            yield _HEADERS.sub(b"", nodes).replace(b"{node_id=", b"{%b,node_id=" % place).replace(b"\n", time)
            rest = _LABELS.sub(rb"\1{%b,\2" % place, _HEADERS.sub(b"", rest) + around)
            yield _NO_LABELS.sub(rb"\1{%b} " % place, rest).replace(b"\n", time)
    yield _EOF


class _Exporter:
    """The working parts of an exporter, which read simulated nodes instead of Redis.

    Attributes:
        offline: How many nodes were offline when Redis was last read.
    """

    def __init__(self, story: Story) -> None:
        self.offline = 0
        self._story = story
        self._judge = Judge(TTL, BEAT)
        self._maker = SnapshotMaker(Heartbeat(ttl=TTL), self._judge, lambda _field, _ids: None)
        self._lines = LineWriter()
        self._names = Names()
        self._lives = {life.node_id.encode(): life for life in story.lives}
        self._ledgers = Ledgers(self._lives)
        # Many nodes of a large fleet differ only in their name, so their keys are computed once.
        self._twins = {name: replace(life, node_id="") for name, life in self._lives.items()}

    def scrape(self, at: float) -> tuple[bytes, bytes]:
        """Return the exporter's answer at a time in two parts, nodes and read, without metrics of its process."""
        seen = min(at, self._story.redis_lost)
        discovered = Discovered(0.03 + 0.01 * math.sin(at / 300), END - LENGTH + seen // 10 * 10, 0)
        info = ReadInfo(0.002, discovered, _REDIS)
        if at >= self._story.redis_lost:
            return b"", _text(read_families(None, info))
        known = frozenset(name for name, life in self._lives.items() if life.is_known(at))
        if known != frozenset(self._names.raw):
            self._names = names_of(known, len(self._lives))
        for second in range(STEP):
            self._judge.observe(_REDIS, at - STEP + second)  # the exporter probes Redis all the time
        reading = self._read(at)
        verdicts = self._judge.judge(reading)
        took = 0.002 + len(known) * 5e-6 * (1 + at % 3)
        part = self._maker.part(self._names, range(len(self._names.raw)), reading, verdicts)
        portfolios = self._ledgers.series(self._names, part.states, reading.loaded_lists, at)
        snapshot = self._maker.snapshot(self._names, [replace(part, lines=self._lines.write(part))])
        snapshot = replace(snapshot, portfolios=portfolios)
        self.offline = snapshot.counts[State.OFFLINE]
        return b"".join(exposition(snapshot, Format.OPENMETRICS)), _text(
            read_families(snapshot, replace(info, collect_duration=took))
        )

    def _read(self, at: float) -> Reading:
        keys = [_keys(self._twins[name], at) for name in self._names.raw]
        columns: list[tuple[bytes | None, ...]] = [()] * len(FIELDS)
        if keys:
            columns = list(zip(*(fields for fields, _, _ in keys), strict=True))
        lists = tuple(loaded_list(name, self._lives[name], at) for name in self._names.raw)
        columns[FIELDS.index(LOADED_FIELD)] = lists
        return Reading(
            at,
            at,
            END - LENGTH + at,
            _REDIS,
            self._names.raw,
            tuple(columns),
            [ttl for _, ttl, _ in keys],
            [beat for _, _, beat in keys],
        )


@cache
def _keys(life: Life, at: float) -> tuple[tuple[bytes | None, ...], int, bytes | None]:
    """Return a node's two keys: the fields of its hash, the heartbeat's PTTL in ms, the heartbeat's value."""
    written = life.fields(at)
    fields = tuple(written[name].encode() if name in written else None for name in FIELDS)
    ttl = life.heartbeat_ttl(at)
    if ttl <= 0:
        return fields, MISSING, None
    beat = datetime.fromtimestamp(END - LENGTH + life.last_beat(at), UTC)
    text = (beat.replace(tzinfo=None) if life.old else beat).isoformat()
    return fields, round(1000 * ttl), text.encode()


class _Families(Collector):
    def __init__(self, families: Iterator[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families


def _text(families: Iterator[Metric]) -> bytes:
    text: bytes = generate_latest(_Families(families))
    return text.removesuffix(_EOF)


def _around(story: Story, at: float, offline: int) -> Iterator[str]:
    """Yield Prometheus's own samples of a scrape, and the exporter's samples of its process and its push."""
    nodes, readable = len(story.lives), at < story.redis_lost
    yield "up 1"
    yield f"scrape_duration_seconds {0.004 + nodes * 1.6e-5 * (1 + 0.2 * math.sin(at)):.6f}"
    yield f"scrape_samples_scraped {60 + 13 * nodes * readable}"
    yield 'ginkgo_exporter_build_info{version="1.0.0",revision="c2f5e43",python_version="3.11.7"} 1'
    for field in (*FIELDS, "heartbeat", "node_id"):
        invalid = max(0, at - minutes_before_end(31)) // 60 if field == "memory_usage" else 0
        yield f'ginkgo_exporter_invalid_values_total{{field="{field}"}} {invalid:.0f}'
    yield f"process_cpu_seconds_total {50 + at * (0.01 + nodes * 2e-5):.3f}"
    yield f"process_resident_memory_bytes {4.1e7 + nodes * 2_000 + 900 * at:.0f}"
    yield f"process_open_fds {14 + at % 4:.0f}"
    yield "ginkgo_bridge_active 1"
    yield f'ginkgo_bridge_alerts{{alertname="GinkgoNodeOffline"}} {offline}'
    for result, period in (("ok", 15), ("error", 900)):
        where = f'alertmanager="http://alertmanager:9093",result="{result}"'
        yield f"ginkgo_bridge_posts_total{{{where}}} {(at + BEFORE) // period:.0f}"
    for bound, share in (("0.05", 0.6), ("0.1", 0.9), ("0.25", 1.0), ("+Inf", 1.0)):
        yield f'ginkgo_bridge_detection_delay_seconds_bucket{{le="{bound}"}} {share * 10 * offline:.0f}'
    yield f"ginkgo_bridge_detection_delay_seconds_count {10 * offline}"
    yield f"ginkgo_bridge_detection_delay_seconds_sum {0.6 * offline:.1f}"
