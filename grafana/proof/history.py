"""The hour as Prometheus would have scraped it, exported by the exporter's own code from simulated nodes.

Judge, snapshot and exposition are the real ones. Their input is simulated: the lives of nodes in Redis. The metrics
of the exporter's process and of scrapes are simulated too.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from exporter.contract import FIELDS, LOADED_FIELD
from exporter.exposition.text import Format, LineWriter, exposition, own_families
from exporter.liveness import Judge, State
from exporter.settings import Heartbeat, Nodes, Settings
from exporter.snapshot.maker import SnapshotMaker
from exporter.snapshot.snapshot import Discovered, ReadInfo
from exporter.source.reading import LISTS, MISSING, Names, Reading, Server, names_of
from grafana.proof.lives import BEAT, BEFORE, END, LENGTH, STEP, TTL, Life, minutes_before_end
from grafana.proof.portfolios import Ledgers, loaded_list
from grafana.proof.stories import Story

_JOB: Final = "ginkgo-exporter"
_EOF: Final = b"# EOF\n"
_HEADERS: Final = re.compile(rb"# HELP .*\n# TYPE .*\n")
_LABELS: Final = re.compile(rb"^(\w+)\{(.*)", re.MULTILINE)
_NO_LABELS: Final = re.compile(rb"^(\w+) ", re.MULTILINE)


def openmetrics(stories: Sequence[Story]) -> Iterator[bytes]:
    """Yield the stories' scrapes one after the other, each sample with its time, and `# EOF` at the end."""
    for story in stories:
        for instance in story.instances:
            yield from _scrapes(story, instance)
    yield _EOF


def _scrapes(story: Story, instance: str) -> Iterator[bytes]:
    exporter = _Exporter(story)
    cluster = f',cluster="{story.cluster}"' if story.cluster else ""
    place = f'job="{_JOB}",instance="{instance}"{cluster}'.encode()
    for at in story.scrapes(instance):
        if at < story.silent:
            nodes, rest = exporter.scrape(at)
            samples = _around(story, instance, at, exporter.offline)
        else:
            nodes, rest = b"", b""
            samples = iter(("up 0", "scrape_duration_seconds 10", "scrape_samples_scraped 0"))
        around = "".join(f"{sample}\n" for sample in samples).encode()
        time = f" {END - LENGTH + at:.0f}\n".encode()
        # A regular expression would be slow here: there are many samples, and all have this label first.
        yield _HEADERS.sub(b"", nodes).replace(b"{node_id=", b"{%b,node_id=" % place).replace(b"\n", time)
        rest = _LABELS.sub(rb"\1{%b,\2" % place, _HEADERS.sub(b"", rest) + around)
        yield _NO_LABELS.sub(rb"\1{%b} " % place, rest).replace(b"\n", time)


class _Exporter:
    """The working parts of an exporter, which read simulated nodes instead of Redis.

    Attributes:
        offline: How many nodes were offline when Redis was last read.
    """

    def __init__(self, story: Story) -> None:
        self.offline = 0
        self._story = story
        self._judge = Judge(Settings(heartbeat=Heartbeat(ttl=TTL), nodes=Nodes(forget_rehomed_after=None)))
        self._maker = SnapshotMaker(
            Heartbeat(ttl=TTL), lambda _field, _ids: None, LineWriter().write, stale_gauges=story.stale_gauges
        )
        self._names = Names()
        # A node whose writes are refused looks to a reader like one that crashed.
        lives = [replace(life, crash=min(life.crash, story.refused)) for life in story.lives]
        self._lives = {life.node_id.encode(): life for life in lives}
        self._ledgers = Ledgers(self._lives, unplanned=story.flaws)
        # Many nodes of a large fleet differ only in their name, so their keys are computed once.
        self._twins = {name: replace(life, node_id="") for name, life in self._lives.items()}

    def scrape(self, at: float) -> tuple[bytes, bytes]:
        """Return the exporter's answer at a time in two parts, nodes and read, without metrics of its process."""
        seen = min(at, self._story.redis_lost)
        discovered = Discovered(0.03 + 0.01 * math.sin(at / 300), END - LENGTH + seen // 10 * 10, 0)
        info = ReadInfo(0.002, discovered, self._server(seen))
        if at >= self._story.redis_lost:
            return b"", _text(own_families(None, info))
        known = frozenset(name for name, life in self._lives.items() if life.is_known(at))
        if known != frozenset(self._names.raw):
            self._names = names_of(known, len(self._lives))
        for second in range(STEP):  # the exporter probes Redis all the time
            then = at - STEP + second
            self._judge.look(Reading(then, then, END - LENGTH + then, self._server(then)))
        reading = self._read(at)
        part = self._maker.part(self._names, 0, reading, self._judge.look(reading))
        account = self._ledgers.account(self._names, part.states, reading.fields[LISTS], at)
        snapshot = self._maker.snapshot(self._names, [part], account)
        self.offline = snapshot.counts[State.OFFLINE]
        refused = self._judge.view().refused_since is not None
        took = 0.002 + len(known) * 5e-6 * (1 + at % 3)
        info = info._replace(collect_duration=took, writes_refused=refused)
        nodes = b"".join(exposition(snapshot, (), Format.OPENMETRICS)).removesuffix(b"# EOF\n")
        return nodes, _text(own_families(snapshot, info))

    def _server(self, at: float) -> Server:
        tries = math.floor(len(self._lives) * max(0.0, at - self._story.refused) / BEAT)
        return Server(
            "simulated",
            "master",
            refused={"MISCONF": tries, "NOREPLICAS": 0, "OOM": 0},
            last_save_ok=not tries,
            memory_used_ratio=0.55 + at / 60_000,
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
            self._server(at),
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


def _around(story: Story, instance: str, at: float, offline: int) -> Iterator[str]:
    """Yield Prometheus's own samples of a scrape, and the exporter's samples of its process and its push."""
    nodes, readable = len(story.lives), at < story.redis_lost
    yield "up 1"
    yield f"scrape_duration_seconds {0.004 + nodes * 1.6e-5 * (1 + 0.2 * math.sin(at)):.6f}"
    yield f"scrape_samples_scraped {60 + 13 * nodes * readable}"
    yield 'ginkgo_exporter_build_info{version="1.0.0",revision="c2f5e43",python_version="3.11.7"} 1'
    for field in (*FIELDS, "heartbeat", "node_id"):
        invalid = max(0, at - minutes_before_end(31)) // 60 if story.flaws and field == "memory_usage" else 0
        yield f'ginkgo_exporter_invalid_values_total{{field="{field}"}} {invalid:.0f}'
    restarted = instance != story.instances[0] and at >= story.restart
    yield f"process_start_time_seconds {END - LENGTH + (story.restart if restarted else -BEFORE - 86_400):.0f}"
    for number, kind in enumerate(("node", "portfolio", "redis", "mass_loss", "push", "scheduler", "exporter")):
        yield f'ginkgo_journal_events_total{{kind="{kind}"}} {(at + BEFORE) // (120 + 60 * number):.0f}'
    yield "ginkgo_journal_write_errors_total 0"
    yield f"process_cpu_seconds_total {50 + at * (0.01 + nodes * 2e-5):.3f}"
    yield f"process_resident_memory_bytes {4.1e7 + nodes * 2_000 + 900 * at:.0f}"
    yield f"process_open_fds {14 + at % 4:.0f}"
    yield "ginkgo_bridge_active 1"
    yield f'ginkgo_bridge_alerts{{alertname="GinkgoNodeOffline"}} {offline}'
    for name, period in (("posts", 15), ("posts_failed", 900)):
        posts = 0 if name == "posts_failed" and not story.flaws else (at + BEFORE) // period
        yield f'ginkgo_bridge_{name}_total{{alertmanager="http://alertmanager:9093"}} {posts:.0f}'
    for bound, share in (("0.05", 0.6), ("0.1", 0.9), ("0.25", 1.0), ("+Inf", 1.0)):
        yield f'ginkgo_bridge_detection_delay_seconds_bucket{{le="{bound}"}} {share * 10 * offline:.0f}'
    yield f"ginkgo_bridge_detection_delay_seconds_count {10 * offline}"
    yield f"ginkgo_bridge_detection_delay_seconds_sum {0.6 * offline:.1f}"
