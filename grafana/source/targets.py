"""Queries of panels, as Grafana's Prometheus data source takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

RESOLUTION: Final = 240
"""Points over the range for numbers and tables. All have the same, so that their increases agree."""
POINTS: Final = 300
"""Points over the range for graphs. So a query of a day costs Prometheus hardly more than a query of an hour."""


@dataclass(frozen=True)
class Query:
    """One expression, and the legend of its series."""

    expression: str
    legend: str = ""


def instant(query: Query, reference: str = "A") -> prometheus.Dataquery:
    """Return a query of the range's end."""
    return _target(query, reference).instant()


def over_time(query: Query, reference: str) -> prometheus.Dataquery:
    """Return a query of the whole range."""
    return _target(query, reference).range()


def references(queries: Sequence[object]) -> list[str]:
    """Return a name for each query of a panel: A, B and so on."""
    return [chr(ord("A") + index) for index in range(len(queries))]


def _target(query: Query, reference: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(reference)
        .datasource(DATASOURCE)
    )
