"""The rules and Alertmanager's example, made faster for tests with real servers: all durations are divided."""

import re
from typing import Any

import yaml
from alert_rules import ALERTS, RULES

from exporter.settings import format_duration, parse_duration

_DURATION = r"[1-9][0-9]*[smh](?:[0-9]+[smh])*"


def faster(duration: str, speed: float) -> str:
    """Return a duration of production as it is in a test that runs so many times as fast."""
    return format_duration(parse_duration(duration) / speed)


def faster_rules(speed: float) -> str:
    """Return the rule file with durations that are so many times as fast."""
    before = r"(\[|\[\w+:|offset |for: |interval: )"
    return re.sub(rf"{before}({_DURATION})\b", lambda match: match[1] + faster(match[2], speed), RULES.read_text())


def faster_routes(speed: float, url: str) -> dict[str, Any]:
    """Return Alertmanager's example with faster durations, at any hour, and with one webhook as all receivers."""
    text = (ALERTS / "alertmanager.example.yml").read_text()
    waits = rf"(group_wait: |group_interval: )({_DURATION})"
    config: dict[str, Any] = yaml.safe_load(re.sub(waits, lambda match: match[1] + faster(match[2], speed), text))
    config["global"] = {"resolve_timeout": faster("5m", speed)}
    for route in config["route"]["routes"]:
        route.pop("mute_time_intervals", None)
    hook = {"webhook_configs": [{"url": url, "send_resolved": True}]}
    config["receivers"] = [{"name": receiver["name"], **hook} for receiver in config["receivers"]]
    return config
