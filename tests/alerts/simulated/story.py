"""Stories of a simulated installation: its events, and the alerts that they raise.

A story is a function that lists events and expectations in order::

    @story("GinkgoNodeOffline", nodes=4)
    def a_crash_pages_and_the_return_resolves(tale: Story) -> None:
        tale.crash("n1", at=600)
        tale.fires(node_id="n1", between=(615, 650))
        tale.start("n1", at=900)
        tale.resolves(node_id="n1", between=(1040, 1080))

Times are seconds since the first scrape. A story also fails if its alert fires with
labels that the story does not name, or ends and fires again between two
expectations.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from simulated.platform_deeds import PlatformDeeds

from lab.simulated.simulated_exporter import SimulatedExporter
from lab.simulated.world import Deed, World


class Turn(NamedTuple):
    """An alert begins or stops firing: later than ``not_before``, and at the latest at ``by``."""

    fires: bool
    not_before: float
    by: float


Labels = tuple[tuple[str, str], ...]


@dataclass
class Story(PlatformDeeds):
    """The events in an installation, and the expectations on one alert.

    Attributes:
        alert: Name of the alert.
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
        says: Times at which the alert's texts are compared, with labels, summary and description.
    """

    alert: str
    nodes: int = 4
    portfolios: int = 0
    exporters: tuple[str, ...] = ("a",)
    max_nodes: int = 100_000
    expected: int | None = None
    stale_gauges: bool = False
    max_listed: int = 100
    cluster: str = ""
    length: float = 1800.0
    evaluation: int | None = None
    turns: dict[Labels, list[Turn]] = field(default_factory=dict)
    says: list[tuple[float, dict[str, str], str, str]] = field(default_factory=list)
    _deeds: list[tuple[float, Deed]] = field(default_factory=list)
    _others: list["Story"] = field(default_factory=list)

    def beside(self, cluster: str) -> "Story":
        """Return another installation with nodes of the same names, which the same Prometheus scrapes."""
        other = Story(
            self.alert,
            self.nodes,
            self.portfolios,
            self.exporters,
            max_listed=self.max_listed,
            length=self.length,
            cluster=cluster,
            turns=self.turns,
        )
        self._others.append(other)
        return other

    # Expectations

    def fires(self, between: tuple[float, float], **labels: str) -> None:
        """Expect the alert to begin firing in a span of time, and to fire until ``resolves`` or the story's end."""
        self.turns.setdefault(self._labels(labels), []).append(Turn(True, *between))

    def resolves(self, between: tuple[float, float], **labels: str) -> None:
        """Expect the alert to stop firing in a span of time."""
        self.turns[self._labels(labels)].append(Turn(False, *between))

    def reads(self, at: float, summary: str, description: str, **labels: str) -> None:
        """Expect the alert to have these labels and texts at a time, and no other alert of its name to fire."""
        self.says.append((at, labels, summary, description))

    # Nodes

    def crash(self, *names: str, at: float) -> None:
        """Let nodes crash."""
        self._at(at, *(lambda world, name=name: world.node(name).crash() for name in names))

    def stop(self, *names: str, at: float) -> None:
        """Let nodes stop gracefully."""
        self._at(at, *(lambda world, name=name: world.node(name).stop() for name in names))

    def start(self, *names: str, at: float) -> None:
        """Let nodes start, or start again; their counters begin at 0."""
        self._at(at, *(lambda world, name=name: world.node(name).start() for name in names))

    def restart(self, *names: str, at: float, takes: float = 20.0) -> None:
        """Let nodes stop gracefully and start again."""
        self.stop(*names, at=at)
        self.start(*names, at=at + takes)

    def pause(self, *names: str, at: float) -> None:
        """Let nodes report PAUSED."""
        self._set(names, at, "status", "PAUSED")

    def resume(self, *names: str, at: float) -> None:
        """Let nodes report RUNNING again."""
        self._set(names, at, "status", "RUNNING")

    def beats_every(self, period: float, *names: str, at: float) -> None:
        """Let nodes beat at another period."""
        self._set(names, at, "period", period)

    def loses_its_hash(self, *names: str, at: float) -> None:
        """Let nodes renew their heartbeat alone; the hash is deleted."""
        self._set(names, at, "writes_metrics", False)
        self._at(at, *(lambda world, name=name: world.redis.delete_hash(name) for name in names))

    def writes_its_hash_again(self, *names: str, at: float) -> None:
        """Let nodes write their hash again, after ``loses_its_hash``."""
        self._set(names, at, "writes_metrics", True)

    def cut_off(self, *names: str, at: float, lasts: float) -> None:
        """Cut the network between nodes and Redis."""
        self._set(names, at, "reaches_redis", False)
        self._set(names, at + lasts, "reaches_redis", True)

    def drop(self, name: str, events: int, at: float) -> None:
        """Let a node drop events."""
        self._at(at, lambda world: world.node(name).drop(events))

    def load(self, *names: str, at: float, **changes: float) -> None:
        """Change the load of nodes; see ``node.Load``."""
        self._at(at, *(lambda world, name=name: world.node(name).change_load(**changes) for name in names))

    # Redis

    def redis_hangs(self, at: float, lasts: float) -> None:
        """Let Redis not answer for a while, and then go on with the same run id."""
        self._at(at, lambda world: setattr(world.redis, "down", True))
        self._at(at + lasts, lambda world: setattr(world.redis, "down", False))

    def redis_restarts(self, at: float, takes: float, data: str = "kept") -> None:
        """Let Redis stop, and start again with its data "kept", "saved" (by ``redis_saves``) or "lost"."""
        self._at(at, lambda world: setattr(world.redis, "down", True))
        self._at(at + takes, lambda world: world.redis.restart(data=data))

    def redis_saves(self, at: float) -> None:
        """Let Redis take a snapshot."""
        self._at(at, lambda world: world.redis.save())

    def redis_refuses_writes(self, at: float, lasts: float, error: str = "MISCONF") -> None:
        """Let Redis refuse every write, and go on expiring keys."""
        self._at(at, lambda world: setattr(world.redis, "refusing", error))
        self._at(at + lasts, lambda world: setattr(world.redis, "refusing", None))

    def redis_memory(self, ratio: float | None, at: float) -> None:
        """Let Redis use this share of its ``maxmemory``; None for no limit."""
        self._at(at, lambda world: setattr(world.redis, "memory_used_ratio", ratio))

    # Exporters and Prometheus

    def exporter_restarts(self, name: str = "a", *, at: float, takes: float) -> None:
        """Let an exporter be down for a while."""
        self._exporter(name, at, lambda exporter: setattr(exporter, "running", False))
        self._exporter(name, at + takes, SimulatedExporter.start)

    def exporter_moves(self, name: str, to: str, at: float) -> None:
        """Let an exporter start again at another place."""
        self._at(at, lambda world: world.move(name, to))

    def exporter_is_removed(self, name: str, at: float) -> None:
        """Let service discovery no longer find an exporter."""
        self._at(at, lambda world: setattr(world.exporters[name], "found", False))

    def exporter_loses_redis(self, name: str, at: float, lasts: float) -> None:
        """Cut one exporter's network to Redis."""
        self._exporter(name, at, lambda exporter: setattr(exporter, "reads_redis", False))
        self._exporter(name, at + lasts, lambda exporter: setattr(exporter, "reads_redis", True))

    def discovery_fails(self, name: str = "a", *, at: float, lasts: float) -> None:
        """Let the discovery of node names fail for a while."""
        self._exporter(name, at, lambda exporter: setattr(exporter, "discovers", False))
        self._exporter(name, at + lasts, lambda exporter: setattr(exporter, "discovers", True))

    def exporter_fails_inside(self, name: str = "a", *, at: float) -> None:
        """Let the exporter catch an error of its own."""
        self._exporter(name, at, lambda exporter: exporter.telemetry.fault("discovery", RuntimeError("simulated")))

    def journal_fails(self, name: str = "a", *, at: float, lasts: float) -> None:
        """Let the disk under the journal be full for a while: every try to write it fails."""
        for moment in range(int(at), int(at + lasts), 5):
            self._exporter(
                name, moment, lambda exporter: exporter.journal.failed(OSError(28, "No space left on device"))
            )

    def prometheus_is_away(self, at: float, lasts: float) -> None:
        """Let Prometheus scrape nothing for a while."""
        self._at(at, lambda world: setattr(world, "prometheus_away", True))
        self._at(at + lasts, lambda world: setattr(world, "prometheus_away", False))

    def series(self, interval: int) -> list[dict[str, str]]:
        """Run the story, and return the samples that Prometheus stored, as promtool's ``input_series``."""
        settings = {
            name: getattr(self, name) for name in ("portfolios", "max_nodes", "expected", "stale_gauges", "max_listed")
        }
        labels = {"cluster": self.cluster} if self.cluster else {}
        world = World(self.nodes, self.exporters, interval, labels, **settings)
        for at, deed in self._deeds:
            world.timeline.at(at, lambda deed=deed: deed(world))
        others = [series for other in self._others for series in other.series(interval)]
        return world.run(self.length) + others

    def _labels(self, labels: dict[str, str]) -> Labels:
        return tuple(sorted({**labels, **({"cluster": self.cluster} if self.cluster else {})}.items()))

    def _at(self, at: float, *deeds: Deed) -> None:
        self._deeds.extend((at, deed) for deed in deeds)

    def _set(self, names: tuple[str, ...], at: float, attribute: str, value: Any) -> None:
        self._at(at, *(lambda world, name=name: setattr(world.node(name), attribute, value) for name in names))

    def _exporter(self, name: str, at: float, deed: Callable[[SimulatedExporter], None]) -> None:
        self._at(at, lambda world: deed(world.exporters[name].exporter))


Teller = Callable[[Story], None]
STORIES: Final[dict[str, dict[str, Callable[[], Story]]]] = {}
"""All defined stories, by alert and title."""


def story(alert: str, **options: Any) -> Callable[[Teller], Teller]:
    """Register a function as a story of an alert; options are fields of ``Story``."""

    def register(tell: Teller) -> Teller:
        def told() -> Story:
            tale = Story(alert, **options)
            tell(tale)
            return tale

        STORIES.setdefault(alert, {})[tell.__name__] = told
        return tell

    return register
