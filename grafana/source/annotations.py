"""Marks over all graphs: deaths, mass losses, changes of the plan, restarts, and alerts."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import AnnotationQuery

from grafana.source.palette import BAD, LATE, PURPLE, SKY
from grafana.source.queries import INSTALLATION, OUR_ALERTS, alerts, highest, once, select
from grafana.source.targets import DATASOURCE

_HERE: Final = f"{{{{{INSTALLATION}}}}}"
_RECENT: Final = "time() - 60"


class PrometheusEvents(AnnotationQuery):
    """An annotation from PromQL. The SDK's own type supports only Grafana's built-in annotations."""

    def __init__(self, name: str, expression: str, *, title: str, text: str = _HERE, colour: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, hide=False, icon_color=colour)
        self._expression = expression
        self._title = title
        self._text = text

    def to_json(self) -> dict[str, object]:
        """Return the SDK's fields, and the fields that Grafana's Prometheus data source reads."""
        return {
            **super().to_json(),
            "expr": self._expression,
            "step": "15s",
            "titleFormat": self._title,
            "textFormat": self._text,
            "useValueForTime": False,
        }


def firing_alerts(*matchers: str) -> PrometheusEvents:
    """Mark the times at which alerts fired: one mark for each name and installation.

    With `matchers`, which choose nodes, there is a mark for each node too.
    """
    labels = ", ".join((INSTALLATION, "alertname", "severity", *(["node_id"] if matchers else [])))
    firing = alerts("ALERTS", OUR_ALERTS, 'alertstate="firing"', *matchers)
    return PrometheusEvents(
        "Alerts",
        f"count by ({labels}) ({firing})",
        title="{{alertname}} ({{severity}})",
        text=f"{{{{node_id}}}} {_HERE}",
        colour=BAD,
    )


def deaths(*matchers: str) -> PrometheusEvents:
    """Mark the deaths of nodes; a mass loss has a mark of its own."""
    up, before = (f"{select('ginkgo_node_up', *matchers)}{shift}" for shift in ("", " offset 1m"))
    lost = select("ginkgo_node_mass_lost", *matchers)
    return PrometheusEvents(
        "Deaths",
        f"{once(f'{up} == 0 and {before} == 1')} unless {once(lost)}",
        title="{{node_id}} died",
        colour=BAD,
    )


def mass_losses() -> PrometheusEvents:
    """Mark how long a mass loss lasts."""
    return PrometheusEvents(
        "Mass losses", highest(select("ginkgo_node_mass_lost")), title="Mass loss of nodes", colour=PURPLE
    )


def plan_changes() -> PrometheusEvents:
    """Mark the changes of the plan."""
    changed = highest(select("ginkgo_plan_last_change_timestamp_seconds"))
    return PrometheusEvents("Plan changes", f"{changed} > {_RECENT}", title="The plan changed", colour=SKY)


def exporter_restarts() -> PrometheusEvents:
    """Mark the starts of exporters."""
    started = highest(select("process_start_time_seconds"), "instance")
    return PrometheusEvents(
        "Exporter restarts", f"{started} > {_RECENT}", title="Exporter {{instance}} started", colour=LATE
    )


def node_restarts(*matchers: str) -> PrometheusEvents:
    """Mark the times at which a node's counters began at 0 again."""
    counter = select("ginkgo_node_events_total", *matchers)
    return PrometheusEvents(
        "Restarts",
        f"{once(f'resets({counter}[1m])')} > 0",
        title="Restart",
        text=f"{{{{node_id}}}} counts from 0 again {_HERE}",
        colour=LATE,
    )
