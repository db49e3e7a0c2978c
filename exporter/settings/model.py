"""All settings in one typed table: each has a name, a parser, a default as a user would write it, and a meaning.

A setting has the same name everywhere: ``redis.password_file`` is the flag ``--redis.password-file``, the variable
``GINKGO_EXPORTER_REDIS_PASSWORD_FILE`` and ``redis: {password-file: …}`` in the file. Help and documentation are made
from this table too.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

from exporter.settings import values
from exporter.settings.values import require

_T = TypeVar("_T")
ENV_PREFIX: Final = "GINKGO_EXPORTER_"


class Setting(Generic[_T]):
    """A row of the table, and the attribute of a section that holds the value.

    Attributes:
        field: The attribute's name.
        flag: Its flag, such as ``--redis.password-file``.
        variable: Its environment variable, such as ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE``.

    Args:
        parse: Returns the checked value of a text, or raises a ValueError.
        default: The default as a user would write it; ``none`` if the setting has no default.
        meaning: What it is, in the words of ``--help``.
        name: Its name in the section, if that is not the attribute's.
        choices: The texts that it takes, if they are few.
        repeatable: Whether it may be given several times. Its value is a tuple then.
    """

    def __init__(  # noqa: PLR0913
        self,
        parse: Callable[[str], _T],
        default: str,
        meaning: str,
        *,
        name: str = "",
        choices: tuple[str, ...] = (),
        repeatable: bool = False,
    ) -> None:
        self.parse, self.default, self.meaning = parse, default, meaning
        self.name, self.choices, self.repeatable = name, choices, repeatable

    def __set_name__(self, section: "type[Section]", field: str) -> None:
        words = re.sub("(?<=[a-z])(?=[A-Z])", section.joint, section.__name__).lower()
        self.field, self.name = field, f"{words}.{(self.name or field).replace('_', section.joint)}"
        self.flag, self.variable = f"--{self.name}", ENV_PREFIX + re.sub("[.-]", "_", self.name).upper()
        unset = () if self.repeatable else None
        self._value = unset if self.default == "none" else self.checked([self.default], "", [])

    def __get__(self, section: "Section | None", _: type) -> _T:
        """Return the value of the default, which a section has unless it holds another."""
        return cast("_T", self._value)

    def checked(self, texts: Sequence[str], place: str, errors: list[str]) -> Any:
        """Return the value of the given texts.

        Args:
            texts: The texts, at least one.
            place: Where they were given.
            errors: A line is appended for each mistake; then the value is not to be used.
        """
        parsed = []
        if len(texts) > 1 and not self.repeatable:
            errors.append(f"{place}: takes one value, and {len(texts)} are given")
        for text in texts:
            try:
                require(text, "must not be empty; leave it out for the default")
                require(text in self.choices or not self.choices, f"must be one of {', '.join(self.choices)}")
                parsed.append(self.parse(text))
            except ValueError as error:
                errors.append(f"{place}: {error}")
        return tuple(parsed) if self.repeatable else parsed[:1] and parsed[0]


def optional(parse: Callable[[str], _T], meaning: str, *, name: str = "") -> Setting[_T | None]:
    """Return a setting whose value is None if it is not given."""
    return Setting(parse, "none", meaning, name=name)


def several(parse: Callable[[str], _T], default: str, meaning: str) -> Setting[tuple[_T, ...]]:
    """Return a setting that may be given several times."""
    return Setting[Any](parse, default, meaning, repeatable=True)


class Section(SimpleNamespace):
    """A section of the settings. It holds checked values; a setting without one has its default.

    Attributes:
        joint: What joins the words of the settings' names.
    """

    joint: ClassVar = "-"

    @classmethod
    def rows(cls) -> list[Setting[Any]]:
        """Return the settings of the section."""
        return [row for row in vars(cls).values() if isinstance(row, Setting)]

    @property
    def given(self) -> frozenset[str]:
        """The names of the settings that are not left to their defaults."""
        return frozenset(vars(self))


class Config(Section):
    """Configuration file."""

    file = optional(Path, "YAML file with these settings, the same names nested")


class Redis(Section):
    """Connection to Redis."""

    url = several(
        values.redis_url,
        "redis://localhost:6379/0",
        "redis://, rediss:// or unix:// address; repeat it to give Sentinel or Cluster seeds",
    )
    mode = Setting(str, "standalone", "kind of server at the address", choices=("standalone", "sentinel", "cluster"))
    sentinel_master = optional(str, "name of the master that Sentinel watches")
    username = optional(str, "ACL user")
    password_file = optional(values.existing_file, "file with the password; read again at every connect")
    tls_ca_file = optional(values.existing_file, "CA certificates for Redis's certificate")
    tls_cert_file = optional(values.existing_file, "certificate to show to Redis")
    tls_key_file = optional(values.existing_file, "key of that certificate")
    timeout = Setting(partial(values.duration, most="1d"), "5s", "time limit of one whole read")


class Keys(Section):
    """Names of the platform's keys."""

    metrics_prefix = Setting(str, "node:metrics:", "prefix of the hashes' names")
    heartbeat_prefix = Setting(str, "heartbeat:node:", "prefix of the heartbeats' names")
    plan = Setting(str, "schedule:plan", "the scheduler's plan")
    portfolio_prefix = Setting(str, "portfolio:", "prefix of the names of portfolios' states")


class Heartbeat(Section):
    """Heartbeats."""

    ttl = Setting(values.duration, "30s", "time to live that nodes give their heartbeat")
    timezone = Setting(values.time_zone, "UTC", "time zone of heartbeats that name none")

    @property
    def beat(self) -> float:
        """Seconds between two beats: a third of the TTL, as on the platform."""
        return self.ttl / 3


class Discovery(Section):
    """Discovery of node names."""

    interval = Setting(values.duration, "10s", "time between two searches for names; longer on a large keyspace")


class Nodes(Section):
    """Expected nodes, and nodes to forget."""

    forget_after = Setting(values.duration_or_off, "off", "leave out nodes that are offline for longer, such as 24h")
    forget_rehomed_after = Setting(
        values.duration_or_off,
        "1h",
        "leave out nodes that are offline for longer and whose portfolios all run on other nodes",
    )
    expected = optional(values.whole, "how many nodes there should be, for GinkgoNodesMissing")


class MassLoss(Section):
    """Mass loss: how many nodes must die together to be one page."""

    nodes = Setting(values.whole, "3", "minimum number of nodes, if they also exceed the ratio")
    ratio = Setting(values.share, "0.25", "share of the nodes online or undecided before")
    many = Setting(values.whole, "10", "number of nodes that is enough whatever their share")


class Portfolios(Section):
    """Portfolios: what is read and exported."""

    max_listed = Setting(
        partial(values.whole, least=0),
        "100",
        "portfolios at fault that have a series of their own, the longest-lasting first",
    )
    states = Setting(values.switch, "on", "read the queue and the positions of each loaded portfolio")


class Collector(Section):
    """Exported metrics of each node."""

    stale_gauges = Setting(values.switch, "off", "export the last gauges of offline nodes too")
    max_nodes = Setting(values.whole, "100000", "maximum number of exported nodes, the first by name")


class Alertmanager(Section):
    """Push of alerts."""

    url = several(values.http_url, "none", "Alertmanager to push to; repeat it for every member of a cluster")
    label = several(
        values.label,
        "job=ginkgo-exporter",
        "name=value that Prometheus adds to these alerts; repeatable; overrides severity too",
    )
    config_file = optional(values.existing_file, "YAML file with authentication and TLS towards Alertmanager")
    rules_file = optional(
        values.existing_file, "the rules that Prometheus uses, for pushed labels and texts; else the bundled ones"
    )
    sole_writer = Setting(values.switch, "off", "no other program sends these alerts: resolve them at once")

    @property
    def labels(self) -> dict[str, str]:
        """The labels to add to alerts: the default ``job`` and the given labels, without empty ones."""
        given = dict(label.split("=", 1) for label in ("job=ginkgo-exporter", *self.label))
        return {name: value for name, value in given.items() if value}


class Journal(Section):
    """Journal of events."""

    file = optional(Path, "also write events to this file, as JSON lines; a start reads the last ones back")
    max_size = Setting(values.parse_size, "10MB", "size of one file; three are kept")


class Web(Section):
    """HTTP server."""

    listen_address = Setting(values.listen_address, ":19121", "address to serve on")
    external_url = optional(values.http_url, "how people reach this exporter: pushed alerts link to its own runbooks")
    telemetry_path = Setting(values.url_path, "/metrics", "path of the metrics")
    max_connections = Setting(
        values.whole, "128", "connections that are served at a time; slow and silent readers make room for others"
    )
    config_file = optional(
        values.existing_file, "TLS and basic auth, in the format of Prometheus's exporter-toolkit", name="config.file"
    )


class Log(Section):
    """Logging."""

    level = Setting(str, "info", "minimum severity that is logged", choices=("debug", "info", "warning", "error"))
    format = Setting(str, "logfmt", "format of a log line", choices=("logfmt", "json"))


class Settings(NamedTuple):
    """All settings, checked; made by ``exporter.settings.load``."""

    config: Config = Config()
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


def all_settings() -> tuple[Setting[Any], ...]:
    """Return every setting, in the order of the documentation."""
    return tuple(row for section in Settings() for row in section.rows())
