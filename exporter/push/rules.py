"""Labels and annotations of the alerts that are pushed, read from a file of Prometheus rules."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exporter.bundled import RULES, bundled
from exporter.errors import SettingsError
from exporter.settings.yaml_file import read_yaml

COUNT: Final = re.compile(r"\s*\{\{- if gt \$value 0\.0 \}\}(.*?)\{\{ end \}\}", re.DOTALL)
"""A part of a text that a pushed alert has only if its value is more than 0."""
VALUE: Final = "{{ $value }}"
"""The alert's value, which may stand in such a part only."""
LABEL: Final = re.compile(r"\{\{\s*\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
"""The label of an alert, which may stand anywhere in an annotation."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The texts of an alert's rule.

    Attributes:
        labels: Labels, without templates.
        annotations: Annotations; their only templates are those that ``filled_in`` knows.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def filled_in(text: str, labels: Mapping[str, str], value: int) -> str:
    """Return an annotation with its templates filled in, as Prometheus does it.

    Args:
        text: The annotation.
        labels: The alert's labels; a missing label is an empty text.
        value: The alert's value.
    """
    counted = COUNT.sub(lambda match: match[1].replace(VALUE, str(value)) if value > 0 else "", text)
    return LABEL.sub(lambda match: labels.get(match[1], ""), counted)


def load_rules(path: Path | None, wanted: Collection[str]) -> dict[str, Rule]:
    """Return the rules of some alerts.

    Args:
        path: A rules file, or a PrometheusRule object; None for the bundled rules.
        wanted: Names of the alerts.

    Raises:
        SettingsError: The file cannot be used for these alerts; its text is one line with the reason.
    """
    try:
        content = read_yaml(path or bundled(RULES))
        return {name: _rule(name, rule) for name, rule in _alerts(content, wanted).items()}
    except ValueError as error:
        raise SettingsError(f"--alertmanager.rules-file: {error}") from None


def _alerts(content: Any, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    try:
        rules = [rule for group in content.get("spec", content)["groups"] for rule in group["rules"]]
        found = {rule["alert"]: rule for rule in rules if rule.get("alert") in wanted}
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it is not a file of Prometheus rules") from None
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"it has no alert {missing[0]}")
    return found


def _rule(name: str, rule: dict[str, Any]) -> Rule:
    texts: dict[str, dict[str, str]] = {}
    for field in ("labels", "annotations"):
        given = rule.get(field) or {}
        if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
            raise ValueError(f"{name}: its {field} are not texts")
        texts[field] = given
        for key, text in given.items():
            if "{{" in (text if field == "labels" else filled_in(text, {}, 1)):
                raise ValueError(f"{name}: {key}: a pushed alert can't fill in this template")
    return Rule(texts["labels"], texts["annotations"])
