"""Big numbers: one present value of each installation, with its reason if it is unknown."""

from enum import Enum
from typing import Final

from grafana_foundation_sdk.builders import common, stat
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, BigValueTextMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId, ValueMap

from grafana.source.palette import LATE, UNKNOWN, WELL, thresholds, words
from grafana.source.queries import INSTALLATION, exporter_lost, redis_lost, select, total
from grafana.source.targets import DATASOURCE, RESOLUTION, Query, instant, references

_INSTALLATION: Final = f"{{{{{INSTALLATION}}}}}"


class Source(Enum):
    """Where a value comes from."""

    NONE = "from Prometheus, or its absence has a meaning"
    EXPORTER = "from the exporter"
    REDIS = "from Redis, through the exporter"

    def reasons(self) -> list[tuple[str, str]]:
        """Return what can be away, each with the expression that says since when."""
        exporter, redis = ("Exporter away", exporter_lost()), ("Redis away", redis_lost())
        return {Source.NONE: [], Source.EXPORTER: [exporter], Source.REDIS: [redis, exporter]}[self]


def tile(  # noqa: PLR0913 - a declaration in keywords
    title: str,
    description: str,
    expression: str,
    *,
    limits: ThresholdsConfig,
    absent: str = "no exporter",
    unit: str = "none",
    decimals: int | None = None,
    words: ValueMap | None = None,
    legend: str = _INSTALLATION,
    source: Source = Source.NONE,
    away: str = UNKNOWN,
    width: int = 4,
    height: int = 4,
) -> stat.Panel:
    """Return a panel with one present value in large figures; its colour says whether the value is well.

    If there are several values, they are below each other, each with its legend. All queries are instant and the value
    is the `last`, so that no old value is shown as a present one.

    Args:
        title: The panel's title.
        description: What the value means.
        expression: The value, as one series for each installation.
        limits: The colours.
        absent: What an empty panel says.
        unit: Grafana's unit.
        decimals: Decimals of the value.
        words: Words instead of some values.
        legend: The name of a value. If it is more than the installation, it is shown beside a single value, too.
        source: Where the value comes from. If the source is away, the panel says since when.
        away: The colour of that. It is that of a trouble where the panel is about the source itself.
        width: In columns of the grid.
        height: In rows of the grid.
    """
    queries = [Query(expression, legend)]
    reasons = source.reasons()
    queries += [Query(expression, _INSTALLATION) for _, expression in reasons]
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .thresholds(limits)
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value(absent)
        .max_data_points(RESOLUTION)
        .color_mode(BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.AUTO if legend == _INSTALLATION else BigValueTextMode.VALUE_AND_NAME)
        .orientation(VizOrientation.HORIZONTAL)
        .wide_layout(False)  # it leaves too little room for words
        .reduce_options(common.ReduceDataOptions().calcs(["last"]).fields("").values(False))
        .height(height)
        .span(width)
    )
    for reference, query in zip(references(queries), queries, strict=True):
        panel.with_target(instant(query, reference))
    for reference, (text, _) in zip(references(queries)[1:], reasons, strict=True):
        panel.override_by_query(reference, _since(text, away))
    if decimals is not None:
        panel.decimals(decimals)
    if words is not None:
        panel.mappings([words])
    return panel


def counted(title: str, description: str, counter: str) -> stat.Panel:
    """Return a panel with the increase of a counter in the dashboard's range, where 0 is well and more is not.

    Args:
        title: The panel's title.
        description: What the number means.
        counter: The counter's name.
    """
    return tile(
        title,
        description,
        total(f"increase({select(counter)}[$__range])"),
        limits=thresholds((0, WELL), (0.001, LATE)),
        unit="locale",
        decimals=0,
    )


def _since(text: str, colour: str) -> list[DynamicConfigValue]:
    """Return what makes the words `text since 12:30` of a time in milliseconds."""
    return [
        DynamicConfigValue("unit", f"time:[{text} since] HH:mm"),
        DynamicConfigValue("mappings", [words({"0": (f"{text} all the time", colour)})]),
        DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": colour}),
    ]
