"""Fills the template of the alert rules with an operator's settings."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from exporter.bundled import bundled
from exporter.errors import SettingsError
from exporter.settings import format_duration, nearest, parse_duration, switch
from exporter.settings.values import require, whole
from exporter.settings.yaml_file import read_yaml

TEMPLATE: Final = "alerts/ginkgo.rules.template.yml"
"""The template of all rules. Its head says what its names between « and » stand for."""

_HEAD: Final = (
    "# Written from ginkgo.rules.template.yml, which explains the rules. Do not change this file: the settings of\n"
    "# `ginkgo-exporter rules` and of the Helm chart fill the template. Prometheus 2.42 or newer.\n\n"
)
_USUAL: Final = {"queue-length": 1000, "heartbeat-ttl": 30}
_USUAL_INTERVAL: Final = 30.0
"""Seconds of the longest scrape interval for which the template's own times are right."""
_NAME: Final = re.compile(r"\{«selectors»\}|«selectors», |«(?!for»)([^»]+)»")
_LABEL: Final = "(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
_NO_SELECTOR: Final = (
    *("instance", "pod", "container", "endpoint", "node_id", "portfolio_id", "loss", "job"),
    *("state", "status", "component", "reason", "part", "error", "severity", "alertname"),
)
"""Labels that not all series of an installation have, and the job, which has a setting of its own."""
_SELECTOR: Final = rf"""(?!(?:{"|".join(_NO_SELECTOR)})\b){_LABEL}(=~|!~|!=|=)"(\\.|[^"\\\n])*\""""

Values = dict[str, Any]
"""A rule, or checked values by the settings' names, with the default where a setting is not given."""


class Setting(NamedTuple):
    """A setting of the rules.

    Attributes:
        parse: Returns the checked value of what stands in the file; a ValueError says what would be right.
        default: What would stand in the file; None without a default.
        meaning: What it is, in Markdown.
        form: The type of what stands in the file.
    """

    parse: Callable[[Any], Any]
    default: Any
    meaning: str
    form: type = str


def _matching(pattern: str, wanted: str, text: str) -> str:
    """Return a text that matches a pattern; `wanted` says what would be right."""
    require(re.fullmatch(pattern, text, re.ASCII), wanted)
    return text


def _duration(text: str) -> str:
    return format_duration(parse_duration(text))


def _labels(given: Mapping[str, Any]) -> dict[str, str]:
    names = rf"(?!(alertname|severity|node_id|loss)$){_LABEL}"
    wanted = "not labels with a text each; alertname, severity, node_id and loss cannot be set here"
    require(all(re.fullmatch(names, name) and isinstance(text, str) for name, text in given.items()), wanted)
    return dict(given)


def _selectors(given: Sequence[object]) -> str:
    wanted = (
        'not selectors such as cluster="tokyo" or environment=~"live|paper", of labels that all series of an'
        " installation have; job is a setting of its own"
    )
    require(all(re.fullmatch(_SELECTOR, str(each), re.ASCII) for each in given), wanted)
    return ", ".join(map(str, given))


def _number(text: str) -> float:
    require(re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?(e-?[0-9])?", text), "must be a number of at least 0")
    return float(text)


_address = partial(_matching, r"https?://[^\s/?#@]+(/[^\s?#]*)?", "not an address such as https://grafana.example.org")

LINKS: Final = {
    "runbooks": Setting(
        _address,
        None,
        "address before an alert's name, such as https://exporter.example.org/runbooks for the runbooks"
        " that the exporter itself shows, with its `--web.external-url`",
    ),
    "runbook-ending": Setting(str, None, "text after the alert's name in these links, such as .md"),
    "dashboards": Setting(_address, None, "Grafana's address, put before the dashboards' paths"),
    "installation-label": Setting(
        partial(_matching, _LABEL, "not a label's name"),
        "cluster",
        "the label by which the dashboards tell installations apart",
    ),
}
CHANGES: Final = {
    "enabled": Setting(switch, "true", "false leaves the alert out"),
    "severity": Setting(
        partial(_matching, "critical|warning|info|none", "must be critical, warning, info or none"),
        None,
        "another severity",
    ),
    "for": Setting(_duration, None, "another `for`"),
    "keep-firing-for": Setting(_duration, None, "another `keep_firing_for`"),
    "labels": Setting(_labels, {}, "more labels of this alert", dict),
    "thresholds": Setting(dict, {}, "numbers by their names; the table below lists them", dict),
}
SETTINGS: Final = {
    "labels": Setting(_labels, {}, "more labels of every alert, such as team: trading", dict),
    "selectors": Setting(_selectors, [], 'conditions for every series, such as cluster="tokyo", in a list', list),
    "job": Setting(
        partial(_matching, r'[^"\\{}\x00-\x1f\x7f]+', "not the name of a scrape job"),
        "ginkgo-exporter",
        "name of the job that scrapes the exporters",
    ),
    "scrape-interval": Setting(
        partial(
            _matching,
            "1m|60s|[1-5][0-9]s|[1-9]s",
            "must be between 1s and 1m: with rarer scrapes the rules see too little",
        ),
        None,
        "time between two scrapes, and then also between two evaluations of each group; above 30s all times"
        " under 5m are longer in proportion",
    ),
    "heartbeat-ttl": Setting(parse_duration, "30s", "the exporter's `--heartbeat.ttl`"),
    "queue-length": Setting(whole, "1000", "events that a node's queue holds"),
}
"""All settings but those of ``links`` and of each alert, which have tables of their own."""
_NUMBER: Final = Setting(_number, None, "a threshold")


@cache
def template() -> dict[str, Any]:
    """Return the template: the ``thresholds`` by alert and name, and the ``groups`` of rules. Do not change it."""
    content: dict[str, Any] = yaml.safe_load(bundled(TEMPLATE).read_text(encoding="utf-8"))
    return content


def usual(threshold: Mapping[str, Any], settings: Mapping[str, Any] = _USUAL) -> float:
    """Return the number of a threshold of the template that is not set.

    Args:
        threshold: The threshold.
        settings: The number of events that a queue holds, and for how many seconds a heartbeat lives.
    """
    number: float = threshold["default"] * settings.get(threshold.get("share-of", ""), 1)
    return number


def rules_text(path: Path | None) -> str:
    """Return the rule file with the settings of a file; the usual rules if there is no file.

    Raises:
        SettingsError: The file cannot be used. The message has a line for each mistake.
    """
    content, errors = template(), list[str]()
    try:
        given = read_yaml(path) if path else None
    except ValueError as error:
        raise SettingsError(f"--config.file: {path}: {error}") from None
    alerts = [rule["alert"] for group in content["groups"] for rule in group["rules"] if "alert" in rule]
    numbers = content["thresholds"]
    changes = {alert: CHANGES | {"thresholds": dict.fromkeys(numbers.get(alert, ()), _NUMBER)} for alert in alerts}
    settings = _checked(given, SETTINGS | {"links": LINKS, "alerts": changes}, "", errors)
    if errors:
        raise SettingsError("\n".join(f"{path}: {error}" for error in errors))
    filled = _filler(settings, numbers)
    left_out = {alert for alert, change in settings["alerts"].items() if not change["enabled"]}
    interval = {"interval": settings["scrape-interval"]} if settings["scrape-interval"] else {}
    groups = []
    for group in content["groups"]:
        rules = [_configured(rule, settings, filled) for rule in group["rules"] if rule.get("alert") not in left_out]
        if rules:
            groups.append(interval | group | {"rules": rules})
    return _HEAD + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _checked(given: Any, known: Mapping[str, Any], place: str, errors: list[str]) -> Values:
    """Return the checked values of a mapping. A line for each mistake is added to the errors.

    Args:
        given: The mapping; None without one.
        known: A setting or a further table for each name.
        place: What stands before the names in the errors.
        errors: Takes the mistakes.
    """
    if not isinstance(given, dict | None):
        errors.append(f"{place.rstrip('.') or '--config.file'}: not a mapping")
        given = None
    texts, made = given or {}, Values()
    errors += [f"{place}{name}: unknown setting{nearest(name, known)}" for name in texts if name not in known]
    for name, setting in known.items():
        value = texts.get(name)
        if not isinstance(setting, Setting):
            made[name] = _checked(value, setting, f"{place}{name}.", errors)
            continue
        if name not in texts:
            value = setting.default
        try:
            require(
                value is setting.default or isinstance(value, setting.form),
                "must be a text, or a list or a mapping where the documentation says so",
            )
            made[name] = None if value is None else setting.parse(value)
        except ValueError as error:
            errors.append(f"{place}{name}: {error}")
    return made


def _filler(settings: Values, thresholds: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that fills the names between « and » into a text, all but «for»."""
    texts = {
        "job": settings["job"],
        "installation-label": settings["links"]["installation-label"],
        "queue-length": f"{settings['queue-length']:,}",
    }
    for alert, known in thresholds.items():
        for name, threshold in known.items():
            given = settings["alerts"][alert]["thresholds"][name]
            number = usual(threshold, settings) if given is None else given
            texts[f"{alert}.{name}"] = f"{number:.12g}"
    stretch = max(parse_duration(settings["scrape-interval"] or "0") / _USUAL_INTERVAL, 1)
    selectors = settings["selectors"]

    def text_of(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0].replace("«selectors»", selectors) if selectors else ""
        return texts.get(match[1]) or format_duration(parse_duration(match[1]) * stretch)

    return lambda text: _NAME.sub(text_of, text)


def _configured(rule: Values, settings: Values, filled: Callable[[str], str]) -> Values:
    """Return a rule of the template as the settings want it."""
    made = {name: filled(value) if isinstance(value, str) else value for name, value in rule.items()}
    if "alert" not in rule:
        return made
    change, links = settings["alerts"][rule["alert"]], settings["links"]
    made |= {key.replace("-", "_"): change[key] for key in ("for", "keep-firing-for") if change[key]}
    severity = {"severity": change["severity"] or rule["labels"]["severity"]}
    made["labels"] = rule["labels"] | severity | settings["labels"] | change["labels"]
    texts = {name: filled(text).replace("«for»", made.get("for", "")) for name, text in rule["annotations"].items()}
    if links["runbooks"]:
        # The exporter fills the node into its runbooks. It pushes GinkgoNodeOffline too, and knows no functions there.
        quoted = "" if rule["alert"] == "GinkgoNodeOffline" else " | urlquery"
        node = f"?node_id={{{{ $labels.node_id{quoted} }}}}" if "$labels.node_id" in str(texts) else ""
        texts["runbook_url"] = f"{links['runbooks'].rstrip('/')}/{rule['alert']}{links['runbook-ending'] or node}"
    texts["dashboard_url"] = (links["dashboards"] or "").rstrip("/") + texts["dashboard_url"]
    return made | {"annotations": texts}


class _Dumper(yaml.SafeDumper):
    """Writes queries as they are."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)
)
