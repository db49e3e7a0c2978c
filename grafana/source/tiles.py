"""Big numbers: one present value of each installation, with its reason if it is unknown."""

from typing import Final

from grafana_foundation_sdk.builders import common, stat
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, BigValueTextMode
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId, ValueMap

from grafana.source.palette import UNKNOWN, words
from grafana.source.queries import INSTALLATION, exporter_lost, redis_lost
from grafana.source.targets import DATASOURCE, RESOLUTION, Query, instant, references

_SILENT: Final = "Exporter away"
_UNREADABLE: Final = "Redis away"


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
    legend: str = f"{{{{{INSTALLATION}}}}}",
    from_redis: bool = False,
    width: int = 4,
    height: int = 4,
) -> stat.Panel:
    """Return a panel with one present value in large figures; its colour says whether the value is well.

    If there are several values, each has its legend beside it. All queries are instant and the value is the `last`,
    so that no old value is shown as a present one.

    Args:
        title: The panel's title.
        description: What the value means.
        expression: The value, as one series for each installation.
        limits: The colours.
        absent: What an empty panel says.
        unit: Grafana's unit.
        decimals: Decimals of the value.
        words: Words instead of some values.
        legend: The name of a value.
        from_redis: Whether the value comes from Redis. Where it is unknown, the panel then says since when Redis, or
            the exporter, does not answer.
        width: In columns of the grid.
        height: In rows of the grid.
    """
    queries = [Query(expression, legend)]
    if from_redis:
        queries += [Query(redis_lost(), legend), Query(exporter_lost(), legend)]
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
        .text_mode(BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["last"]).fields("").values(False))
        .height(height)
        .span(width)
    )
    for reference, query in zip(references(queries), queries, strict=True):
        panel.with_target(instant(query, reference))
    if from_redis:
        panel.override_by_query("B", _reason(_UNREADABLE))
        panel.override_by_query("C", _reason(_SILENT))
    if decimals is not None:
        panel.decimals(decimals)
    if words is not None:
        panel.mappings([words])
    return panel


def _reason(text: str) -> list[DynamicConfigValue]:
    """Return what makes the words `text since 12:30` of a time in milliseconds."""
    return [
        DynamicConfigValue("unit", f"time:[{text} since] HH:mm"),
        DynamicConfigValue("mappings", [words({"0": (f"{text} all the time", UNKNOWN)})]),
        DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": UNKNOWN}),
    ]
