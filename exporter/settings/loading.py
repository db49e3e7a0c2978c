"""Loads the settings: flags override the environment, the environment overrides the file, the file the defaults."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exporter.errors import SettingsError
from exporter.settings.flags import all_settings
from exporter.settings.model import Redis, Settings, kebab
from exporter.settings.yaml_file import no_file, read_yaml


class _Loaded(BaseSettings, Settings):
    """The settings, loaded from their sources."""

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
        """Return the sources in their order: flags (or keyword arguments), environment, file."""
        environment = _Environment(settings_cls)
        file = (init_settings().get("config") or environment().get("config") or {}).get("file")
        return init_settings, environment, _File(settings_cls, file)


class _Environment(PydanticBaseSettingsSource):
    """The environment variables of the settings. Unknown ones are ignored: Kubernetes sets some."""

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
            return {}  # the check of the setting --config.file rejects a missing file
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


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings from flags, environment, file and defaults.

    Args:
        flags: Values by the settings' names, as a parser with ``add_flags`` gives them. Other names are ignored.

    Raises:
        SettingsError: A value is invalid, or the file has an unknown name. The message is one line that names
            the setting and the reason.
    """
    given = {s.path: flags[s.name] for s in all_settings() if flags and s.name in flags}
    try:
        settings = _Loaded(**_nested(given))
    except ValidationError as error:
        raise SettingsError(_explain(error, given)) from None
    _check_together(settings)
    return _with_old_names(settings)


def renamed(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting given under its name of version 0.1. The old names work for one release."""
    for name in ("ratio", "nodes"):
        if getattr(settings.alertmanager, f"mass_loss_{name}") is not None:
            yield f"--alertmanager.mass-loss-{name} is now --mass-loss.{name}"
    if settings.alertmanager.mass_loss_hold is not None:
        yield "--alertmanager.mass-loss-hold has no effect: deaths are held back only until it is clear what they are"


def _with_old_names(settings: Settings) -> Settings:
    """Return the settings. Values given under names of version 0.1 are moved to the new names."""
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
        raise SettingsError("--redis.url: several addresses need --redis.mode=sentinel or cluster")
    if redis.mode != "standalone" and any(url.startswith("unix://") or not urlsplit(url).hostname for url in urls):
        raise SettingsError(f"--redis.url: must name a host with --redis.mode={redis.mode}")
    if bool(redis.tls_cert_file) != bool(redis.tls_key_file):
        raise SettingsError("--redis.tls-cert-file: goes with --redis.tls-key-file")
    if (redis.tls_ca_file or redis.tls_cert_file) and not all(url.startswith("rediss://") for url in urls):
        raise SettingsError("--redis.url: must begin with rediss:// when TLS files are given")


def _explain(error: ValidationError, flags: Mapping[tuple[str, ...], object]) -> str:
    """Return one line about the first error: the flag, variable or name in the file, and the reason."""
    first = error.errors(include_url=False)[0]
    location = tuple(str(part) for part in first["loc"] if isinstance(part, str))
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if first["type"] == "path_not_file":
        reason = no_file(Path(first["input"]))
    for setting in all_settings():
        if ".".join(location[: len(setting.path)]) == setting.name:
            if setting.path in flags:
                return f"{setting.flag}: {reason}"
            if os.environ.get(setting.variable):
                return f"{setting.variable}: {reason}"
    if first["type"] == "extra_forbidden":
        reason = "unknown setting"
    return f"configuration file: {'.'.join(location)}: {reason}"
