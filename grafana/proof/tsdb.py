"""A story in a real Prometheus: its samples, the recorded series over them, and the alerts that fire."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from grafana.proof.history import openmetrics
from grafana.proof.lives import END, LENGTH, STEP
from grafana.proof.stories import Story
from lab import monitoring

START: Final = END - LENGTH
BLOCKS: Final = "prometheus"
"""The folder of the blocks."""

Rule = dict[str, Any]


class Prometheus(monitoring.Prometheus):
    """A Prometheus over the blocks in its folder, without any scrape.

    Args:
        folder: Where the blocks are, below ``BLOCKS``.
        lookback: Seconds for which the last sample of a series counts.
    """

    def __init__(self, folder: Path, lookback: int) -> None:
        # A Prometheus that scrapes marks the end of a series at once. promtool's blocks have no such marks,
        # so here a series ends when it is missing from two scrapes in a row.
        kept = ("--storage.tsdb.retention.time=100y", f"--query.lookback-delta={lookback}s")
        super().__init__(folder, {}, *kept, "--web.enable-admin-api", "--web.cors.origin=.*", "--log.level=warn")

    def get(self, path: str, **parameters: str | float) -> Any:
        """Return the field `data` of the API's answer; raise a RuntimeError if the API answers with an error."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=60) as reply:  # noqa: S310 - our own server
                return json.load(reply)["data"]
        except URLError as error:
            detail = error.read().decode() if hasattr(error, "read") else str(error)
            raise RuntimeError(f"{path} {parameters}: {detail}") from error

    def instant(self, query: str, at: float = END) -> list[dict[str, Any]]:
        """Return the vector that a query gives at a time."""
        vector: list[dict[str, Any]] = self.get("query", query=query, time=at)["result"]
        return vector

    def over_time(self, query: str, step: float = STEP, start: float = START) -> list[dict[str, Any]]:
        """Return the matrix that a query gives over the hour."""
        matrix: list[dict[str, Any]] = self.get("query_range", query=query, start=start, end=END, step=step)["result"]
        return matrix


@contextmanager
def running(folder: Path, lookback: int = 2 * STEP) -> Iterator[Prometheus]:
    """Run Prometheus over the blocks in `folder` until the context ends; see ``Prometheus``."""
    prometheus = Prometheus(folder, lookback)
    try:
        yield prometheus
    finally:
        prometheus.stop()


def load(stories: Sequence[Story], rules: Path, folder: Path) -> None:
    """Write the stories, their recorded series and their alerts as blocks under `folder`."""
    samples = folder / "samples.om"
    folder.mkdir(parents=True, exist_ok=True)
    with samples.open("wb") as file:
        file.writelines(openmetrics(stories))
    _write_blocks(samples, folder)
    groups = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    for number, layer in enumerate(_layers(groups)):
        path = folder / f"layer-{number}.yml"
        path.write_text(yaml.safe_dump({"groups": layer}), encoding="utf-8")
        _record(path, folder)
    _write_alerts([rule for group in groups for rule in group["rules"] if "alert" in rule], folder)


def _record(rules: Path, folder: Path) -> None:
    recorded = folder / "recorded"
    with running(folder) as prometheus:
        _run(
            "promtool", "tsdb", "create-blocks-from", "rules", f"--start={START}", f"--end={END}",
            f"--url={prometheus.url}", f"--eval-interval={STEP}s", f"--output-dir={recorded}", rules.name,
            cwd=folder,  # the times of evaluation depend on the path of the file
        )  # fmt: skip
    for block in recorded.iterdir():
        shutil.move(block, folder / BLOCKS / block.name)
    recorded.rmdir()


def _layers(groups: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the recording rules in layers: promtool does not know which rule reads which other.

    The rules of a layer read no rule of the same layer or a later layer.
    """
    waiting: dict[str, Rule] = {rule["record"]: rule for group in groups for rule in group["rules"] if "record" in rule}
    layers: list[list[dict[str, Any]]] = []
    while waiting:
        ready = [
            rule
            for rule in waiting.values()
            if not any(re.search(rf"\b{name}\b", rule["expr"]) for name in waiting if name != rule["record"])
        ]
        if not ready:
            raise ValueError(f"recording rules in a circle: {sorted(waiting)}")
        layers.append([{"name": f"layer{len(layers)}", "rules": ready}])
        for rule in ready:
            del waiting[rule["record"]]
    return layers


def _write_alerts(alerts: Sequence[Rule], folder: Path) -> None:
    firing: list[str] = []
    since: list[str] = []
    with running(folder) as prometheus:
        for alert in alerts:
            waits = _seconds(alert.get("for", "0s")), _seconds(alert.get("keep_firing_for", "0s"))
            # Two series that differ in the name of their metric only are one alert.
            true_at: dict[tuple[tuple[str, str], ...], list[float]] = {}
            for series in prometheus.over_time(alert["expr"]):
                key = tuple(sorted(_alert_labels(alert, series["metric"]).items()))
                true_at.setdefault(key, []).extend(float(at) for at, _ in series["values"])
            for key, times in true_at.items():
                labels = dict(key)
                for at, began in _fired(times, *waits):
                    stamp = f"{at:.0f}\n"
                    firing.append(f"ALERTS{_braced(labels | {'alertstate': 'firing'})} 1 {stamp}")
                    since.append(f"ALERTS_FOR_STATE{_braced(labels)} {began:.0f} {stamp}")
    if not firing:
        return
    file = folder / "alerts.om"
    text = ["# TYPE ALERTS gauge\n", *firing, "# TYPE ALERTS_FOR_STATE gauge\n", *since, "# EOF\n"]
    file.write_text("".join(text), encoding="utf-8")
    _write_blocks(file, folder)


def _alert_labels(alert: Rule, metric: Mapping[str, str]) -> dict[str, str]:
    fixed = {name: text for name, text in alert.get("labels", {}).items() if "{{" not in text}
    return {**metric, **fixed, "__name__": "", "alertname": alert["alert"]}


def _fired(true_at: Sequence[float], wait: float, keep: float) -> Iterator[tuple[float, float]]:
    """Yield the times at which an alert fires, each with the time at which its expression became true."""
    true, began, until = set(true_at), 0.0, 0.0
    firing = False
    at = START
    while at <= END:
        if at in true:
            if not firing and at - STEP not in true:
                began = at
            firing = firing or at - began >= wait
            until = at + keep
        elif at > until:
            firing = False
        if firing:
            yield at, began
        at += STEP


def _braced(labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()) if value)
    return f"{{{inner}}}"


def _seconds(duration: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    return float(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", duration)))


def _write_blocks(samples: Path, folder: Path) -> None:
    _run("promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(samples), str(folder / BLOCKS))


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(  # noqa: S603 - promtool, our own arguments
        command, capture_output=True, text=True, check=False, cwd=cwd
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])}: {done.stderr or done.stdout}")
