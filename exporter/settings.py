"""Flags, environment and file into one frozen Settings; nothing else reads the environment.

A setting's path is its name everywhere: ``redis.password_file`` is the flag
``--redis.password-file``, the variable ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE``
and ``redis: {password-file: …}`` in the file.
"""

import argparse
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FilePath, SecretStr
from pydantic import ValidationError as PydanticError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from redis.connection import parse_url

from exporter.durations import format_duration, parse_duration
from exporter.errors import SettingsError

ENV_PREFIX: Final = "GINKGO_EXPORTER_"
_BEAT_SECONDS: Final = 10


def _kebab(name: str) -> str:
    return name.replace("_", "-")


# --- types of values -------------------------------------------------------------------------


class ListenAddress(NamedTuple):
    """Where to listen; an empty host means every address."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as the flag takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _optional_duration(value: object) -> object:
    # YAML reads a bare `off` as false.
    return None if value in ("off", False) else _duration(value)


def _listen_address(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        raise ValueError("not an address such as :19121, 127.0.0.1:19121 or [::1]:19121")
    return ListenAddress(host.removeprefix("[").removesuffix("]"), int(port))


def _redis_url(value: SecretStr) -> SecretStr:
    # The text may hold a password, so what is wrong with it is said without it.
    url = value.get_secret_value()
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        parse_url(url)
    except ValueError:
        raise ValueError("not a Redis address such as redis://host:6379/0") from None
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.split("://", 1)[1].strip("/"):
        raise ValueError("not an address such as http://alertmanager:9093")
    if "@" in value.split("://", 1)[1].split("/", 1)[0]:
        raise ValueError("must hold no password: that goes into --alertmanager.config-file")
    return value.rstrip("/")


def _label(value: str) -> str:
    name, equals, _ = value.partition("=")
    if not equals or not name.isascii() or not name.isidentifier():
        raise ValueError("not a label such as cluster=tokyo")
    if name in ("alertname", "node_id"):
        raise ValueError(f"the label {name} is what the alert is told by")
    return value


def _time_zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not a time zone such as UTC or Asia/Shanghai") from None


def _path(value: str) -> str:
    if not value.startswith("/") or value == "/" or value.startswith(("/-/", "/api/")):
        raise ValueError("must begin with / and be no path that is taken")
    return value


def _prefix(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


_IS_DURATION: Final = BeforeValidator(_duration)
Duration = Annotated[float, _IS_DURATION, Field(gt=0, allow_inf_nan=False)]
OptionalDuration = Annotated[float | None, BeforeValidator(_optional_duration)]


# --- the settings ----------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_kebab,
        arbitrary_types_allowed=True,
        validate_default=True,
        hide_input_in_errors=True,
    )


class ConfigFile(_Section):
    """Where the settings may be kept."""

    file: FilePath | None = Field(default=None, description="YAML file with these settings, the same names nested")


class Redis(_Section):
    """How Redis is reached."""

    url: tuple[Annotated[SecretStr, AfterValidator(_redis_url)], ...] = Field(
        default=(SecretStr("redis://localhost:6379/0"),),
        min_length=1,
        description="redis://, rediss:// or unix:// address; repeat it to give Sentinel or Cluster seeds",
    )
    mode: Literal["standalone", "sentinel", "cluster"] = Field(
        default="standalone", description="what stands at the address"
    )
    sentinel_master: str | None = Field(default=None, description="name of the master that Sentinel watches")
    username: str | None = Field(default=None, description="ACL user")
    password_file: FilePath | None = Field(
        default=None, description="file with the password; read again at every connect"
    )
    tls_ca_file: FilePath | None = Field(default=None, description="certificates that sign Redis's")
    tls_cert_file: FilePath | None = Field(default=None, description="certificate to show to Redis")
    tls_key_file: FilePath | None = Field(default=None, description="key of that certificate")
    timeout: Duration = Field(default=5.0, description="for one whole read")


class Keys(_Section):
    """What the platform's keys are called."""

    metrics_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="node:metrics:", description="what the hashes' names begin with"
    )
    heartbeat_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="heartbeat:node:", description="what the heartbeats' names begin with"
    )


class Heartbeat(_Section):
    """How nodes beat."""

    ttl: Duration = Field(default=30.0, description="time to live that nodes give their heartbeat")
    timezone: Annotated[ZoneInfo, BeforeValidator(_time_zone)] = Field(
        default=ZoneInfo("UTC"),
        description="time zone of heartbeats that name none",
    )

    @property
    def beat(self) -> float:
        """Seconds from one beat to the next: a third of the TTL, as on the platform."""
        return self.ttl * _BEAT_SECONDS / 30


class Discovery(_Section):
    """How node names are found."""

    interval: Duration = Field(
        default=10.0, description="how often names are looked for; stretches on a large keyspace"
    )


class Nodes(_Section):
    """How long nodes are remembered."""

    forget_after: OptionalDuration = Field(
        default=None, description="leave out nodes that are offline for longer, such as 24h"
    )


class Collector(_Section):
    """What is collected of each node."""

    stale_gauges: bool = Field(default=False, description="export the last gauges of offline nodes too")
    max_nodes: int = Field(default=100_000, gt=0, description="nodes to export at most, the first by name")


class Alertmanager(_Section):
    """Pushing of alerts."""

    url: tuple[Annotated[str, AfterValidator(_http_url)], ...] = Field(
        default=(), description="Alertmanager to push to; repeat it for every member of a cluster"
    )
    label: tuple[Annotated[str, AfterValidator(_label)], ...] = Field(
        default=("job=ginkgo-exporter",),
        description="name=value that Prometheus adds to these alerts; repeatable; overrides severity too",
    )
    config_file: FilePath | None = Field(
        default=None, description="YAML file with authentication and TLS towards Alertmanager"
    )
    sole_writer: bool = Field(default=False, description="nobody else writes these alerts: resolve them at once")
    mass_loss_ratio: float = Field(
        default=0.5, gt=0, lt=1, description="more than this share of the nodes lost at once is a mass loss"
    )
    mass_loss_nodes: int = Field(default=3, ge=1, description="and at least this many")
    mass_loss_hold: Duration = Field(default=15.0, description="how long single nodes are held back then")

    @property
    def labels(self) -> dict[str, str]:
        """The labels to add: ``job`` unless it is overridden, without those set to nothing."""
        given = dict(label.split("=", 1) for label in ("job=ginkgo-exporter", *self.label))
        return {name: value for name, value in given.items() if value}


class WebConfig(_Section):
    """Where the web configuration is kept."""

    file: FilePath | None = Field(
        default=None, description="TLS and basic auth, in the format of Prometheus's exporter-toolkit"
    )


class Web(_Section):
    """What is served, and where."""

    listen_address: Annotated[ListenAddress, BeforeValidator(_listen_address)] = Field(
        default=ListenAddress("", 19121),
        description="address to serve on",
    )
    telemetry_path: Annotated[str, AfterValidator(_path)] = Field(default="/metrics", description="path of the metrics")
    config: WebConfig = WebConfig()


class Log(_Section):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severity logged")
    format: Literal["logfmt", "json"] = Field(default="logfmt", description="form of a log line")


class Settings(BaseSettings):
    """All settings, checked; build it with ``load``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    config: ConfigFile = ConfigFile()
    redis: Redis = Redis()
    keys: Keys = Keys()
    heartbeat: Heartbeat = Heartbeat()
    discovery: Discovery = Discovery()
    nodes: Nodes = Nodes()
    collector: Collector = Collector()
    alertmanager: Alertmanager = Alertmanager()
    web: Web = Web()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take flags (or keyword arguments) over the environment over the file."""
        environment = _Environment(settings_cls)
        file = (init_settings().get("config") or environment().get("config") or {}).get("file")
        return init_settings, environment, YamlConfigSettingsSource(settings_cls, file)


# --- where they come from --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as its user meets it: name, default and description."""

    path: tuple[str, ...]
    info: FieldInfo

    @property
    def name(self) -> str:
        """Its name in the file, with dots between levels, such as ``redis.password-file``."""
        return ".".join(map(_kebab, self.path))

    @property
    def flag(self) -> str:
        """Its flag, such as ``--redis.password-file``."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable, such as ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE``."""
        return ENV_PREFIX + "_".join(self.path).upper()

    @property
    def repeatable(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.info.annotation) is tuple

    @property
    def switch(self) -> bool:
        """Whether it is on or off."""
        return self.info.annotation is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may take, if they are few."""
        return get_args(self.info.annotation) if get_origin(self.info.annotation) is Literal else ()

    @property
    def default(self) -> str:
        """Its default as the user would write it."""
        default = self.info.default
        if self.repeatable:
            texts = [x.get_secret_value() if isinstance(x, SecretStr) else x for x in default]
            return ",".join(texts) or "none"
        if default is None:
            return "off" if self.path == ("nodes", "forget_after") else "none"
        if self.switch:
            return "on" if default else "off"
        return format_duration(default) if _IS_DURATION in self.info.metadata else str(default)


def all_settings() -> Iterator[Setting]:
    """Yield every setting, in the order of the documentation."""

    def below(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
        for name, info in model.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from below(kind, (*path, name))
            else:
                yield Setting((*path, name), info)

    return below(Settings, ())


def section_title(setting: Setting) -> str:
    """Return the heading under which a setting is listed."""
    kind = Settings.model_fields[setting.path[0]].annotation
    return ((kind.__doc__ if kind else "") or "").rstrip(".")


class _Environment(PydanticBaseSettingsSource):
    """The settings' variables. Others with the same prefix are let be: Kubernetes makes some."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        given = {}
        for setting in all_settings():
            if text := os.environ.get(setting.variable):
                given[setting.path] = text.split(",") if setting.repeatable else text
        return _nested(given)


def _nested(values: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[_kebab(path[-1])] = value
    return tree


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = tuple(Settings.model_fields)) -> None:
    """Give a parser the flags of these sections' settings, in groups; those not given stay out of the result."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in all_settings():
        if setting.path[0] not in sections:
            continue
        title = section_title(setting)
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        default = f" [{setting.default}]" if setting.default != "none" else ""
        options: dict[str, Any] = {
            "dest": setting.name,
            "default": argparse.SUPPRESS,
            "help": (setting.info.description or "").replace("%", "%%") + default,
        }
        if setting.switch:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = "|".join(setting.choices) or setting.path[-1].rpartition("_")[2].upper()
            options["action"] = "append" if setting.repeatable else "store"
        group.add_argument(setting.flag, **options)


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings: flags over environment over file over defaults.

    Args:
        flags: Values by setting name, as ``add_flags`` leaves them in a parser's result; other names
            in it are passed over.

    Raises:
        SettingsError: A value cannot be used, or the file has an unknown name; one line saying which and why.
    """
    given = {s.path: flags[s.name] for s in all_settings() if flags and s.name in flags}
    try:
        settings = Settings(**_nested(given))
    except PydanticError as error:
        raise SettingsError(_explain(error, given)) from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise SettingsError(f"configuration file: {' '.join(str(error).split())}") from None
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    redis = settings.redis
    if redis.mode == "sentinel" and not redis.sentinel_master:
        raise SettingsError("--redis.sentinel-master: needed with --redis.mode=sentinel")
    if redis.mode == "standalone" and len(redis.url) > 1:
        raise SettingsError("--redis.url: several are for --redis.mode=sentinel or cluster")
    if bool(redis.tls_cert_file) != bool(redis.tls_key_file):
        raise SettingsError("--redis.tls-cert-file: goes with --redis.tls-key-file")
    if redis.tls_ca_file or redis.tls_cert_file:
        for url in redis.url:
            if not url.get_secret_value().startswith("rediss://"):
                raise SettingsError("--redis.url: must begin with rediss:// when TLS files are given")
    metrics, heartbeat = settings.keys.metrics_prefix, settings.keys.heartbeat_prefix
    if metrics.startswith(heartbeat) or heartbeat.startswith(metrics):
        raise SettingsError("--keys.heartbeat-prefix: neither prefix may begin with the other")


def _explain(error: PydanticError, flags: Mapping[tuple[str, ...], object]) -> str:
    """Return one line for the first thing wrong: where it was set, and why it cannot be used."""
    first = error.errors(include_input=False, include_url=False)[0]
    location = tuple(str(part) for part in first["loc"] if isinstance(part, str))
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    for setting in all_settings():
        if ".".join(location).startswith(setting.name):
            if setting.path in flags:
                return f"{setting.flag}: {reason}"
            if os.environ.get(setting.variable):
                return f"{setting.variable}: {reason}"
    if first["type"] == "extra_forbidden":
        reason = "unknown setting"
    return f"configuration file: {'.'.join(location)}: {reason}"
