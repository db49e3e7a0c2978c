"""For each alert an example in which it fires, and a similar example in which it is silent."""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from exporter.alerting_rules.samples import MISSING, STALE, Climb, Counter, Gauge, Swing, Values

Series = dict[str, Values]
"""Samples of each series. A series has its labels between braces, without those that all of them have."""

EVENTS: Final = 10.0
"""Events per second of a node."""


class Example(NamedTuple):
    """An alert's example.

    Attributes:
        fires: The series, whose change raises the alert.
        silent: Similar series that do not.
        ranges: Seconds from the change until the alert's query is true, because of the ranges in it.
    """

    fires: Series
    silent: Series
    ranges: int = 60


def _steady(value: float) -> Gauge:
    return Gauge(value, value)


ON: Final = _steady(1)
OFF: Final = _steady(0)
RISES: Final = Gauge(0, 1)
FALLS: Final = Gauge(1, 0)


def _nodes(online: Values, offline: Values, undecided: Values = OFF) -> Series:
    return {
        'ginkgo_nodes{state="online"}': online,
        'ginkgo_nodes{state="offline"}': offline,
        'ginkgo_nodes{state="undecided"}': undecided,
    }


UP: Final = 'ginkgo_node_up{node_id="n1"}'
TOTAL: Final = 'ginkgo_node_events_total{node_id="n1"}'
QUEUE: Final = 'ginkgo_node_queue_size_max{node_id="n1"}'
PUSHED_BACK: Final = 'ginkgo_node_backpressure_total{node_id="n1"}'
FAULT: Final = 'ginkgo_portfolio_fault_since_timestamp_seconds{{node_id="n1", portfolio_id="p1", state="{}"}}'
TIMER: Final = 'ginkgo_workers{component="task_timer"}'
WORKER: Final = 'ginkgo_workers{component="data_worker"}'
LIVES: Final[Series] = {UP: ON, TOTAL: Counter(EVENTS, EVENTS)}

Numbers = Callable[[str], float]
"""Returns a threshold of the alert by its name."""


def _disappeared(number: Numbers) -> Example:
    before = 100 * max(math.ceil(number("nodes")), 1)
    limit = math.ceil(number("share") * before)
    left = max(min(limit - 1, before - math.ceil(number("nodes"))), 0)
    return Example(_nodes(Gauge(before, left), OFF), _nodes(Gauge(before, limit), OFF))


def _flapping(number: Numbers) -> Example:
    times = math.ceil(number("changes"))
    return Example({UP: Swing(times)}, {UP: Swing(times - 1)}, ranges=15 * times)


def _late(number: Numbers) -> Example:
    ttl, fleet = 'ginkgo_node_heartbeat_ttl_seconds{node_id="n1"}', _nodes(_steady(4), OFF)
    limit = number("ttl-seconds")
    return Example({ttl: Gauge(limit, limit / 2), **fleet}, {ttl: _steady(limit), **fleet}, ranges=300)


def _spike(number: Numbers) -> Example:
    limit = number("per-second")
    return Example(
        {PUSHED_BACK: Counter(0, 20 * limit + 1), **LIVES}, {PUSHED_BACK: Counter(0, limit / 2), **LIVES}, ranges=45
    )


def _pressed(number: Numbers) -> Example:
    limit = max(number("ratio") * EVENTS, number("per-second"))
    return Example(
        {PUSHED_BACK: Counter(0, 2 * limit + 0.01), **LIVES}, {PUSHED_BACK: Counter(0, limit / 2), **LIVES}, ranges=330
    )


def _growing(number: Numbers) -> Example:
    limit = number("queue-size")
    return Example(
        {QUEUE: Gauge(0, max(limit, number("predicted-size")) + 1), UP: ON}, {QUEUE: Gauge(0, limit), UP: ON}
    )


def _stalled(number: Numbers) -> Example:
    limit = number("queue-size")
    return Example({QUEUE: Gauge(1, limit), **LIVES}, {QUEUE: Gauge(1, limit - 1), **LIVES}, ranges=330)


def _memory(number: Numbers) -> Example:
    name, limit = "ginkgo_redis_memory_used_ratio", number("ratio")
    return Example({name: Gauge(0, limit + 0.01)}, {name: Gauge(0, limit)})


def _scheduler(number: Numbers) -> Example:
    name, limit = "ginkgo_plan_idle_seconds", number("seconds")
    return Example({name: Gauge(0, limit)}, {name: Gauge(0, limit - 1)}, ranges=90)


def _plans(number: Numbers) -> Example:
    name, limit = "ginkgo_plan_changes_total", number("changes") / 900
    return Example({name: Counter(0, 2 * limit + 0.01)}, {name: Counter(0, limit / 2)}, ranges=960)


def _imbalance(number: Numbers) -> Example:
    first, second = (f'ginkgo_node_portfolios{{node_id="{node}"}}' for node in ("n1", "n2"))
    limit = math.ceil(number("portfolios"))
    return Example({first: Gauge(0, 2 * limit + 1), second: OFF}, {first: _steady(3), second: _steady(3)})


def _deaf(_: Numbers) -> Example:
    def fleet(others: float) -> Series:
        made: Series = {}
        for node in ("n1", "n2", "n3", "n4"):
            labels = f'{{node_id="{node}"}}'
            made[f"ginkgo_node_up{labels}"] = ON
            made[f"ginkgo_node_portfolios{labels}"] = _steady(3)
            made[f"ginkgo_node_events_total{labels}"] = Counter(EVENTS, 0 if node == "n1" else others)
        return made

    return Example(fleet(EVENTS), fleet(0), ranges=330)


def _fixed(fires: Series, silent: Series, ranges: int = 60) -> Callable[[Numbers], Example]:
    return lambda _: Example(fires, silent, ranges)


def _portfolios(state: str, values: Values) -> Series:
    return {f'ginkgo_portfolios{{state="{state}"}}': values}


_LISTED: Final[Series] = {**_portfolios("untraded", RISES), "ginkgo_portfolio_faults_unlisted": OFF}
_LOST: Final[Series] = {
    **_portfolios("unplanned", Gauge(0, 3)),
    'ginkgo_node_planned_portfolios{node_id="n1"}': Gauge(3, 0),
}
_PAUSED: Final[Series] = {UP: ON, 'ginkgo_node_status{node_id="n1", status="PAUSED"}': RISES}
_PORTFOLIOS: Final = 'ginkgo_node_portfolios{node_id="n1"}'
_DROPPED: Final = 'ginkgo_node_dropped_events_total{node_id="n1"}'

EXAMPLES: Final[Mapping[str, Callable[[Numbers], Example]]] = {
    "GinkgoMassHeartbeatLoss": _fixed({'ginkgo_node_mass_lost{node_id="n1"}': Gauge(MISSING, 1)}, {UP: FALLS}),
    "GinkgoAllNodesOffline": _fixed(_nodes(Gauge(4, 0), Gauge(0, 4)), _nodes(Gauge(4, 1), Gauge(0, 3))),
    "GinkgoNodeOffline": _fixed({UP: FALLS}, {UP: FALLS, 'ginkgo_node_mass_lost{node_id="n1"}': Gauge(MISSING, 1)}),
    "GinkgoNodesUndecided": _fixed(
        {**_nodes(Gauge(4, 2), OFF, Gauge(0, 2)), "ginkgo_redis_up": ON, "ginkgo_redis_writes_refused": OFF},
        {**_nodes(Gauge(4, 2), OFF, Gauge(0, 2)), "ginkgo_redis_up": ON, "ginkgo_redis_writes_refused": RISES},
        ranges=90,
    ),
    "GinkgoNodesDisappeared": _disappeared,
    "GinkgoNodesMissing": _fixed(
        {**_nodes(Gauge(4, 3), OFF), "ginkgo_nodes_expected": _steady(4)},
        {**_nodes(_steady(4), OFF), "ginkgo_nodes_expected": _steady(4)},
    ),
    "GinkgoNoNodes": _fixed(_nodes(Gauge(4, 0), OFF), _nodes(Gauge(4, 0), RISES)),
    "GinkgoNodeFlapping": _flapping,
    "GinkgoHeartbeatLate": _late,
    "GinkgoNodeZombie": _fixed({UP: ON, TOTAL: Gauge(7, STALE)}, LIVES),
    "GinkgoPortfoliosUntraded": _fixed(
        {**_LISTED, FAULT.format("untraded"): Gauge(MISSING, 7)},
        {**_LISTED, FAULT.format("untraded"): Climb()},
        ranges=180,
    ),
    "GinkgoPortfolioDuplicated": _fixed(
        {FAULT.format("duplicated"): Gauge(MISSING, 7)}, {FAULT.format("misplaced"): Gauge(MISSING, 7)}
    ),
    "GinkgoPlanLost": _fixed(
        {**_LOST, "ginkgo_plan_idle_seconds": Gauge(20, STALE)}, {**_LOST, "ginkgo_plan_idle_seconds": _steady(20)}
    ),
    "GinkgoSchedulerStalled": _scheduler,
    "GinkgoPortfoliosUnplanned": _fixed(_portfolios("unplanned", RISES), _portfolios("misplaced", RISES)),
    "GinkgoPortfoliosMisplaced": _fixed(_portfolios("misplaced", RISES), _portfolios("unplanned", RISES)),
    "GinkgoPlanFlapping": _plans,
    "GinkgoTaskTimerDown": _fixed({TIMER: FALLS}, {TIMER: ON}),
    "GinkgoTaskTimerTwice": _fixed({TIMER: Gauge(1, 2)}, {TIMER: ON}),
    "GinkgoWorkersGone": _fixed({WORKER: FALLS}, {WORKER: OFF}),
    "GinkgoEventsDropped": _fixed(
        {**LIVES, **_nodes(ON, OFF), _DROPPED: Gauge(0, 5)}, {**LIVES, **_nodes(ON, OFF), _DROPPED: _steady(5)}
    ),
    "GinkgoBackpressureSpike": _spike,
    "GinkgoBackpressureHigh": _pressed,
    "GinkgoQueueGrowing": _growing,
    "GinkgoNodeStalled": _stalled,
    "GinkgoNodePaused": _fixed({**_PAUSED, _PORTFOLIOS: _steady(3)}, {**_PAUSED, _PORTFOLIOS: OFF}),
    "GinkgoNodeDeaf": _deaf,
    "GinkgoPortfolioImbalance": _imbalance,
    "GinkgoRedisUnreachable": _fixed(
        {"ginkgo_redis_up": FALLS}, {"ginkgo_redis_up": FALLS, 'ginkgo_redis_up{instance="b:19121"}': ON}, ranges=180
    ),
    "GinkgoRedisWritesRefused": _fixed({"ginkgo_redis_writes_refused": RISES}, {"ginkgo_redis_writes_refused": OFF}),
    "GinkgoRedisMemoryHigh": _memory,
    "GinkgoExporterDown": _fixed({"up": FALLS}, {"up": FALLS, 'up{instance="b:19121"}': ON}),
    "GinkgoExporterDegraded": _fixed(
        {"ginkgo_exporter_nodes_over_limit": RISES}, {"ginkgo_exporter_nodes_over_limit": OFF}
    ),
    "GinkgoPushFailing": _fixed(
        {"ginkgo_bridge_active": FALLS}, {"ginkgo_bridge_active": FALLS, 'ginkgo_bridge_active{instance="b:19121"}': ON}
    ),
}
"""The examples by alert. GinkgoWatchdog needs none, since it always fires."""
