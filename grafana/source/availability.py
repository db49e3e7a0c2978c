"""The fleet dashboard's row on the availability of trading: the share of time in which portfolios were traded."""

from typing import Final

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import TextBoxVariable
from grafana_foundation_sdk.models.dashboard import VariableOption

from grafana.source.palette import BAD, LATE, WELL, thresholds
from grafana.source.queries import HERE, lowest, once, recorded, select, total
from grafana.source.tiles import tile

MARKET: Final = "hour() * 60 + minute() >= 60 < 450 and day_of_week() >= 1 < 6"
"""The usual market hours: weekdays from 01:00 to 07:30 UTC. Holidays count like other days."""
_ALMOST: Final = 0.999
_MUST: Final = 0.99
_RATIO: Final = "installation:ginkgo_portfolios_traded:ratio"
_TEXT: Final = (
    "The share of {} in which portfolios were traded: those that a node has loaded, over all whose state is known, on "
    "average{}. Time in which Redis could not be read is left out."
)


def tiles() -> list[stat.Panel]:
    """Return the panels: three spans in all hours and in market hours, and what was lost."""
    made = []
    for title, text, span in (
        ("30 days", "the last 30 days", "30d"),
        ("7 days", "the last 7 days", "7d"),
        ("Today", "today", "$__range"),
    ):
        ratio = recorded(_RATIO)
        made += [
            _share(f"Traded: {title}", _TEXT.format(text, ""), f"avg_over_time({ratio}[{span}])"),
            _share(
                f"Market hours: {title}",
                _TEXT.format(text, " of the market hours chosen above"),
                f"avg_over_time(({ratio} and on () ($market))[{span}:1m])",
            ),
        ]
    for panel in made[-2:]:
        panel.time_from("now/d")
    return [*made, _lost()]


def market_hours() -> TextBoxVariable:
    """Return the variable with the market hours."""
    return (
        TextBoxVariable("market")
        .label("Market hours (UTC)")
        .description("When the market is open: a PromQL expression that has a value then.")
        .default_value(MARKET)
        .current(VariableOption(text=MARKET, value=MARKET))
        .options([VariableOption(selected=True, text=MARKET, value=MARKET)])
    )


def _share(title: str, description: str, expression: str) -> stat.Panel:
    return tile(
        title,
        description,
        lowest(expression),
        limits=thresholds((0, BAD), (_MUST, LATE), (_ALMOST, WELL)),
        absent="not recorded",
        unit="percentunit",
        decimals=2,
        width=3,
    )


def _lost() -> stat.Panel:
    return tile(
        "Portfolio-minutes lost in 30 days",
        "Minutes for which portfolios were untraded in the last 30 days, added up, by the reason: their node was "
        "offline, the plan gave them to no node (orphaned), their node had not loaded them (undelivered), or they had "
        "left the plan (dropped).",
        total(f"sum_over_time(({once(select('ginkgo_portfolios_untraded'))})[30d:1m])", "reason"),
        limits=thresholds((0, WELL), (1, LATE)),
        absent="not recorded",
        unit="locale",
        decimals=0,
        legend=f"{{{{reason}}}}{HERE}",
        width=6,
    )
