"""All settings: one frozen, checked object. Each section of the settings is a class."""

from pathlib import Path
from typing import Final, Literal, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationInfo, field_validator

from exporter.settings.kinds import (
    Address,
    Duration,
    ExternalUrl,
    HttpUrl,
    KeyPrefix,
    Label,
    ListenAddress,
    OptionalDuration,
    RedisUrl,
    Size,
    TimeZone,
    UrlPath,
)

_BEAT_SECONDS: Final = 10


def kebab(name: str) -> str:
    """Return a name with hyphens, as in flags and files: ``password-file``."""
    return name.replace("_", "-")


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=kebab,
        arbitrary_types_allowed=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _one_of_many(cls, value: object, info: ValidationInfo) -> object:
        """Accept one value in place of a list, as flags and variables give it."""
        field = cls.model_fields[info.field_name or ""]
        return (value,) if isinstance(value, str) and get_origin(field.annotation) is tuple else value


class ConfigFile(_Section):
    """Configuration file."""

    file: FilePath | None = Field(default=None, description="YAML file with these settings, the same names nested")


class Redis(_Section):
    """Connection to Redis."""

    url: tuple[RedisUrl, ...] = Field(
        default=(SecretStr("redis://localhost:6379/0"),),
        min_length=1,
        description="redis://, rediss:// or unix:// address; repeat it to give Sentinel or Cluster seeds",
    )
    mode: Literal["standalone", "sentinel", "cluster"] = Field(
        default="standalone", description="kind of server at the address"
    )
    sentinel_master: str | None = Field(default=None, description="name of the master that Sentinel watches")
    username: str | None = Field(default=None, description="ACL user")
    password_file: FilePath | None = Field(
        default=None, description="file with the password; read again at every connect"
    )
    tls_ca_file: FilePath | None = Field(default=None, description="CA certificates for Redis's certificate")
    tls_cert_file: FilePath | None = Field(default=None, description="certificate to show to Redis")
    tls_key_file: FilePath | None = Field(default=None, description="key of that certificate")
    timeout: Duration = Field(default=5.0, le=86_400, description="time limit of one whole read")


class Keys(_Section):
    """Names of the platform's keys."""

    metrics_prefix: KeyPrefix = Field(default="node:metrics:", description="prefix of the hashes' names")
    heartbeat_prefix: KeyPrefix = Field(default="heartbeat:node:", description="prefix of the heartbeats' names")
    plan: KeyPrefix = Field(default="schedule:plan", description="the scheduler's plan")
    portfolio_prefix: KeyPrefix = Field(default="portfolio:", description="prefix of the names of portfolios' states")


class Heartbeat(_Section):
    """Heartbeats."""

    ttl: Duration = Field(default=30.0, description="time to live that nodes give their heartbeat")
    timezone: TimeZone = Field(
        default=ZoneInfo("UTC"),
        description="time zone of heartbeats that name none",
    )

    @property
    def beat(self) -> float:
        """Seconds between two beats: a third of the TTL, as on the platform."""
        return self.ttl * _BEAT_SECONDS / 30


class Discovery(_Section):
    """Discovery of node names."""

    interval: Duration = Field(
        default=10.0, description="time between two searches for names; longer on a large keyspace"
    )


class Nodes(_Section):
    """Expected nodes, and nodes to forget."""

    forget_after: OptionalDuration = Field(
        default=None, description="leave out nodes that are offline for longer, such as 24h"
    )
    forget_rehomed_after: OptionalDuration = Field(
        default=3600.0,
        description="leave out nodes that are offline for longer and whose portfolios all run on other nodes",
    )
    expected: int | None = Field(
        default=None, ge=1, description="how many nodes there should be, for GinkgoNodesMissing"
    )


class MassLoss(_Section):
    """Mass loss: how many nodes must die together to be one page."""

    nodes: int = Field(default=3, ge=1, description="minimum number of nodes, if they also exceed the ratio")
    ratio: float = Field(default=0.25, gt=0, lt=1, description="share of the nodes online or undecided before")
    many: int = Field(default=10, ge=1, description="number of nodes that is enough whatever their share")


class Portfolios(_Section):
    """Portfolios: what is read and exported."""

    max_listed: int = Field(
        default=100, ge=0, description="portfolios at fault that have a series of their own, the longest-lasting first"
    )
    states: bool = Field(default=True, description="read the queue and the positions of each loaded portfolio")


class Collector(_Section):
    """Exported metrics of each node."""

    stale_gauges: bool = Field(default=False, description="export the last gauges of offline nodes too")
    max_nodes: int = Field(default=100_000, gt=0, description="maximum number of exported nodes, the first by name")


class Alertmanager(_Section):
    """Push of alerts."""

    url: tuple[HttpUrl, ...] = Field(
        default=(), description="Alertmanager to push to; repeat it for every member of a cluster"
    )
    label: tuple[Label, ...] = Field(
        default=("job=ginkgo-exporter",),
        description="name=value that Prometheus adds to these alerts; repeatable; overrides severity too",
    )
    config_file: FilePath | None = Field(
        default=None, description="YAML file with authentication and TLS towards Alertmanager"
    )
    rules_file: FilePath | None = Field(
        default=None, description="the rules that Prometheus uses, for pushed labels and texts; else the bundled ones"
    )
    sole_writer: bool = Field(default=False, description="no other program sends these alerts: resolve them at once")
    mass_loss_ratio: float | None = Field(default=None, gt=0, lt=1, description="old name of --mass-loss.ratio")
    mass_loss_nodes: int | None = Field(default=None, ge=1, description="old name of --mass-loss.nodes")
    mass_loss_hold: OptionalDuration = Field(default=None, description="without effect since 0.2.0")

    @property
    def labels(self) -> dict[str, str]:
        """The labels to add to alerts: the default ``job`` and the given labels, without empty ones."""
        given = dict(label.split("=", 1) for label in ("job=ginkgo-exporter", *self.label))
        return {name: value for name, value in given.items() if value}


class Journal(_Section):
    """Journal of events."""

    file: Path | None = Field(
        default=None, description="also write events to this file, as JSON lines; a start reads the last ones back"
    )
    max_size: Size = Field(default=10 * 2**20, description="size of one file; three are kept")


class WebConfig(_Section):
    """Web configuration file."""

    file: FilePath | None = Field(
        default=None, description="TLS and basic auth, in the format of Prometheus's exporter-toolkit"
    )


class Web(_Section):
    """HTTP server."""

    listen_address: Address = Field(
        default=ListenAddress("", 19121),
        description="address to serve on",
    )
    external_url: ExternalUrl | None = Field(
        default=None, description="how people reach this exporter: pushed alerts link to its own runbooks"
    )
    telemetry_path: UrlPath = Field(default="/metrics", description="path of the metrics")
    config: WebConfig = WebConfig()


class Log(_Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="minimum severity that is logged"
    )
    format: Literal["logfmt", "json"] = Field(default="logfmt", description="format of a log line")


class Settings(_Section):
    """All settings, checked; made by ``exporter.settings.load``."""

    config: ConfigFile = ConfigFile()
    redis: Redis = Redis()
    keys: Keys = Keys()
    heartbeat: Heartbeat = Heartbeat()
    discovery: Discovery = Discovery()
    nodes: Nodes = Nodes()
    mass_loss: MassLoss = MassLoss()
    portfolios: Portfolios = Portfolios()
    collector: Collector = Collector()
    alertmanager: Alertmanager = Alertmanager()
    journal: Journal = Journal()
    web: Web = Web()
    log: Log = Log()
