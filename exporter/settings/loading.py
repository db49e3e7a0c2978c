"""Where settings come from: flags over environment over file; nothing else reads the environment.

A setting's path is its name everywhere: ``redis.password_file`` is the flag
``--redis.password-file``, the variable ``GINKGO_EXPORTER_REDIS_PASSWORD_FILE``
and ``redis: {password-file: …}`` in the file.
"""

import argparse
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.errors import SettingsError
from exporter.settings.durations import format_duration
from exporter.settings.kinds import IS_DURATION
from exporter.settings.model import Redis, Settings, kebab
from exporter.settings.yaml_file import read_yaml

ENV_PREFIX: Final = "GINKGO_EXPORTER_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as its user meets it: name, default and description."""

    path: tuple[str, ...]
    info: FieldInfo

    @property
    def name(self) -> str:
        """Its name in the file, with dots between levels, such as ``redis.password-file``."""
        return ".".join(map(kebab, self.path))

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
        return format_duration(default) if IS_DURATION in self.info.metadata else str(default)


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


class _Loaded(BaseSettings, Settings):
    """The settings, with the places that they come from."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
        return init_settings, environment, _File(settings_cls, file)


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


class _File(PydanticBaseSettingsSource):
    """The configuration file, if there is one."""

    def __init__(self, settings_cls: type[BaseSettings], file: str | None) -> None:
        super().__init__(settings_cls)
        self._file = Path(file) if file else None

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        if self._file is None or not self._file.is_file():
            return {}  # the setting itself says that there is none
        try:
            given = read_yaml(self._file) or {}
        except ValueError as error:
            raise SettingsError(f"configuration file: {error}") from None
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
            raise SettingsError("configuration file: not a mapping of settings such as redis: {url: …}")
        return given


def _nested(values: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(kebab(name), {})
        branch[kebab(path[-1])] = value
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
        settings = _Loaded(**_nested(given))
    except ValidationError as error:
        raise SettingsError(_explain(error, given)) from None
    _check_together(settings)
    return _with_old_names(settings)


def renamed(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting that was given under a name of version 0.1: it works for one release."""
    for name in ("ratio", "nodes"):
        if getattr(settings.alertmanager, f"mass_loss_{name}") is not None:
            yield f"--alertmanager.mass-loss-{name} is now --mass-loss.{name}"
    if settings.alertmanager.mass_loss_hold is not None:
        yield "--alertmanager.mass-loss-hold has no effect: deaths are held back only until it is clear what they are"


def _with_old_names(settings: Settings) -> Settings:
    """Return the settings with the values that were given under names of version 0.1 in their new places."""
    old = {"ratio": settings.alertmanager.mass_loss_ratio, "nodes": settings.alertmanager.mass_loss_nodes}
    given = {name: value for name, value in old.items() if value is not None}
    return settings.model_copy(update={"mass_loss": settings.mass_loss.model_copy(update=given)})


def _check_together(settings: Settings) -> None:
    _check_redis(settings.redis)
    metrics, heartbeat = settings.keys.metrics_prefix, settings.keys.heartbeat_prefix
    if metrics.startswith(heartbeat) or heartbeat.startswith(metrics):
        raise SettingsError("--keys.heartbeat-prefix: neither prefix may begin with the other")


def _check_redis(redis: Redis) -> None:
    urls = [url.get_secret_value() for url in redis.url]
    if redis.mode == "sentinel" and not redis.sentinel_master:
        raise SettingsError("--redis.sentinel-master: needed with --redis.mode=sentinel")
    if redis.mode == "standalone" and len(urls) > 1:
        raise SettingsError("--redis.url: several are for --redis.mode=sentinel or cluster")
    if redis.mode != "standalone" and any(url.startswith("unix://") or not urlsplit(url).hostname for url in urls):
        raise SettingsError(f"--redis.url: must name a host with --redis.mode={redis.mode}")
    if bool(redis.tls_cert_file) != bool(redis.tls_key_file):
        raise SettingsError("--redis.tls-cert-file: goes with --redis.tls-key-file")
    if (redis.tls_ca_file or redis.tls_cert_file) and not all(url.startswith("rediss://") for url in urls):
        raise SettingsError("--redis.url: must begin with rediss:// when TLS files are given")


def _explain(error: ValidationError, flags: Mapping[tuple[str, ...], object]) -> str:
    """Return one line for the first thing wrong: where it was set, and why it cannot be used."""
    first = error.errors(include_url=False)[0]
    location = tuple(str(part) for part in first["loc"] if isinstance(part, str))
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if first["type"] == "path_not_file":
        reason = f"no such file: {first['input']}"
    for setting in all_settings():
        if ".".join(location[: len(setting.path)]) == setting.name:
            if setting.path in flags:
                return f"{setting.flag}: {reason}"
            if os.environ.get(setting.variable):
                return f"{setting.variable}: {reason}"
    if first["type"] == "extra_forbidden":
        reason = "unknown setting"
    return f"configuration file: {'.'.join(location)}: {reason}"
