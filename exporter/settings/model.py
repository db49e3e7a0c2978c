"""All settings: one frozen, checked object. Each section of the settings is a class, whose fields hold the defaults."""

from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal

from exporter.settings.addresses import (
    EXTERNAL_URL,
    HTTP_URL,
    KEY_PREFIX,
    LABEL,
    LISTEN_ADDRESS,
    REDIS_URL,
    TIME_ZONE,
    URL_PATH,
    ListenAddress,
    Secret,
)
from exporter.settings.kinds import (
    FILE,
    PATH,
    SIZE,
    SWITCH,
    TEXT,
    choice_of,
    duration,
    number_of,
    optional,
    optional_duration,
    tuple_of,
)
from exporter.settings.section import Section, setting

_BEAT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile(Section):
    """Configuration file."""

    file: Path | None = setting(FILE, None, "YAML file with these settings, the same names nested")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis(Section):
    """Connection to Redis."""

    url: tuple[Secret, ...] = setting(
        tuple_of(REDIS_URL, least=1),
        (Secret("redis://localhost:6379/0"),),
        "redis://, rediss:// or unix:// address; repeat it to give Sentinel or Cluster seeds",
    )
    mode: Literal["standalone", "sentinel", "cluster"] = setting(
        choice_of("standalone", "sentinel", "cluster"), "standalone", "kind of server at the address"
    )
    sentinel_master: str | None = setting(optional(TEXT), None, "name of the master that Sentinel watches")
    username: str | None = setting(optional(TEXT), None, "ACL user")
    password_file: Path | None = setting(FILE, None, "file with the password; read again at every connect")
    tls_ca_file: Path | None = setting(FILE, None, "CA certificates for Redis's certificate")
    tls_cert_file: Path | None = setting(FILE, None, "certificate to show to Redis")
    tls_key_file: Path | None = setting(FILE, None, "key of that certificate")
    timeout: float = setting(duration(most=86_400), 5.0, "time limit of one whole read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys(Section):
    """Names of the platform's keys."""

    metrics_prefix: str = setting(KEY_PREFIX, "node:metrics:", "prefix of the hashes' names")
    heartbeat_prefix: str = setting(KEY_PREFIX, "heartbeat:node:", "prefix of the heartbeats' names")
    plan: str = setting(KEY_PREFIX, "schedule:plan", "the scheduler's plan")
    portfolio_prefix: str = setting(KEY_PREFIX, "portfolio:", "prefix of the names of portfolios' states")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Section):
    """Heartbeats."""

    ttl: float = setting(duration(), 30.0, "time to live that nodes give their heartbeat")
    timezone: tzinfo = setting(TIME_ZONE, "UTC", "time zone of heartbeats that name none")

    @property
    def beat(self) -> float:
        """Seconds between two beats: a third of the TTL, as on the platform."""
        return self.ttl * _BEAT_SECONDS / 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery(Section):
    """Discovery of node names."""

    interval: float = setting(duration(), 10.0, "time between two searches for names; longer on a large keyspace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes(Section):
    """Expected nodes, and nodes to forget."""

    forget_after: float | None = setting(
        optional_duration(), None, "leave out nodes that are offline for longer, such as 24h"
    )
    forget_rehomed_after: float | None = setting(
        optional_duration(),
        3600.0,
        "leave out nodes that are offline for longer and whose portfolios all run on other nodes",
    )
    expected: int | None = setting(
        optional(number_of(int, least=1)), None, "how many nodes there should be, for GinkgoNodesMissing"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MassLoss(Section):
    """Mass loss: how many nodes must die together to be one page."""

    nodes: int = setting(number_of(int, least=1), 3, "minimum number of nodes, if they also exceed the ratio")
    ratio: float = setting(number_of(float, above=0, below=1), 0.25, "share of the nodes online or undecided before")
    many: int = setting(number_of(int, least=1), 10, "number of nodes that is enough whatever their share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolios(Section):
    """Portfolios: what is read and exported."""

    max_listed: int = setting(
        number_of(int, least=0), 100, "portfolios at fault that have a series of their own, the longest-lasting first"
    )
    states: bool = setting(SWITCH, True, "read the queue and the positions of each loaded portfolio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector(Section):
    """Exported metrics of each node."""

    stale_gauges: bool = setting(SWITCH, False, "export the last gauges of offline nodes too")
    max_nodes: int = setting(number_of(int, above=0), 100_000, "maximum number of exported nodes, the first by name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alertmanager(Section):
    """Push of alerts."""

    url: tuple[str, ...] = setting(
        tuple_of(HTTP_URL), (), "Alertmanager to push to; repeat it for every member of a cluster"
    )
    label: tuple[str, ...] = setting(
        tuple_of(LABEL),
        ("job=ginkgo-exporter",),
        "name=value that Prometheus adds to these alerts; repeatable; overrides severity too",
    )
    config_file: Path | None = setting(FILE, None, "YAML file with authentication and TLS towards Alertmanager")
    rules_file: Path | None = setting(
        FILE, None, "the rules that Prometheus uses, for pushed labels and texts; else the bundled ones"
    )
    sole_writer: bool = setting(SWITCH, False, "no other program sends these alerts: resolve them at once")
    mass_loss_ratio: float | None = setting(
        optional(number_of(float, above=0, below=1)), None, "old name of --mass-loss.ratio"
    )
    mass_loss_nodes: int | None = setting(optional(number_of(int, least=1)), None, "old name of --mass-loss.nodes")
    mass_loss_hold: float | None = setting(optional_duration(absent="none"), None, "without effect since 0.2.0")

    @property
    def labels(self) -> dict[str, str]:
        """The labels to add to alerts: the default ``job`` and the given labels, without empty ones."""
        given = dict(label.split("=", 1) for label in ("job=ginkgo-exporter", *self.label))
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal(Section):
    """Journal of events."""

    file: Path | None = setting(
        PATH, None, "also write events to this file, as JSON lines; a start reads the last ones back"
    )
    max_size: int = setting(SIZE, 10 * 2**20, "size of one file; three are kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig(Section):
    """Web configuration file."""

    file: Path | None = setting(FILE, None, "TLS and basic auth, in the format of Prometheus's exporter-toolkit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Web(Section):
    """HTTP server."""

    listen_address: ListenAddress = setting(LISTEN_ADDRESS, ListenAddress("", 19121), "address to serve on")
    external_url: str | None = setting(
        optional(EXTERNAL_URL), None, "how people reach this exporter: pushed alerts link to its own runbooks"
    )
    telemetry_path: str = setting(URL_PATH, "/metrics", "path of the metrics")
    config: WebConfig = field(default_factory=WebConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        choice_of("debug", "info", "warning", "error"), "info", "minimum severity that is logged"
    )
    format: Literal["logfmt", "json"] = setting(choice_of("logfmt", "json"), "logfmt", "format of a log line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Section):
    """All settings, checked; made by ``exporter.settings.load``."""

    config: ConfigFile = field(default_factory=ConfigFile)
    redis: Redis = field(default_factory=Redis)
    keys: Keys = field(default_factory=Keys)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    discovery: Discovery = field(default_factory=Discovery)
    nodes: Nodes = field(default_factory=Nodes)
    mass_loss: MassLoss = field(default_factory=MassLoss)
    portfolios: Portfolios = field(default_factory=Portfolios)
    collector: Collector = field(default_factory=Collector)
    alertmanager: Alertmanager = field(default_factory=Alertmanager)
    journal: Journal = field(default_factory=Journal)
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)
