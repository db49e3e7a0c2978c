"""Loads the settings of the rules from their file. An error names the place and the nearest known name."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from exporter.alerting_rules.model import AlertChange, Links, RuleSettings
from exporter.alerting_rules.thresholds import THRESHOLDS
from exporter.bundled import RULES, alert_severities
from exporter.errors import SettingsError
from exporter.settings import nearest
from exporter.settings.yaml_file import read_yaml


def load(path: Path | None) -> RuleSettings:
    """Return the settings in a file; the defaults if there is no file.

    Raises:
        SettingsError: The file cannot be used. The message has one line for each error.
    """
    if path is None:
        return RuleSettings()
    try:
        given = read_yaml(path)
    except ValueError as error:
        raise SettingsError(f"--config.file: {error}") from None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise SettingsError(f"{path}: not a mapping of settings such as labels: {{team: trading}}")
    errors = [_line(path, names, reason) for names, reason in _unknown(given)]
    try:
        settings = RuleSettings.model_validate(given)
    except ValidationError as error:
        errors += [_line(path, names, reason) for names, reason in _invalid(error)]
    if errors:
        raise SettingsError("\n".join(dict.fromkeys(errors)))
    return settings


def known_names(model: type[BaseModel]) -> list[str]:
    """Return the names of a section's settings, as they stand in the file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown(given: dict[Any, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each unknown name with the reason."""
    yield from _unknown_in((), given, known_names(RuleSettings), "setting")
    yield from _unknown_in(("links",), given.get("links"), known_names(Links), "setting")
    alerts = given.get("alerts")
    yield from _unknown_in(("alerts",), alerts, alert_severities(), "alert")
    for alert, change in alerts.items() if isinstance(alerts, dict) else ():
        if alert not in alert_severities() or not isinstance(change, dict):
            continue
        at = ("alerts", alert)
        yield from _unknown_in(at, change, known_names(AlertChange), "setting")
        thresholds = THRESHOLDS.get(alert, {})
        kind = "threshold" if thresholds else f"threshold: {alert} has none in {Path(RULES).name}"
        yield from _unknown_in((*at, "thresholds"), change.get("thresholds"), thresholds, kind)


def _unknown_in(
    at: Sequence[str], given: object, known: Iterable[str], kind: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    known = list(known)
    for name in given if isinstance(given, dict) else ():
        if name not in known:
            near = nearest(str(name), known)
            listed = "" if near or not known else f"; there are {', '.join(known)}"
            yield (*at, str(name)), f"unknown {kind}{near or listed}"


def _invalid(error: ValidationError) -> Iterator[tuple[tuple[str, ...], str]]:
    for each in error.errors(include_url=False):
        if each["type"] == "extra_forbidden":
            continue
        names = tuple(part for part in each["loc"] if isinstance(part, str) and part != "[key]")
        reason = each["msg"].removeprefix("Value error, ")
        yield names, reason[:1].lower() + reason[1:]


def _line(path: Path, names: tuple[str, ...], reason: str) -> str:
    return f"{path}: {'.'.join(names)}: {reason}"
