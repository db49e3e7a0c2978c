"""Every expression of a written dashboard as Grafana would send it, with its variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grafana.proof.lives import END, LENGTH, STEP
from grafana.proof.tsdb import Prometheus
from grafana.source.availability import MARKET

# Over one hour every panel gets one point for each scrape. Grafana then takes four scrapes as the rate interval.
BUILT_IN: Final = {
    "__interval": f"{STEP}s",
    "__rate_interval": f"{4 * STEP}s",
    "__range": f"{LENGTH}s",
}


@dataclass(frozen=True)
class Expression:
    """One query, and its place in a dashboard."""

    dashboard: str
    where: str
    text: str
    kind: str
    panel: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the place, which a test's name contains."""
        return f"{self.dashboard}: {self.where}"

    def run(self, prometheus: Prometheus, early: int = 0, **variables: str) -> list[Any]:
        """Return Prometheus's answer.

        Args:
            prometheus: Where to ask.
            early: Seconds before the hour's end, and before the usual moments of a range.
            variables: The chosen values; a missing variable chooses all.
        """
        text = fill(self.text, **variables)
        if self.kind == "variable":
            return _label_values(prometheus, text)
        if self.kind == "instant":
            return prometheus.instant(text, END - early)
        return prometheus.over_time(text, start=END - LENGTH - early)


def fill(text: str, **variables: str) -> str:
    """Return the expression with its variables filled in."""
    known = {"cluster": ".*", "job": ".+", "instance": ".+", "node": ".+", "market": MARKET, **BUILT_IN, **variables}
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda match: known[match[1] or match[2]], text)


def read(path: Path) -> dict[str, Any]:
    """Return a dashboard as it is written in its file."""
    dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


def expressions(dashboard: Mapping[str, Any]) -> Iterator[Expression]:
    """Yield all queries of panels, variables and annotations."""
    title = dashboard["title"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield Expression(
                title,
                f"{panel['title']} {target['refId']}",
                target["expr"],
                "instant" if target.get("instant") else "range",
                panel,
            )
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield Expression(title, f"variable {variable['name']}", variable["query"], "variable", variable)
    for annotation in dashboard["annotations"]["list"]:
        yield Expression(title, f"annotation {annotation['name']}", annotation["expr"], "range", annotation)


def _label_values(prometheus: Prometheus, query: str) -> list[Any]:
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    if match is None:
        raise ValueError(f"not a query for label values: {query}")
    values: list[Any] = prometheus.get(f"label/{match[2]}/values", **{"match[]": match[1]})
    return values
