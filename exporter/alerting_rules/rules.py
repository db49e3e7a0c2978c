"""Fills the template of the alert rules with an operator's settings."""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from exporter.bundled import bundled
from exporter.errors import SettingsError
from exporter.settings import format_duration, nearest, parse_duration
from exporter.settings.yaml_file import read_yaml

TEMPLATE: Final = "alerts/ginkgo.rules.template.yml"
"""The template of all rules. Its head says what its names between « and » stand for."""

_HEAD: Final = "# Written by `ginkgo-exporter rules`: change its settings, and not this file.\n"
_USUAL_INTERVAL: Final = 30.0
"""Seconds of the longest scrape interval for which the template's own times are right."""
_PUSHED_WITH_NODE: Final = "GinkgoNodeOffline"
"""The exporter pushes this alert too, and fills in labels only if they have no function behind them."""
_KEYS: Final = ("alert", "expr", "for", "keep_firing_for", "labels")
_LONG: Final = 85
"""Characters of a text from which on it is folded."""
_WIDTH: Final = 104
"""Characters after which a folded line ends. Rules are indented by eight more."""
_COMMENT: Final = re.compile(r"^(\n?(?: *#.*\n)+) *- (?:name|alert|record): (\S+)$", re.MULTILINE)
_NAME: Final = re.compile(r"\{«selectors»\}|«selectors», |«([^»]+)»")
_LABEL: Final = "(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
_NO_SELECTOR: Final = (
    *("instance", "pod", "container", "endpoint", "node_id", "portfolio_id", "loss", "job"),
    *("state", "status", "component", "reason", "part", "error", "severity", "alertname"),
)
"""Labels that not all series of an installation have, and the job, which has a setting of its own."""
_SELECTOR: Final = rf"""(?!(?:{"|".join(_NO_SELECTOR)})\b){_LABEL}(=~|!~|!=|=)"(\\.|[^"\\\n])*\""""

Rule = dict[str, Any]
"""A rule, as it stands in a rule file."""
Values = dict[str, Any]
"""Checked values by the settings' names; the default where a setting is not given."""


class Setting(NamedTuple):
    """A setting of the rules.

    Attributes:
        parse: Returns the checked value of what stands in the file; a ValueError says what would be right.
        default: The value without the setting.
        meaning: What it is, in Markdown.
    """

    parse: Callable[[Any], Any]
    default: Any
    meaning: str


def _text(value: object) -> str:
    if value is None or isinstance(value, dict | list):
        raise ValueError("not a text")
    return str(value)


def _matching(pattern: str, wanted: str) -> Callable[[object], str]:
    """Return the parser of a text that matches a pattern; `wanted` says what would be right."""

    def parse(value: object) -> str:
        if not re.fullmatch(pattern, _text(value), re.ASCII):
            raise ValueError(wanted)
        return _text(value)

    return parse


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping")  # noqa: TRY004 - of a user's file
    return {str(name): each for name, each in value.items()}


def _duration(value: object) -> str:
    return format_duration(parse_duration(_text(value)))


def _labels(value: object) -> dict[str, str]:
    name = _matching(
        rf"(?!(alertname|severity|node_id|loss)$){_LABEL}",
        "not names of labels; alertname, severity, node_id and loss cannot be set here",
    )
    return {name(label): _text(text) for label, text in _mapping(value).items()}


def _selectors(value: object) -> list[str]:
    selector = _matching(
        _SELECTOR,
        'not selectors such as cluster="tokyo" or environment=~"live|paper", of labels that all series of an'
        " installation have; job is a setting of its own",
    )
    return [selector(each) for each in (value if isinstance(value, list) else [value])]


_number = _matching(r"[0-9]{1,15}(\.[0-9]*)?(e-?[0-9])?", "must be a number of at least 0")
_address = _matching(r"https?://[^\s/?#@]+(/[^\s?#]*)?", "not an address such as https://grafana.example.org")

LINKS: Final = {
    "runbooks": Setting(
        _address,
        None,
        "address before an alert's name, such as https://exporter.example.org/runbooks for the runbooks"
        " that the exporter itself shows, with its `--web.external-url`",
    ),
    "runbook-ending": Setting(_text, "", "text after the alert's name in these links, such as .md"),
    "dashboards": Setting(_address, "", "Grafana's address, put before the dashboards' paths"),
    "installation-label": Setting(
        _matching(_LABEL, "not a label's name"), "cluster", "the label by which the dashboards tell installations apart"
    ),
}
CHANGES: Final = {
    "enabled": Setting(
        _matching("(?i:true|false|on|off|yes|no)", "must be true or false"), "true", "false leaves the alert out"
    ),
    "severity": Setting(
        _matching("critical|warning|info|none", "must be critical, warning, info or none"), None, "another severity"
    ),
    "for": Setting(_duration, None, "another `for`"),
    "keep-firing-for": Setting(_duration, None, "another `keep_firing_for`"),
    "labels": Setting(_labels, {}, "more labels of this alert"),
    "thresholds": Setting(_mapping, {}, "numbers by their names; the table below lists them"),
}
SETTINGS: Final = {
    "links": Setting(_mapping, {}, "links in the alerts"),
    "labels": Setting(_labels, {}, "more labels of every alert, such as team: trading"),
    "selectors": Setting(_selectors, [], 'conditions for every series, such as cluster="tokyo", in a list'),
    "job": Setting(
        _matching(r'[^"\\{}\x00-\x1f\x7f]+', "not the name of a scrape job"),
        "ginkgo-exporter",
        "name of the job that scrapes the exporters",
    ),
    "scrape-interval": Setting(
        _matching(
            "1m|60s|[1-5][0-9]s|[1-9]s", "must be between 1s and 1m: with rarer scrapes the rules see too little"
        ),
        None,
        "time between two scrapes, and then also between two evaluations of each group; above 30s all times"
        " under 5m are longer in proportion",
    ),
    "heartbeat-ttl": Setting(_duration, "30s", "the exporter's `--heartbeat.ttl`"),
    "queue-length": Setting(
        _matching("[1-9][0-9]{1,5}", "must be a whole number between 10 and 999999"),
        "1000",
        "events that a node's queue holds",
    ),
    "alerts": Setting(_mapping, {}, "changes by alert"),
}
"""All settings; those of ``links`` and of each alert have tables of their own."""


def template() -> dict[str, Any]:
    """Return the template: the ``thresholds`` by alert and name, and the ``groups`` of rules."""
    content: dict[str, Any] = yaml.safe_load(bundled(TEMPLATE).read_text(encoding="utf-8"))
    return content


def usual(threshold: Mapping[str, Any], queue_length: int = 1000, heartbeat_ttl: float = 30) -> float:
    """Return the number of a threshold of the template that is not set.

    Args:
        threshold: The threshold.
        queue_length: Number of events that a node's queue holds.
        heartbeat_ttl: Seconds for which a heartbeat lives.
    """
    wholes = {"queue-length": queue_length, "heartbeat-ttl": heartbeat_ttl}
    number: float = threshold["default"] * wholes.get(threshold.get("share-of", ""), 1)
    return number


def rules_text(path: Path | None) -> str:
    """Return the rule file with the settings of a file; the usual rules if there is no file.

    Raises:
        SettingsError: The file cannot be used. The message has a line for each mistake.
    """
    content = template()
    settings = _checked(path, content)
    filled = _filler(settings, content["thresholds"])
    groups = []
    for group in content["groups"]:
        rules = [made for rule in group["rules"] if (made := _configured(rule, settings, filled))]
        if rules:
            groups.append({"interval": settings["scrape-interval"]} | group | {"rules": rules})
    return ("" if path is None else _HEAD) + _written(groups)


def _checked(path: Path | None, content: Mapping[str, Any]) -> Values:
    errors: list[str] = []
    try:
        given = _mapping((read_yaml(path) or {}) if path else {})
    except ValueError as error:
        raise SettingsError(f"--config.file: {path}: {error}") from None
    settings = _section(given, SETTINGS, "", errors)
    settings["links"] = _section(settings["links"], LINKS, "links.", errors)
    alerts = {rule["alert"] for group in content["groups"] for rule in group["rules"] if "alert" in rule}
    known = dict.fromkeys(sorted(alerts), Setting(_mapping, {}, ""))
    settings["alerts"] = _section(settings["alerts"], known, "alerts.", errors, "alert")
    for alert, change in settings["alerts"].items():
        made = settings["alerts"][alert] = _section(change, CHANGES, f"alerts.{alert}.", errors)
        numbers = {name: Setting(_number, None, "") for name in content["thresholds"].get(alert, {})}
        made["thresholds"] = _section(made["thresholds"], numbers, f"alerts.{alert}.thresholds.", errors, "threshold")
    if errors:
        raise SettingsError("\n".join(f"{path}: {error}" for error in errors))
    return settings


def _section(
    given: Mapping[str, Any], known: Mapping[str, Setting], at: str, errors: list[str], kind: str = "setting"
) -> Values:
    """Return the checked values of a mapping. Mistakes are added to the errors, after the place of the mapping."""
    made = {name: setting.default for name, setting in known.items()}
    for name, value in given.items():
        if name not in known:
            listed = f"; there are {', '.join(known)}" if known else f"; there is no {kind} here"
            errors.append(f"{at}{name}: unknown {kind}{nearest(name, known) or listed}")
            continue
        try:
            made[name] = known[name].parse(value)
        except ValueError as error:
            errors.append(f"{at}{name}: {error}")
    return made


def _filler(settings: Values, thresholds: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that fills the names between « and » into a text, all but «for»."""
    queue_length, ttl = int(settings["queue-length"]), parse_duration(settings["heartbeat-ttl"])
    texts = {
        "job": settings["job"],
        "installation-label": settings["links"]["installation-label"],
        "queue-length": f"{queue_length:,}",
        "for": "«for»",
    }
    for alert, known in thresholds.items():
        for name, threshold in known.items():
            given = settings["alerts"][alert]["thresholds"][name]
            number = usual(threshold, queue_length, ttl) if given is None else float(given)
            texts[f"{alert}.{name}"] = f"{number:.12g}"
    stretch = max(parse_duration(settings["scrape-interval"] or "0") / _USUAL_INTERVAL, 1)
    selectors = ", ".join(settings["selectors"])

    def text_of(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0].replace("«selectors»", selectors) if selectors else ""
        return texts.get(match[1]) or format_duration(parse_duration(match[1]) * stretch)

    return lambda text: _NAME.sub(text_of, text)


def _configured(rule: Rule, settings: Values, filled: Callable[[str], str]) -> Rule | None:
    """Return a rule of the template as the settings want it; None if it is left out."""
    made = {name: filled(value) if isinstance(value, str) else value for name, value in rule.items()}
    if "alert" not in rule:
        return made
    change = settings["alerts"][rule["alert"]]
    if change["enabled"].lower() in ("false", "off", "no"):
        return None
    times = {"for": change["for"], "keep_firing_for": change["keep-firing-for"]}
    made |= {name: time for name, time in times.items() if time is not None}
    severity = {"severity": change["severity"]} if change["severity"] else {}
    made["labels"] = rule["labels"] | severity | settings["labels"] | change["labels"]
    texts = {name: filled(text).replace("«for»", made.get("for", "")) for name, text in rule["annotations"].items()}
    links = settings["links"]
    if links["runbooks"]:
        page = links["runbook-ending"]
        if not page and "$labels.node_id" in str(texts):  # the exporter fills the node into its runbooks
            page = f"?node_id={{{{ $labels.node_id{'' if rule['alert'] == _PUSHED_WITH_NODE else ' | urlquery'} }}}}"
        texts["runbook_url"] = f"{links['runbooks'].rstrip('/')}/{rule['alert']}{page}"
    texts["dashboard_url"] = links["dashboards"].rstrip("/") + texts["dashboard_url"]
    return {key: made[key] for key in _KEYS if key in made} | {"annotations": texts}


class _Dumper(yaml.SafeDumper):
    """Writes queries as they are, and folds long texts."""


def _styled(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else ">" if len(text) > _LONG and " " in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _styled)


def _written(groups: Iterable[Mapping[str, Any]]) -> str:
    """Return a rule file with the template's comments."""
    source = bundled(TEMPLATE).read_text(encoding="utf-8")
    comments = {match[2]: match[1] for match in _COMMENT.finditer(source)}
    written = [source.partition("\n\n")[0], "\n\ngroups:\n"]
    for group in groups:
        written.append(f"{comments.get(group['name'], chr(10))}  - name: {group['name']}\n")
        written += [f"    interval: {group['interval']}\n"] if group["interval"] else []
        written.append("    rules:\n")
        for rule in group["rules"]:
            name = rule.get("alert") or rule["record"]
            text = yaml.dump(rule, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
            written.append(f"{comments.get(name, '')}      - {textwrap.indent(text, ' ' * 8)[8:]}")
    return "".join(written)
