"""Tables: a row for each label set, a column for each query or label."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import TableCellHeight
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    ValueMap,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.palette import thresholds
from grafana.source.targets import DATASOURCE, RESOLUTION, Query, instant, references


@dataclass(frozen=True)
class Column:
    """One column of a table: the value of its query or, if it names a label, that label's text.

    Several `links` open a menu, and a single one opens its page; each is a title and an address.
    """

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
    links: Sequence[tuple[str, str]] = ()


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
    for reference, column in zip(references(queries), queries, strict=True):
        target = instant(Query(column.query), reference).format(PromQueryFormat.TABLE)
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
    if column.links:
        links = [DashboardLink(title).url(address).build() for title, address in column.links]
        properties.append(DynamicConfigValue("links", links))
    return properties
