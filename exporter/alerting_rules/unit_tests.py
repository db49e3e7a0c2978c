"""Unit tests for promtool that belong to the rules with an operator's settings.

Each example is an installation of its own, told from the others by the label ``example``. So one run of promtool checks
all of them, and shows that no installation's fault raises an alert of another one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from exporter.alerting_rules.configured import Parts, Rule, configured
from exporter.alerting_rules.examples import EXAMPLES, Example, Series
from exporter.alerting_rules.model import RuleSettings
from exporter.alerting_rules.samples import Clock, refused, taken
from exporter.alerting_rules.thresholds import THRESHOLDS
from exporter.bundled import RULES, bundled
from exporter.settings import format_duration, parse_duration

FILE: Final = "ginkgo.rules.yml"
"""The usual name of the rules."""

_TURN: Final = 1860
"""Seconds before the change. Baselines need a history."""
_USUAL: Final = 15
"""Seconds between two scrapes without a setting."""
_SPARE: Final = 4
"""Scrapes that an alert may take longer."""
_NAME: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?")
_SILENT: Final = ", nearly"
_ELSEWHERE: Final = ", elsewhere"


def unit_tests(settings: RuleSettings, file: str = FILE) -> str:
    """Return a file of unit tests for ``promtool test rules``.

    Args:
        settings: The settings of the rules.
        file: Name of the file with these rules, beside the tests.

    Raises:
        SettingsError: For a selector no matching label can be made up.
    """
    return _Tests(settings).text(file)


class _Tests:
    """The tests for some settings."""

    def __init__(self, settings: RuleSettings) -> None:
        self._settings = settings
        self._interval = max(round(parse_duration(settings.scrape_interval or f"{_USUAL}s")), 1)
        parts = Parts.of(settings)
        groups = yaml.safe_load(bundled(RULES).read_text(encoding="utf-8"))["groups"]
        made = (configured(rule, settings, parts) for group in groups for rule in group["rules"])
        self._alerts: dict[str, Rule] = {rule["alert"]: rule for rule in made if rule and "alert" in rule}
        self._numbers = parts.numbers
        self._examples = {name: make(self._number(name)) for name, make in EXAMPLES.items()}
        self._checks = {name: self._fires_at(name, example) for name, example in self._examples.items()}
        self._end = max(self._checks.values()) + self._interval
        self._clock = Clock(self._interval, self._turn // self._interval, self._end // self._interval + 1)

    def text(self, file: str) -> str:
        every = f"{self._interval}s"
        document = {
            "rule_files": [file],
            "evaluation_interval": every,
            "tests": [
                {
                    "name": "each alert fires in its example, and not in a similar one",
                    "interval": every,
                    "input_series": list(self._series()),
                    "promql_expr_test": list(self._queries()),
                },
                {
                    "name": "without any series only these alerts fire",
                    "interval": every,
                    "input_series": [],
                    "promql_expr_test": list(self._without_series()),
                },
            ],
        }
        head = f"# Unit tests of {file}, written by `ginkgo-exporter rules --tests` with the same settings.\n"
        return head + yaml.safe_dump(document, sort_keys=False, width=float("inf"), allow_unicode=True)

    @property
    def _turn(self) -> int:
        return self._ceil(_TURN)

    def _number(self, alert: str) -> Any:
        def number(name: str) -> float:
            return float(self._numbers.get((alert, name)) or THRESHOLDS[alert][name].default)

        return number

    def _fires_at(self, name: str, example: Example) -> int:
        """Return the second at which an alert must fire."""
        wait = parse_duration(self._alerts.get(name, {}).get("for", "0s"))
        stretch = max(self._interval / 30, 1)
        return self._turn + self._ceil(example.ranges * stretch + wait) + _SPARE * self._interval

    def _ceil(self, seconds: float) -> int:
        return -int(-seconds // self._interval) * self._interval

    def _series(self) -> Iterator[dict[str, str]]:
        here, elsewhere = taken(self._settings.matchers), refused(self._settings.matchers)
        for name, example in self._examples.items():
            yield from self._written(example.fires, here | {"example": name})
            yield from self._written(example.silent, here | {"example": name + _SILENT})
            if elsewhere is not None:
                yield from self._written(example.fires, elsewhere | {"example": name + _ELSEWHERE})

    def _written(self, series: Series, labels: Mapping[str, str]) -> Iterator[dict[str, str]]:
        for name, samples in series.items():
            match = _NAME.fullmatch(name)
            metric, own = (match[1], match[2] or "") if match else (name, "")
            common = {"job": self._settings.job, "instance": "a:19121", **labels}
            pairs = [own] if own else []
            pairs += [f"{key}={json.dumps(value)}" for key, value in common.items() if f"{key}=" not in own]
            yield {"series": f"{metric}{{{', '.join(pairs)}}}", "values": samples.values(self._clock)}

    def _queries(self) -> Iterator[dict[str, Any]]:
        for name in self._examples:
            if name not in self._alerts:
                yield self._query(f'ALERTS{{alertname="{name}"}}', self._checks[name], None)
                continue
            fires = self._firing(name, example=name)
            yield self._query(fires, self._turn - self._interval, None)
            yield self._query(f"count({fires})", self._checks[name], 1)
            yield self._never(f'alertname="{name}", example="{name}{_SILENT}"')
        yield self._never(f'example=~".*{_ELSEWHERE}"')

    def _without_series(self) -> Iterator[dict[str, Any]]:
        wait = parse_duration(self._alerts.get("GinkgoExporterDown", {}).get("for", "0s"))
        at = self._ceil(wait) + self._interval
        left = {"GinkgoExporterDown", "GinkgoWatchdog"} & self._alerts.keys()
        for name in sorted(left):
            yield self._query(f"count({self._firing(name)})", at, 1)
        yield self._query('count(ALERTS{alertstate="firing"})', at, len(left) or None)

    def _firing(self, name: str, **labels: str) -> str:
        """Return the series of a firing alert with the labels that it must have."""
        own = {key: text for key, text in self._alerts[name]["labels"].items() if "{{" not in text}
        wanted = {"alertname": name, "alertstate": "firing", **own, **labels}
        return f"ALERTS{{{', '.join(f'{key}={json.dumps(value)}' for key, value in wanted.items())}}}"

    def _never(self, matchers: str) -> dict[str, Any]:
        return self._query(f'count_over_time(ALERTS{{alertstate="firing", {matchers}}}[{self._end}s])', self._end, None)

    def _query(self, query: str, at: int, value: int | None) -> dict[str, Any]:
        samples = [] if value is None else [{"labels": "{}", "value": value}]
        return {"expr": query, "eval_time": format_duration(at), "exp_samples": samples}
