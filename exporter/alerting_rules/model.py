"""The settings of the rules: one frozen, checked object."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from exporter.alerting_rules.promql import Matcher, matcher
from exporter.settings import http_url, parse_duration

JOB: Final = "ginkgo-exporter"
"""The job's name in the rule file."""
INSTALLATION_LABEL: Final = "cluster"
"""The label in the rule file's links that tells installations apart."""
LONGEST_INTERVAL: Final = 60.0
"""Seconds of the longest scrape interval. The rules' ranges of five minutes need five scrapes."""

_AGGREGATED_AWAY: Final = frozenset(
    (
        *("instance", "pod", "container", "endpoint", "node_id", "portfolio_id"),
        *("state", "status", "component", "reason", "part", "error", "severity", "alertname"),
    )
)
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _duration(value: object) -> object:
    if isinstance(value, int) and value == 0 and not isinstance(value, bool):
        return "0s"
    return value


def _checked_duration(value: str) -> str:
    parse_duration(value)
    return value


def _selector(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = matcher(value)
    if found.label == "job":
        raise ValueError("the label job has a setting of its own, job")
    if found.label in _AGGREGATED_AWAY:
        raise ValueError(f"the label {found.label} is not on all series of an installation")
    return found


def _label_name(value: str) -> str:
    if not _LABEL.fullmatch(value) or value.startswith("__"):
        raise ValueError(f"{value} is not a label's name")
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for name in map(_label_name, value):
        if name in ("alertname", "severity", "node_id"):
            raise ValueError(f"the label {name} cannot be set here")
    return value


def _threshold(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic expects ValueError
    return value


def _interval(value: str) -> str:
    if not 1 <= parse_duration(value) <= LONGEST_INTERVAL:
        raise ValueError("must be between 1s and 1m: with rarer scrapes the rules see too little")
    return value


def _job(value: str) -> str:
    if not value or not value.isprintable() or set(value) & set('"\\{}'):
        raise ValueError("not the name of a scrape job")
    return value


Address = Annotated[str, BeforeValidator(http_url)]
Duration = Annotated[str, BeforeValidator(_duration), AfterValidator(_checked_duration)]
Interval = Annotated[str, AfterValidator(_interval)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Selector = Annotated[Matcher, BeforeValidator(_selector)]
Number = Annotated[float, BeforeValidator(_threshold), Field(ge=0, allow_inf_nan=False)]
Severity = Literal["critical", "warning", "info", "none"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, arbitrary_types_allowed=True)


class Links(_Section):
    """Links in the alerts."""

    runbooks: Address | None = Field(
        default=None,
        description="address before an alert's name, such as https://exporter.example.org/runbooks for the runbooks"
        " that the exporter itself shows, with its `--web.external-url`",
    )
    runbook_ending: str = Field(
        default="", max_length=20, description="text after the alert's name in these links, such as .md"
    )
    dashboards: Address | None = Field(default=None, description="Grafana's address, put before the dashboards' paths")
    installation_label: Annotated[str, AfterValidator(_label_name)] = Field(
        default=INSTALLATION_LABEL, description="the label by which the dashboards tell installations apart"
    )


class AlertChange(_Section):
    """Changes of one alert."""

    enabled: bool = Field(default=True, description="false leaves the alert out")
    severity: Severity | None = Field(default=None, description="another severity")
    wait: Duration | None = Field(default=None, alias="for", description="another `for`")
    keep_firing_for: Duration | None = Field(default=None, description="another `keep_firing_for`")
    labels: Labels = Field(default={}, description="more labels of this alert")
    thresholds: dict[str, Number] = Field(default={}, description="numbers by their names; the table below lists them")


class RuleSettings(_Section):
    """All settings of the rules; ``loading.load`` makes them from a file."""

    links: Links = Links()
    labels: Labels = Field(default={}, description="more labels of every alert, such as team: trading")
    selectors: tuple[Selector, ...] = Field(
        default=(), description='conditions for every series, such as cluster="tokyo", in a list'
    )
    job: Annotated[str, AfterValidator(_job)] = Field(
        default=JOB, description="name of the job that scrapes the exporters"
    )
    scrape_interval: Interval | None = Field(
        default=None,
        description="time between two scrapes, and then also between two evaluations of each group; above 30s all times"
        " under 5m are longer in proportion",
    )
    heartbeat_ttl: Duration = Field(default="30s", description="the exporter's `--heartbeat.ttl`")
    queue_length: int = Field(default=1000, ge=10, le=999_999, description="events that a node's queue holds")
    alerts: dict[str, AlertChange] = Field(default={}, description="changes by alert")

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The conditions for every series."""
        return self.selectors
