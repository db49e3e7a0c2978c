"""The few kinds of panel of the dashboards, so that a dashboard's file needs a few lines for each panel.

Every kind of panel says in words that it has no data, and never shows 0 instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    SortOrder,
    TableCellHeight,
    TimelineValueAlignment,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    ValueMap,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.palette import thresholds

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDE: Final = 12  # a graph of at least so many of the grid's 24 columns has its legend beside it
# Points over the range for numbers and tables. All have the same, so that their increases agree.
RESOLUTION: Final = 240
NOTHING_KNOWN: Final = "No data: nothing is known"


@dataclass(frozen=True)
class Query:
    """One expression, and the legend of its series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table: the value of its query or, if it names a label, that label's text."""

    title: str
    query: str = ""
    label: str = ""
    unit: str = "none"
    decimals: int | None = None
    width: int | None = None
    absent: str = "-"
    words: ValueMap | None = None
    limits: ThresholdsConfig | None = None
    solid: bool = False
    link: str = ""


def _instant(query: Query, reference: str = "A") -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .instant()
        .ref_id(reference)
        .datasource(DATASOURCE)
    )


def _over_time(query: Query, reference: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .range()
        .ref_id(reference)
        .datasource(DATASOURCE)
    )


def _references(count: int) -> list[str]:
    return [chr(ord("A") + index) for index in range(count)]


def big_number(  # noqa: PLR0913 - a declaration in keywords
    title: str,
    description: str,
    expression: str,
    *,
    limits: ThresholdsConfig,
    absent: str = "unknown",
    unit: str = "none",
    decimals: int | None = None,
    words: ValueMap | None = None,
    legend: str = "",
    width: int = 4,
    height: int = 4,
) -> stat.Panel:
    """Return a panel with one present value in large figures; its colour says whether the value is well.

    A `legend` is shown beside the value. The query is instant, because the last value of a range would stay after
    its data is gone.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(_instant(Query(expression, legend)))
        .unit(unit)
        .thresholds(limits)
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value(absent)
        .max_data_points(RESOLUTION)
        .color_mode(BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if legend else BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .height(height)
        .span(width)
    )
    if decimals is not None:
        panel.decimals(decimals)
    if words is not None:
        panel.mappings([words])
    return panel


def lines(  # noqa: PLR0913 - a declaration in keywords
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    limits: ThresholdsConfig | None = None,
    floor: float | None = 0,
    ceiling: float | None = None,
    decimals: int | None = None,
    colours: Mapping[str, str] | None = None,
    bars: bool = False,
    steps: bool = False,
    width: int = 12,
    height: int = 8,
    absent: str = NOTHING_KNOWN,
) -> timeseries.Panel:
    """Return a graph of values over time. Limits are dashed lines; gaps in the data stay gaps."""
    wide = width >= _WIDE
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .no_value(absent)
        .show_points(VisibilityMode.AUTO)
        .point_size(4)
        .line_width(1 if bars else 2)
        .fill_opacity(60 if bars else 0)
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .line_interpolation(LineInterpolation.STEP_AFTER if steps else LineInterpolation.LINEAR)
        .span_nulls(False)
        .axis_placement(AxisPlacement.AUTO)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE if wide else LegendDisplayMode.LIST)
            .placement(LegendPlacement.RIGHT if wide else LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"] if wide else [])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(height)
        .span(width)
    )
    for reference, query in zip(_references(len(queries)), queries, strict=True):
        panel.with_target(_over_time(query, reference))
    if floor is not None:
        panel.min(floor)
    if ceiling is not None:
        panel.max(ceiling)
    if decimals is not None:
        panel.decimals(decimals)
    if limits is not None:
        panel.thresholds(limits)
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    else:
        panel.thresholds(thresholds())
    for name, colour in (colours or {}).items():
        fixed = {"mode": FieldColorModeId.FIXED, "fixedColor": colour}
        panel.override_by_name(name, [DynamicConfigValue("color", fixed)])
    return panel


def states_over_time(  # noqa: PLR0913 - a declaration in keywords
    title: str,
    description: str,
    query: Query,
    *,
    words: ValueMap,
    absent: str = NOTHING_KNOWN,
    width: int = 24,
    height: int = 8,
) -> statetimeline.Panel:
    """Return a band for each series, coloured and named by its state, with a gap where the state is unknown."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(_over_time(query, "A"))
        .unit("none")
        .mappings([words])
        .thresholds(thresholds())
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value(absent)
        .show_value(VisibilityMode.AUTO)
        .align_value(TimelineValueAlignment.LEFT)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(90)
        .line_width(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.SINGLE).sort(SortOrder.NONE))
        .height(height)
        .span(width)
    )


def rows(  # noqa: PLR0913 - a declaration in keywords
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    sort: Sequence[tuple[str, bool]],
    absent: str,
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """Return a table of instant values, in pages: a row for each label set, a column for each query or label.

    Labels that no column names are not shown. `sort` gives column titles and whether their order is descending.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("none")
        .thresholds(thresholds())
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value(absent)
        .max_data_points(RESOLUTION)
        .filterable(True)
        .show_header(True)
        .cell_height(TableCellHeight.SM)
        .footer(common.TableFooterOptions().show(False).reducer(["sum"]).count_rows(False).enable_pagination(True))
        .sort_by([common.TableSortByFieldState().display_name(name).desc(descending) for name, descending in sort])
        .height(height)
        .span(width)
    )
    fields: dict[str, str] = {}
    queries = [column for column in columns if column.query]
    for reference, column in zip(_references(len(queries)), queries, strict=True):
        target = _instant(Query(column.query), reference).format(PromQueryFormat.TABLE)
        panel.with_target(target)
        fields[column.title] = f"Value #{reference}" if len(queries) > 1 else "Value"
    fields |= {column.title: column.label for column in columns if column.label}
    for step in _join_and_arrange([(fields[column.title], column.title) for column in columns]):
        panel.with_transformation(step)
    for column in columns:
        panel.override_by_name(column.title, _cell(column))
    return panel


def _join_and_arrange(fields: Sequence[tuple[str, str]]) -> list[DataTransformerConfig]:
    names = [name for name, _ in fields]
    return [
        DataTransformerConfig(id_val="merge", options={}),
        DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": names}}),
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {},
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": dict(fields),
            },
        ),
    ]


def _cell(column: Column) -> list[DynamicConfigValue]:
    properties = [
        DynamicConfigValue("unit", column.unit),
        DynamicConfigValue("noValue", column.absent),
    ]
    if column.decimals is not None:
        properties.append(DynamicConfigValue("decimals", column.decimals))
    if column.width is not None:
        properties.append(DynamicConfigValue("custom.width", column.width))
    if column.words is not None:
        properties.append(DynamicConfigValue("mappings", [column.words]))
    if column.limits is not None:
        properties.append(DynamicConfigValue("thresholds", column.limits.build()))
    if column.solid:
        properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
        properties.append(DynamicConfigValue("custom.align", "center"))
    elif column.limits is not None or column.words is not None:
        properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    if column.link:
        properties.append(DynamicConfigValue("links", [DashboardLink("Open this node").url(column.link).build()]))
    return properties
