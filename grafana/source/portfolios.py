"""The fleet dashboard's panels on portfolios: the faults, the plan, the workers."""

from grafana_foundation_sdk.builders import stat, table, timeseries

from grafana.source.graphs import lines
from grafana.source.limits import STALLED
from grafana.source.links import OPEN_EVENTS, OPEN_FLEET, OPEN_NODE
from grafana.source.palette import (
    BAD,
    LATE,
    PURPLE,
    SKY,
    STATE_COLOURS,
    WELL,
    WORST_FAULT,
    portfolio_faults,
    thresholds,
)
from grafana.source.queries import HERE, INSTALLATION, earliest, highest, once, rate, select, total
from grafana.source.tables import Column, rows
from grafana.source.targets import Query
from grafana.source.tiles import Source, tile


def plan_age() -> stat.Panel:
    """Return the time since the plan last changed."""
    changed = highest(select("ginkgo_plan_last_change_timestamp_seconds"))
    return tile(
        "Plan unchanged for",
        "Time since a read found another plan than the read before. The plan changes when nodes or portfolios come and "
        "go.",
        f"time() - {changed}",
        limits=thresholds((0, WELL)),
        unit="s",
        decimals=0,
        absent="no change yet",
        source=Source.REDIS,
        height=8,
    )


def faults(*matchers: str, width: int = 15, height: int = 8, of_node: bool = False) -> table.Panel:
    """Return the table of portfolios at fault; `matchers` choose some of them, `of_node` those of the shown node."""
    found = earliest(select("ginkgo_portfolio_fault_since_timestamp_seconds", *matchers))
    since = f'label_replace({found}, "state", "{WORST_FAULT}", "state", "untraded")'
    return rows(
        "Portfolios at fault",
        "Since when each portfolio is untraded, runs twice, is misplaced or unplanned, and the node that the plan "
        "gives it to. Without a plan it is the node that has it, or had it. Untraded portfolios come first. The "
        "exporter lists the 100 that last longest.",
        (
            Column("Portfolio", label="portfolio_id", links=[OPEN_EVENTS]),
            Column("State", label="state", words=portfolio_faults(), width=110),
            Column("Node", label="node_id", links=[OPEN_EVENTS] if of_node else [OPEN_NODE, OPEN_EVENTS]),
            Column("Since", f"1000 * {since}", unit="dateTimeAsIsoNoDateIfToday", width=90),
            Column("For", f"round(time() - {since})", unit="s", decimals=0, width=75),
            Column("Installation", label=INSTALLATION, links=[OPEN_FLEET], width=110),
            *([] if of_node else [Column("Job", label="job", width=120)]),
        ),
        sort=(("State", False), ("Since", False)),
        absent="No portfolio is known to be at fault",
        width=width,
        height=height,
    )


def by_state() -> timeseries.Panel:
    """Return the number of portfolios in each state."""
    return lines(
        "Portfolios by state",
        "How many portfolios are in each state. During a failover some are untraded for about 70 s.",
        Query(total(once(select("ginkgo_portfolios")), "state"), f"{{{{state}}}}{HERE}"),
        unit="none",
        width=9,
        colours={
            state: STATE_COLOURS[state]
            for state in ("traded", "untraded", "duplicated", "misplaced", "unplanned", "unknown")
        },
        steps=True,
        decimals=0,
    )


def looks() -> timeseries.Panel:
    """Return the scheduler's looks over time."""
    return lines(
        "Scheduler: time since its last look",
        "A scheduler that lives draws a saw-tooth below 36 s. Scrapes see a few points of each tooth. Two schedulers "
        "draw one below about 20 s. At the dashed line an alert fires.",
        Query(earliest(select("ginkgo_plan_idle_seconds")), f"since its last look{HERE}"),
        unit="s",
        limits=thresholds((STALLED, BAD), below="transparent"),
        width=7,
    )


def plan_changes() -> timeseries.Panel:
    """Return the changes of the plan over time."""
    return lines(
        "Changes of the plan per minute",
        "How often scrapes find another plan than before, per minute. Bars at all times mean that two schedulers run.",
        Query(f"60 * {rate(select('ginkgo_plan_changes_total'))}", f"changes{HERE}"),
        unit="short",
        bars=True,
        width=7,
    )


def workers() -> timeseries.Panel:
    """Return the live workers over time."""
    return lines(
        "Workers",
        "Task timers, data workers and backtest workers with a live heartbeat. There must be exactly one task timer.",
        Query(total(once(select("ginkgo_workers")), "component"), f"{{{{component}}}}{HERE}"),
        unit="short",
        colours={"task_timer": LATE, "data_worker": SKY, "backtest_worker": PURPLE},
        steps=True,
        decimals=0,
        width=6,
    )
