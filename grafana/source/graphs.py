"""Graphs over time, so that a dashboard's file needs a few lines for each of them.

Every graph says in words that it has no data, and never shows 0 instead.
"""

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import common, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    SortOrder,
    TimelineValueAlignment,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId, ValueMap

from grafana.source.palette import IDENTITIES, SKY, thresholds
from grafana.source.targets import DATASOURCE, POINTS, Query, over_time, references

_WIDE: Final = 12  # a graph of at least so many of the grid's 24 columns has its legend beside it
NOTHING_KNOWN: Final = "nothing known"


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
    dashed: Sequence[str] = (),
    bars: bool = False,
    steps: bool = False,
    width: int = 12,
    height: int = 8,
    absent: str = NOTHING_KNOWN,
) -> timeseries.Panel:
    """Return a graph of values over time. Limits are dashed lines; gaps in the data stay gaps.

    The keys of `colours`, and `dashed`, are beginnings of legends. Without `colours` a line has a colour by the last
    character of its legend, since Grafana has no other palette of one's own. So a node has the same colour in all
    graphs.
    """
    wide = width >= _WIDE
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color(SKY))
        .no_value(absent)
        .max_data_points(POINTS)
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
            .calcs(["last", "max"] if wide else [])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(height)
        .span(width)
    )
    for reference, query in zip(references(queries), queries, strict=True):
        panel.with_target(over_time(query, reference))
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
    for pattern, colour in _identities() if not colours else ():
        panel.override_by_regexp(pattern, [_fixed(colour)])
    for name, colour in (colours or {}).items():
        panel.override_by_regexp(rf"/^{name}\b/", [_fixed(colour)])
    for name in dashed:
        dashes = DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
        panel.override_by_regexp(rf"/^{name}\b/", [dashes])
    return panel


def _identities() -> Iterator[tuple[str, str]]:
    """Yield a regular expression of legends and the colour of their lines. An exporter's port does not count."""
    for index, colour in enumerate(IDENTITIES):
        last = "".join(string.digits[index :: len(IDENTITIES)] + string.ascii_lowercase[index :: len(IDENTITIES)])
        yield rf"/^(?!.*:\d+$).*[{last}]$|[{last}]:\d+$/i", colour


def _fixed(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": colour})


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
        .with_target(over_time(query, "A"))
        .unit("none")
        .mappings([words])
        .thresholds(thresholds())
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value(absent)
        .max_data_points(POINTS)
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
