"""Stories of a simulated installation: its events, and the alerts that they raise, as files of promtool's unit tests.

``stories.yml`` tells them, by alert and title. A story has options (fields of ``Story``) and lines::

    - 600 crash n1 n2                    # an event and its time, in seconds since the first scrape
    - 300+40 restart n1 n2 n3 takes=25   # the same for one name after the other, every 40 s
    - 300..900/60 exporter_fails_inside  # the same again and again
    - 600 test/crash n1                  # in the other installation, which the line `beside test` has added
    - 615-650 fires node_id=n1           # the alert begins to fire in this span of time, and fires until it
    - 1040-1080 resolves node_id=n1      # resolves, or the story ends
    - {at: 900, labels: …, summary: …, description: …}   # its only alert at a time, and what it says

A story also fails if its alert fires with labels that the story does not name, or ends and fires again between two
lines. ``DEEDS`` has all events.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from lab.simulated import AWAY, SimulatedExporter, StoryNode, World

STORIES: Final[dict[str, dict[str, Any]]] = yaml.load(
    Path(__file__).with_name("stories.yml").read_text(encoding="utf-8"),
    yaml.CSafeLoader,  # the one in Python takes half a second in each process that collects tests
)
"""The stories by alert and title."""

Do = Callable[..., Any]
Deed = Callable[[World], object]
"""An event in a world."""


def nodes(do: Callable[..., object]) -> Do:
    return lambda world, *names, **changes: [do(world.node(name), **changes) for name in names]


def sets(attribute: str, value: object) -> Do:
    return nodes(lambda node: setattr(node, attribute, value))


def redis(attribute: str, value: object) -> Do:
    return lambda world, **_: setattr(world.redis, attribute, value)


def exporter(do: Callable[[SimulatedExporter], object]) -> Do:
    return lambda world, name="a": do(world.exporters[name])


def runs(attribute: str, *, on: bool) -> Do:
    return exporter(lambda each: setattr(each, attribute, on))


def reaches(*, on: bool) -> Do:
    return exporter(lambda each: setattr(each.source, "reads", on))


def redis_memory(world: World, ratio: float | str) -> None:
    world.redis.memory = None if ratio == "none" else float(ratio)


def schedules(*, on: bool) -> Do:
    return lambda world: setattr(world.scheduler, "schedules", on)


def loses_its_hash(world: World, *names: str) -> None:
    for name in names:
        world.node(name).writes_metrics = False
        world.client.delete(f"node:metrics:{name}")


def drop(world: World, name: str, events: float) -> None:
    counters = world.node(name).counters
    counters[1:] = [count + events for count in counters[1:]]


def takes(world: World, name: str, portfolio: str) -> None:
    world.node(name).loaded += (portfolio,)


def gives_up(world: World, name: str, portfolio: str) -> None:
    node = world.node(name)
    node.loaded = tuple(each for each in node.loaded if each != portfolio)


def unheard(change: Callable[[set[str], tuple[str, ...]], None]) -> Do:
    return lambda world, *names: change(world.scheduler.unheard, names)


DEEDS: Final[dict[str, tuple[Do, Do | None]]] = {
    "crash": (sets("alive", value=False), None),
    "stop": (nodes(StoryNode.end), None),
    "start": (nodes(StoryNode.begin), None),
    "restart": (nodes(StoryNode.end), nodes(StoryNode.begin)),
    "pause": (sets("status", "PAUSED"), None),
    "resume": (sets("status", "RUNNING"), None),
    "beats_every": (lambda world, period, *names: [setattr(world.node(n), "period", period) for n in names], None),
    "loses_its_hash": (loses_its_hash, None),
    "writes_its_hash_again": (sets("writes_metrics", True), None),
    "cut_off": (sets("reaches_redis", False), sets("reaches_redis", True)),
    "drop": (drop, None),
    "load": (nodes(StoryNode.change_load), None),
    "takes": (takes, None),
    "gives_up": (gives_up, None),
    "redis_hangs": (redis("down", True), redis("down", False)),
    "redis_restarts": (redis("down", True), lambda world, data="kept": world.redis.restart(data=data)),
    "redis_saves": (lambda world: world.redis.save(), None),
    "redis_refuses_writes": (redis("refusing", "MISCONF"), redis("refusing", "")),
    "redis_memory": (redis_memory, None),
    "redis_saves_in_background": (redis("saving", True), redis("saving", False)),
    "exporter_restarts": (runs("running", on=False), exporter(SimulatedExporter.start)),
    "exporter_moves": (World.move, None),
    "exporter_is_removed": (lambda world, name: setattr(world.exporters[name], "found", False), None),
    "exporter_loses_redis": (
        reaches(on=False),
        reaches(on=True),
    ),
    "discovery_fails": (runs("discovers", on=False), runs("discovers", on=True)),
    "exporter_fails_inside": (
        exporter(lambda each: each.telemetry.fault("discovery", RuntimeError("simulated"))),
        None,
    ),
    "journal_fails": (exporter(lambda each: each.journal._errors.inc()), None),
    "prometheus_is_away": (
        lambda world: setattr(world, "prometheus_away", True),
        lambda world: setattr(world, "prometheus_away", False),
    ),
    "scheduler_stops": (schedules(on=False), schedules(on=True)),
    "deploy": (lambda world, *portfolios: world.scheduler.deployed.update(portfolios), None),
    "messages_are_lost": (unheard(set.update), unheard(set.difference_update)),
    "plan_is": (World.plan_is, None),
    "worker_starts": (lambda world, *keys: world.workers.update(keys), None),
    "worker_ends": (lambda world, *keys: world.workers.difference_update(keys), None),
}
"""What may happen, and what happens at its end, after ``takes`` or ``lasts`` seconds."""


class Turn(NamedTuple):
    """An alert begins or stops firing: later than ``not_before``, and at the latest at ``by``."""

    fires: bool
    not_before: float
    by: float


Labels = tuple[tuple[str, str], ...]
LINE: Final = re.compile(r"(-?[\d.]+?)(?:\.\.([\d.]+)/([\d.]+)|\+([\d.]+)|-([\d.]+))? (?:(\w+)/)?(\w+)(.*)")


@dataclass
class Story:
    """The events in an installation, and the expectations on one alert.

    Attributes:
        alert: Name of the alert.
        story: The lines.
        nodes: Number of nodes at the beginning: n1, n2, …
        portfolios: Number of portfolios: p1, p2, …; 0 for an older installation without a plan.
        exporters: Names of the exporters.
        max_nodes: ``--collector.max-nodes``.
        expected: ``--nodes.expected``.
        stale_gauges: ``--collector.stale-gauges``.
        max_listed: ``--portfolios.max-listed``.
        cluster: Label that tells its series from the series of another installation; empty for no such label.
        length: Seconds from the first scrape to the end of the story.
        evaluation: Seconds between two evaluations; None for the scrape interval.
        turns: Expected beginnings and ends, by the labels of the alert.
    """

    alert: str
    story: list[Any]
    nodes: int = 4
    portfolios: int = 0
    exporters: str = "a"
    max_nodes: int = 100_000
    expected: int | None = None
    stale_gauges: bool = False
    max_listed: int = 100
    cluster: str = ""
    length: float = 1800.0
    evaluation: int | None = None
    turns: dict[Labels, list[Turn]] = field(default_factory=dict)
    deeds: dict[str, list[tuple[float, Deed]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.story:
            if isinstance(line, str):
                self._read(line)

    @property
    def says(self) -> list[dict[str, Any]]:
        """The expected texts, each with its time."""
        return [line for line in self.story if not isinstance(line, str)]

    def series(self, interval: int) -> list[dict[str, str]]:
        """Return the samples that Prometheus stored, as promtool's ``input_series``."""
        found = []
        for cluster in (self.cluster, *(line.split()[1] for line in self.story if str(line).startswith("beside "))):
            labels = {"cluster": cluster} if cluster else {}
            names = self.exporters.split()
            settings = {
                "collector.max-nodes": str(self.max_nodes),
                "collector.stale-gauges": str(self.stale_gauges).lower(),
                "portfolios.max-listed": str(self.max_listed),
                **({"nodes.expected": str(self.expected)} if self.expected else {}),
            }
            world = World(
                self.nodes, self.portfolios, exporters=names, interval=interval, labels=labels, settings=settings
            )
            for at, deed in self.deeds.get(cluster, ()):
                world.timeline.at(at, lambda deed=deed, world=world: deed(world))
            world.timeline.run(self.length)
            found += [series for target in world.targets for series in stored(target)]
        return found

    def _read(self, line: str) -> None:
        match = LINE.fullmatch(line)
        if not match:
            assert line.startswith("beside "), line
            return
        at, last, every, step, by, cluster, name, rest = match.groups()
        words = shlex.split(rest)
        given = dict(word.split("=", 1) for word in words if "=" in word)
        if by:
            labels = given | ({"cluster": self.cluster} if self.cluster else {})
            turn = Turn(name == "fires", float(at), float(by))
            self.turns.setdefault(tuple(sorted(labels.items())), []).append(turn)
            return
        named = {key: _value(text) for key, text in given.items()}
        values = [_value(word) for word in words if "=" not in word]
        span = float(named.pop("takes", named.pop("lasts", 20 if name == "restart" else "inf")))
        times = [
            float(at) + float(every or 0) * n
            for n in range(int((float(last or at) - float(at)) / float(every or 1)) + 1)
        ]
        calls = (
            [(float(at) + float(step) * n, [each]) for n, each in enumerate(values)]
            if step
            else [(t, values) for t in times]
        )
        begin, end = DEEDS[name]
        deeds = self.deeds.setdefault(cluster or self.cluster, [])
        for time, arguments in calls:
            deeds.append((time, _bound(begin, arguments, named)))
            if end is not None:
                deeds.append((time + span, _bound(end, arguments, named)))


def stored(target: SimulatedExporter) -> Iterator[dict[str, str]]:
    """Yield what Prometheus stored of an exporter's scrapes, as promtool's ``input_series``."""
    common = ", ".join(f'{name}="{value}"' for name, value in target.labels.items())
    for name in dict.fromkeys(chain.from_iterable(target.scrapes)):
        # A series that is missing from a scrape ends with a staleness marker.
        column = [
            now.get(name, "stale" if name in before and now is not AWAY else "_")
            for before, now in pairwise(target.scrapes)
        ]
        family, _, labels = name.partition("{")
        runs = [(value, len(list(group))) for value, group in groupby(column)]
        texts = [f"_x{n}" if value == "_" else value if n == 1 else f"{value}x{n - 1}" for value, n in runs]
        yield {"series": f"{family}{{{common}{', ' + labels if labels else '}'}", "values": " ".join(texts)}


def _bound(do: Do, arguments: list[Any], named: dict[str, Any]) -> Deed:
    return lambda world: do(world, *arguments, **named)


def _value(word: str) -> Any:
    return yaml.safe_load(word) if re.fullmatch(r"-?[\d.]+", word) else word
