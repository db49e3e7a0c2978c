"""The fleet dashboard's panels on portfolios: whether everything is traded, the faults, the plan, the workers."""

from typing import Final

from grafana_foundation_sdk.builders import stat, table, timeseries

from grafana.source.frame import OPEN_NODE
from grafana.source.palette import BAD, GREEN, LATE, PURPLE, SKY, UNKNOWN, WELL, thresholds, words
from grafana.source.panels import Column, Query, big_number, lines, rows
from grafana.source.queries import earliest, once, rate, select

STALLED: Final = 120
"""Seconds without a look at the plan after which the scheduler counts as stalled (GinkgoSchedulerStalled)."""

_FAULTS: Final = {
    "untraded": ("UNTRADED", BAD),
    "duplicated": ("DUPLICATED", BAD),
    "misplaced": ("misplaced", LATE),
    "unplanned": ("unplanned", LATE),
}
_UNKNOWN: Final = "no plan, or unknown"


def _in_state(pattern: str) -> str:
    chosen = select("ginkgo_portfolios", f'state=~"{pattern}"')
    return f"sum({once(chosen)})"


def everything_traded() -> stat.Panel:
    """Return the answer to the first question: whether each portfolio is traded, and by one node only."""
    bad = _in_state("untraded|duplicated")
    return big_number(
        "Is everything traded?",
        "NO means that some portfolios are traded by no node, or by two. YES means that each portfolio is traded by "
        "exactly one node. UNSURE means that of some portfolios it is unknown: their node does not say what it has "
        "loaded, or may be dead or alive.",
        f"clamp_max({bad}, 1) > 0 or ({_in_state('unknown')} > 0) * 0 - 1 or {bad}",
        limits=thresholds((-1, LATE), (0, WELL), (1, BAD)),
        words=words({"0": ("YES", WELL), "1": ("NO", BAD), "-1": ("UNSURE", LATE)}),
        absent=_UNKNOWN,
    )


def untraded() -> stat.Panel:
    """Return the number of untraded portfolios."""
    return big_number(
        "Untraded",
        "Portfolios that no online node has loaded. A failover takes about 70 s; an alert fires after 2 min.",
        _in_state("untraded"),
        limits=thresholds((0, WELL), (1, BAD)),
        absent=_UNKNOWN,
    )


def duplicated() -> stat.Panel:
    """Return the number of portfolios that several nodes trade."""
    return big_number(
        "Run twice",
        "Portfolios that two or more online nodes have loaded: each order goes out more than once.",
        _in_state("duplicated"),
        limits=thresholds((0, WELL), (1, BAD)),
        absent=_UNKNOWN,
    )


def without_failover() -> stat.Panel:
    """Return the number of portfolios that are traded and would not be moved."""
    return big_number(
        "Without failover",
        "Portfolios that are traded, but by another node than planned (misplaced), or without being planned. If their "
        "node dies, the scheduler does not move them.",
        _in_state("misplaced|unplanned"),
        limits=thresholds((0, WELL), (1, LATE)),
        absent=_UNKNOWN,
    )


def last_look() -> stat.Panel:
    """Return the time since the scheduler's last look at the plan."""
    return big_number(
        "Scheduler's last look",
        "Time since the scheduler last read its plan, which it does every 31 to 36 s. After 2 min an alert fires: no "
        "dead node is failed over. Unknown while Redis saves, with an LFU policy, and before Redis 7.2.",
        f"max({earliest(select('ginkgo_plan_idle_seconds'))})",
        limits=thresholds((0, WELL), (60, LATE), (STALLED, BAD)),
        unit="s",
        decimals=0,
    )


def plan_age() -> stat.Panel:
    """Return the time since the plan last changed."""
    changed = once(select("ginkgo_plan_last_change_timestamp_seconds"))
    return big_number(
        "Plan unchanged for",
        "Time since a read found another plan than the read before. The plan changes when nodes or portfolios come and "
        "go.",
        f"time() - max({changed})",
        limits=thresholds((0, WELL)),
        unit="s",
        decimals=0,
        absent="no change yet",
    )


def faults() -> table.Panel:
    """Return the table of portfolios at fault."""
    since = earliest(select("ginkgo_portfolio_fault_since_timestamp_seconds"))
    return rows(
        "Portfolios at fault",
        "Since when each portfolio is untraded, runs twice, is misplaced or unplanned, and the node that the plan "
        "gives it to. Without a plan it is the node that has it, or had it. The exporter lists the 100 that last "
        "longest.",
        (
            Column("Portfolio", label="portfolio_id"),
            Column("State", label="state", words=words(_FAULTS), width=120),
            Column("Node", label="node_id", link=OPEN_NODE),
            Column("Since", f"1000 * {since}", unit="dateTimeAsIsoNoDateIfToday", width=120),
            Column("For", f"round(time() - {since})", unit="s", decimals=0, width=90),
            Column("Job", label="job", width=130),
        ),
        sort=(("Since", False),),
        absent="No portfolio is at fault, or no plan is known",
        width=15,
        height=8,
    )


def by_state() -> timeseries.Panel:
    """Return the number of portfolios in each state."""
    return lines(
        "Portfolios by state",
        "How many portfolios are in each state. During a failover some are untraded for about 70 s.",
        Query(f"sum by (state) ({once(select('ginkgo_portfolios'))})", "{{state}}"),
        unit="short",
        width=9,
        colours={
            "traded": SKY,
            "untraded": BAD,
            "duplicated": PURPLE,
            "misplaced": LATE,
            "unplanned": GREEN,
            "unknown": UNKNOWN,
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
        Query(earliest(select("ginkgo_plan_idle_seconds")), "since its last look"),
        unit="s",
        limits=thresholds((STALLED, BAD), below="transparent"),
        width=8,
    )


def plan_changes() -> timeseries.Panel:
    """Return the changes of the plan over time."""
    return lines(
        "Changes of the plan per minute",
        "How often scrapes find another plan than before, per minute. Bars at all times mean that two schedulers run.",
        Query(f"60 * {rate(select('ginkgo_plan_changes_total'))}", "changes"),
        unit="short",
        bars=True,
        width=8,
    )


def workers() -> timeseries.Panel:
    """Return the live workers over time."""
    return lines(
        "Workers",
        "Task timers, data workers and backtest workers with a live heartbeat. There must be exactly one task timer.",
        Query(f"sum by (component) ({once(select('ginkgo_workers'))})", "{{component}}"),
        unit="short",
        colours={"task_timer": LATE, "data_worker": SKY, "backtest_worker": PURPLE},
        steps=True,
        decimals=0,
        width=8,
    )
