"""The tables of the rules' settings, from the classes that check them."""

from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.alerting_rules.model import AlertChange, Links, RuleSettings
from exporter.alerting_rules.thresholds import THRESHOLDS

_UNSET: Final[tuple[Any, ...]] = (None, {}, ())


def rule_settings_table() -> str:
    """Return all settings of the rules as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for path, field in (*_fields(RuleSettings, ""), *_fields(Links, "links."), *_fields(AlertChange, "alerts.ALERT.")):
        lines.append(f"| `{path}` | {_default(field)} | {(field.description or '').replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def rule_thresholds_table() -> str:
    """Return all thresholds of the rules as a Markdown table."""
    lines = ["| alert | threshold | default | meaning |", "|---|---|---|---|"]
    for alert, thresholds in THRESHOLDS.items():
        lines += [f"| {alert} | `{name}` | {each.default} | {each.meaning} |" for name, each in thresholds.items()]
    return "\n".join(lines)


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        nested = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind in (Links, AlertChange)]
        if not nested:
            yield f"{prefix}{field.alias or name}", field


def _default(field: FieldInfo) -> str:
    if field.default in _UNSET or field.default == "":
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
