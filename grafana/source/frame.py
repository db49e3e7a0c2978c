"""The parts that the three dashboards have in common: variables, links, annotations, numbering."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.dashboard import Dashboard as BuiltDashboard

from grafana.source.palette import BAD, LATE
from grafana.source.panels import DATASOURCE
from grafana.source.queries import select

TAG: Final = "ginkgo"
FLEET: Final = "ginkgo-fleet"
OUR_ALERTS: Final = 'alertname=~"Ginkgo.*", alertname!="GinkgoWatchdog"'
"""Matchers of all alerts but the watchdog, which always fires."""
NODE: Final = "ginkgo-node"
EXPORTER: Final = "ginkgo-exporter"

# The schema of Grafana 10.4. A newer Grafana migrates a dashboard up from it; no Grafana migrates down.
SCHEMA_VERSION: Final = 39

OPEN_NODE: Final = (
    f"/d/{NODE}?${{__url_time_range}}&${{datasource:queryparam}}&${{job:queryparam}}"
    "&${instance:queryparam}&var-node=${__value.raw:percentencode}"
)


class PrometheusEvents(AnnotationQuery):
    """An annotation from PromQL. The SDK's own type supports only Grafana's built-in annotations."""

    def __init__(self, name: str, expression: str, *, title: str, text: str, colour: str) -> None:
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
    """Mark the times at which alerts fired."""
    chosen = ", ".join((OUR_ALERTS, 'alertstate="firing"', *matchers))
    return PrometheusEvents(
        "Alerts",
        f"ALERTS{{{chosen}}}",
        title="{{alertname}} ({{severity}})",
        text="{{node_id}}",
        colour=BAD,
    )


def begun_alerts() -> PrometheusEvents:
    """Mark the times at which any alert of a name fired: one mark for each name, not for each node."""
    return PrometheusEvents(
        "Alerts",
        f'count by (alertname, severity) (ALERTS{{{OUR_ALERTS}, alertstate="firing"}})',
        title="{{alertname}} ({{severity}})",
        text="",
        colour=BAD,
    )


def restarts(*matchers: str) -> PrometheusEvents:
    """Mark the times at which a node's counters began at 0 again."""
    counter = select("ginkgo_node_events_total", *matchers)
    return PrometheusEvents(
        "Restarts",
        f"max without (instance, pod, container, endpoint) (resets({counter}[1m])) > 0",
        title="Restart",
        text="{{node_id}} counts from 0 again",
        colour=LATE,
    )


def shell(  # noqa: PLR0913 - a declaration in keywords
    uid: str,
    title: str,
    description: str,
    content: Sequence[Builder[Panel] | Row],
    *,
    with_node: bool = False,
    annotations: Sequence[AnnotationQuery] = (),
) -> BuiltDashboard:
    """Build a dashboard with this project's variables and links, and number its panels."""
    builder = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .link(
            DashboardLink("Ginkgo")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
            .icon("external link")
        )
        .with_variable(_datasource())
        .with_variable(_labels("job", "Job", "ginkgo_redis_up"))
        .with_variable(_labels("instance", "Instance", 'ginkgo_redis_up{job=~"$job"}'))
    )
    if with_node:
        builder.with_variable(_labels("node", "Node", select("ginkgo_node_up"), label="node_id"))
    for part in content:
        if isinstance(part, Row):
            builder.with_row(part)
        else:
            builder.with_panel(part)
    dashboard = builder.build()
    dashboard.schema_version = SCHEMA_VERSION
    if dashboard.annotations is not None:
        dashboard.annotations.list_val = list(annotations)
    for number, panel in enumerate(dashboard.panels or [], start=1):
        panel.id_val = number
    return dashboard


def _datasource() -> DatasourceVariable:
    return (
        DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(VariableOption(text="default", value="default"))
    )


def _labels(name: str, title: str, series: str, *, label: str = "") -> QueryVariable:
    return (
        QueryVariable(name)
        .label(title)
        .query(f"label_values({series}, {label or name})")
        .datasource(DATASOURCE)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )
