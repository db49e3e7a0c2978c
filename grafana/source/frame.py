"""The parts that the three dashboards have in common: variables, links, annotations, numbering."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
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

from grafana.source.links import DEFAULT_ADDRESS, TAG
from grafana.source.queries import INSTALLATION, recorded, select
from grafana.source.targets import DATASOURCE

# The schema of Grafana 10.4. A newer Grafana migrates a dashboard up from it; no Grafana migrates down.
SCHEMA_VERSION: Final = 39

_ALL_BUT_EMPTY: Final = ".+"
_ALL: Final = ".*"
"""Also chooses the series that do not have the label."""


def shell(  # noqa: PLR0913 - a declaration in keywords
    uid: str,
    title: str,
    description: str,
    content: Sequence[Builder[Panel] | Row],
    *,
    with_node: bool = False,
    annotations: Sequence[AnnotationQuery] = (),
    pages: Sequence[tuple[str, str]] = (),
    variables: Sequence[TextBoxVariable] = (),
) -> BuiltDashboard:
    """Build a dashboard with this project's variables and links, and number its panels.

    `pages` are the exporter's own pages to link to, each with its title and its address. `variables` are the
    dashboard's own.
    """
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
        .with_variable(_labels("cluster", "Installation", "ginkgo_redis_up", label=INSTALLATION, every=_ALL))
        .with_variable(_labels("job", "Job", f'ginkgo_redis_up{{{INSTALLATION}=~"$cluster"}}'))
        .with_variable(_labels("instance", "Instance", recorded("ginkgo_redis_up")))
    )
    if with_node:
        builder.with_variable(_labels("node", "Node", select("ginkgo_node_up"), label="node_id"))
    for variable in (_address(), *variables):
        builder.with_variable(variable)
    for name, address in pages:
        builder.link(
            DashboardLink(name).type(DashboardLinkType.LINK).url(address).target_blank(True).icon("external link")
        )
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


def _address() -> TextBoxVariable:
    return (
        TextBoxVariable("exporter")
        .label("Exporter's pages")
        .description("Where a browser reaches the exporter: its status page, events and runbooks.")
        .default_value(DEFAULT_ADDRESS)
        .current(VariableOption(text=DEFAULT_ADDRESS, value=DEFAULT_ADDRESS))
        .options([VariableOption(selected=True, text=DEFAULT_ADDRESS, value=DEFAULT_ADDRESS)])
    )


def _labels(name: str, title: str, series: str, *, label: str = "", every: str = _ALL_BUT_EMPTY) -> QueryVariable:
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
        .all_value(every)
    )
