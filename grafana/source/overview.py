"""The fleet's first rows: whether everything is all right in each installation, and the numbers behind the answer."""

from typing import Final

from grafana_foundation_sdk.builders import stat

from grafana.source.limits import STALLED
from grafana.source.palette import BAD, LATE, STATE_COLOURS, WELL, redis_states, thresholds, words
from grafana.source.queries import (
    OUR_ALERTS,
    alerts,
    earliest,
    highest,
    increase_in_range,
    once,
    readable,
    recorded,
    select,
    total,
)
from grafana.source.tiles import Source, tile

_NO_PLAN: Final = "no plan"


def _portfolios_in(pattern: str) -> str:
    return total(once(select("ginkgo_portfolios", f'state=~"{pattern}"')))


def _nodes_in(state: str) -> str:
    return total(once(select("ginkgo_nodes", f'state="{state}"')))


def _idle() -> str:
    return highest(earliest(select("ginkgo_plan_idle_seconds")))


_STATES: Final = {
    "0": ("YES", WELL),
    "1": ("UNSURE", LATE),
    "2": ("ALERTS FIRE", BAD),
    "3": ("NO SCHEDULER", BAD),
    "4": ("NODES OFFLINE", STATE_COLOURS["offline"]),
    "5": ("RUN TWICE", STATE_COLOURS["duplicated"]),
    "6": ("NOT TRADED", STATE_COLOURS["untraded"]),
    "7": ("MASS LOSS", BAD),
    "8": ("WRITES REFUSED", BAD),
    "9": ("REDIS AWAY", BAD),
    "10": ("EXPORTER AWAY", BAD),
}
"""The words for the values of the recording rule of an installation's state."""


def all_right(title: str = "Is everything all right?", *, width: int = 6, height: int = 4) -> stat.Panel:
    """Return the answer to the first question, for each installation."""
    critical = highest(alerts("ALERTS", OUR_ALERTS, 'alertstate="firing"', 'severity="critical"'))
    worst = highest(recorded("installation:ginkgo_state:worst"))
    return tile(
        title,
        "The worst trouble of each installation now. YES means that an exporter answers, Redis can be read and takes "
        "writes, no node is offline, each portfolio is traded by exactly one node, the scheduler looks at its plan, "
        "and no critical alert fires. UNSURE means that the state of some nodes or portfolios is unknown.",
        f"{worst} > 1 or 2 * {critical} and {worst} or {worst}",
        limits=thresholds(),
        words=words(_STATES),
        absent="not recorded",
        width=width,
        height=height,
    )


def everything_traded() -> stat.Panel:
    """Return whether each portfolio is traded, and by one node only."""
    bad = _portfolios_in("untraded|duplicated")
    return tile(
        "Is everything traded?",
        "NO means that some portfolios are traded by no node, or by two. YES means that each portfolio is traded by "
        "exactly one node. UNSURE means that of some portfolios it is unknown: their node does not say what it has "
        "loaded, or may be dead or alive.",
        f"clamp_max({bad}, 1) > 0 or ({_portfolios_in('unknown')} > 0) * 0 - 1 or {bad}",
        limits=thresholds((-1, LATE), (0, WELL), (1, BAD)),
        words=words({"0": ("YES", WELL), "1": ("NO", BAD), "-1": ("UNSURE", LATE)}),
        absent=_NO_PLAN,
        source=Source.REDIS,
        width=6,
    )


def untraded() -> stat.Panel:
    """Return the number of untraded portfolios."""
    return tile(
        "Untraded",
        "Portfolios that no online node has loaded. A failover takes about 70 s; an alert fires after 2 min.",
        _portfolios_in("untraded"),
        limits=thresholds((0, WELL), (1, STATE_COLOURS["untraded"])),
        absent=_NO_PLAN,
        source=Source.REDIS,
        width=3,
    )


def at_risk() -> stat.Panel:
    """Return the number of open positions that nobody manages."""
    return tile(
        "Positions at risk",
        "Open positions of untraded portfolios: nobody manages them until a node loads the portfolio. Their number is "
        "what the last node wrote.",
        total(once(select("ginkgo_portfolios_untraded_positions"))),
        limits=thresholds((0, WELL), (1, BAD)),
        absent="unknown",
        source=Source.REDIS,
        width=3,
    )


def duplicated() -> stat.Panel:
    """Return the number of portfolios that several nodes trade."""
    return tile(
        "Run twice",
        "Portfolios that two or more online nodes have loaded: each order goes out more than once.",
        _portfolios_in("duplicated"),
        limits=thresholds((0, WELL), (1, STATE_COLOURS["duplicated"])),
        absent=_NO_PLAN,
        source=Source.REDIS,
        width=3,
    )


def without_failover() -> stat.Panel:
    """Return the number of portfolios that are traded and would not be moved."""
    return tile(
        "Without failover",
        "Portfolios that are traded, but by another node than planned (misplaced), or without being planned. If their "
        "node dies, the scheduler does not move them.",
        _portfolios_in("misplaced|unplanned"),
        limits=thresholds((0, WELL), (1, LATE)),
        absent=_NO_PLAN,
        source=Source.REDIS,
    )


def last_look() -> stat.Panel:
    """Return the time since the scheduler's last look at the plan."""
    return tile(
        "Scheduler's last look",
        "Time since the scheduler last read its plan, which it does every 31 to 36 s. After "
        f"{STALLED:.0f} s an alert fires: no dead node is failed over. Unknown while Redis saves, with an LFU policy, "
        "and before Redis 7.2.",
        _idle(),
        limits=thresholds((0, WELL), (STALLED / 2, LATE), (STALLED, BAD)),
        absent="unknown",
        unit="s",
        decimals=0,
        source=Source.REDIS,
    )


def offline() -> stat.Panel:
    """Return the number of offline nodes."""
    return tile(
        "Offline",
        "Nodes that crashed: their heartbeat is missing and their metrics are still in Redis. A node that "
        "stopped gracefully is not counted.",
        _nodes_in("offline"),
        limits=thresholds((0, WELL), (1, STATE_COLOURS["offline"])),
        source=Source.REDIS,
    )


def online() -> stat.Panel:
    """Return the number of online nodes."""
    return tile(
        "Online",
        "Nodes with a live heartbeat.",
        _nodes_in("online"),
        limits=thresholds((0, BAD), (1, STATE_COLOURS["online"])),
        source=Source.REDIS,
    )


def undecided() -> stat.Panel:
    """Return the number of undecided nodes."""
    return tile(
        "Undecided",
        "Nodes without a heartbeat that may be dead or alive, because Redis failed, restarted or refuses writes. "
        "A node is offline when it has not beaten for one TTL and one beat in which Redis could be read and took "
        "writes. In a mass loss, dead nodes are undecided for up to 15 s.",
        _nodes_in("undecided"),
        limits=thresholds((0, WELL), (1, STATE_COLOURS["undecided"])),
        source=Source.REDIS,
        width=3,
    )


def dropped_in_range() -> stat.Panel:
    """Return the number of dropped events."""
    lost = total(increase_in_range(select("ginkgo_node_dropped_events_total")))
    return tile(
        "Events dropped",
        "Events that nodes dropped in the range chosen above because a queue was full. This data is lost. Drops "
        "from before a node's first sample are not counted.",
        f"{lost} > 0 or {lost} and {readable()} == 1",
        limits=thresholds((0, WELL), (0.001, BAD)),
        unit="locale",
        decimals=0,
        source=Source.REDIS,
    )


def redis(height: int = 4) -> stat.Panel:
    """Return whether Redis can be read and takes writes."""
    refused = f"{highest(select('ginkgo_redis_writes_refused'))} == 1"
    return tile(
        "Redis",
        "Whether an exporter could read Redis in its last scrape, and whether Redis takes writes. If no exporter can "
        "read it, all nodes' states are unknown.",
        f"2 * ({refused}) and {readable()} == 1 or {readable()} == 1",
        limits=thresholds((1, WELL), (2, BAD)),
        words=redis_states(),
        source=Source.REDIS,
        away=BAD,
        height=height,
    )


def mass_lost() -> stat.Panel:
    """Return the number of nodes in a mass loss."""
    members = total(once(select("ginkgo_node_mass_lost")))
    return tile(
        "In a mass loss",
        "Nodes that were lost together and are still out. One cause is likely. They raise one alert for all of them.",
        f"{members} or 0 * {_nodes_in('online')}",
        limits=thresholds((0, WELL), (1, BAD)),
        source=Source.REDIS,
    )
