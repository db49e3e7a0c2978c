"""PromQL that the panels share: selection by variables, replicas counted once, installations kept apart."""

from typing import Final

INSTALLATION: Final = "__installation__"
"""Stands for the name of the label that tells installations apart. `render` puts the name in."""

# These labels are dropped: two exporters that read the same Redis, or an exporter that moves to another pod, must
# not make two nodes of one. Labels that tell two installations apart (job, namespace, cluster) stay. The alerts
# aggregate in the same way.
_PLACE: Final = "instance, pod, container, endpoint"

NODE_LEGEND: Final = f"{{{{{INSTALLATION}}}}} {{{{node_id}}}}"
"""The legend of a node's series. The installation's name is empty where no label tells installations apart."""
HERE: Final = f" {{{{{INSTALLATION}}}}}"
"""The end of a legend that names the installation."""
INSTANCE_LEGEND: Final = f"{{{{{INSTALLATION}}}}} {{{{instance}}}}"

OUR_ALERTS: Final = 'alertname=~"Ginkgo.*", alertname!="GinkgoWatchdog"'
"""Matchers of all alerts but the watchdog, which always fires."""


def select(name: str, *matchers: str) -> str:
    """Return a selector of `name` for the chosen installations, jobs and exporters."""
    return recorded(name, 'instance=~"$instance"', *matchers)


def recorded(name: str, *matchers: str) -> str:
    """Return a selector of a recording rule's series, which have an installation and a job, and no instance."""
    inner = ", ".join((f'{INSTALLATION}=~"$cluster"', 'job=~"$job"', *matchers))
    return f"{name}{{{inner}}}"


def alerts(name: str, *matchers: str) -> str:
    """Return a selector of `ALERTS` or `ALERTS_FOR_STATE` for the chosen installations and jobs.

    An alert may have no job and no installation: the watchdog, or the alert that no exporter is scraped. Such an
    alert is shown whatever is chosen.
    """
    inner = ", ".join((f'{INSTALLATION}=~"$cluster|"', 'job=~"$job|"', *matchers))
    return f"{name}{{{inner}}}"


def once(expression: str, *labels: str) -> str:
    """Return one series for each node (or state), however many exporters export it; `labels` are dropped too."""
    return f"max without ({', '.join((_PLACE, *labels))}) ({expression})"


def earliest(expression: str) -> str:
    """Return the earliest of the times that several exporters export."""
    return f"min without ({_PLACE}) ({expression})"


def total(expression: str, *labels: str) -> str:
    """Return the sum in each installation, and of each value of `labels` in it."""
    return f"sum by ({', '.join((INSTALLATION, *labels))}) ({expression})"


def highest(expression: str, *labels: str) -> str:
    """Return the highest value in each installation, and of each value of `labels` in it."""
    return f"max by ({', '.join((INSTALLATION, *labels))}) ({expression})"


def lowest(expression: str) -> str:
    """Return the lowest value in each installation. If it has several jobs, this is the worst of them."""
    return f"min by ({INSTALLATION}) ({expression})"


def readable() -> str:
    """Return for each installation whether an exporter of each of its jobs can read Redis."""
    return lowest(once(select("ginkgo_redis_up")))


def scraped() -> str:
    """Return for each installation whether an exporter of each of its jobs answers Prometheus."""
    return lowest(once(select("up")))


def last_time(condition: str, *, now: str) -> str:
    """Return in milliseconds when a condition last held in each installation in which it does not hold now.

    The time is exact to 30 s. It is 0 if the condition did not hold in the dashboard's whole range.

    Args:
        condition: An expression that has a value while the condition holds.
        now: An expression that has a value for each installation in which the condition does not hold now.
    """
    held = f"1000 * max_over_time(timestamp({condition})[$__range:30s]) and ({now})"
    return f"{held} or 0 * ({now})"


def redis_lost() -> str:
    """Return since when Redis cannot be read, for each installation whose exporters say so."""
    return last_time(f"{readable()} == 1", now=f"{readable()} == 0")


def exporter_lost() -> str:
    """Return since when no exporter answers, for each installation of which Prometheus still has a target."""
    return last_time(f"{scraped()} == 1", now=f"{scraped()} == 0")


def counter_rate(name: str) -> str:
    """Return the increase per second of a counter of the exporter itself."""
    return f"rate({select(name)}[$__rate_interval])"


def rate(selector: str) -> str:
    """Return the increase of a node's counter per second."""
    return once(f"rate({selector}[$__rate_interval])")


def increase_in_range(selector: str) -> str:
    """Return the increase of a node's counter over the dashboard's whole range.

    Replicas are merged before the increase is taken. Otherwise an exporter that moves in the middle of the range
    would lose a part of the increase, or count it twice.
    """
    return f"increase(({once(selector)})[$__range:$__interval])"


def worst(limit: int, series: str, ranking: str, *ignored: str) -> str:
    """Return the `limit` series with the largest `ranking`, the same for the whole range.

    The ranking is taken at the range's end, by `@ end()`. Without it each step would choose its own series, and the
    graph would show far more than `limit` of them. The choice comes before an aggregation of the series, which is what
    costs most with many nodes.

    Args:
        limit: How many nodes.
        series: Their series, of each exporter.
        ranking: One series for each node.
        ignored: Labels that the series have and the ranking does not have, beside those of the exporter.
    """
    return f"{series} and ignoring ({', '.join((_PLACE, *ignored))}) topk({limit}, {ranking})"


def while_known(series: str, *matchers: str) -> str:
    """Return the series of the nodes whose state is known at that time.

    A rate goes on for minutes after its last sample, and falls meanwhile. Without this filter the whole fleet would
    seem to come to rest while Redis cannot be read.
    """
    return f"{series} and ignoring ({_PLACE}) {select('ginkgo_node_up', *matchers)}"


def of_online(name: str, *matchers: str, ignoring: str = "") -> str:
    """Return a gauge of the online nodes. An exporter with `--collector.stale-gauges` has old values of the others.

    Args:
        name: The metric.
        matchers: Which nodes, and which series of them.
        ignoring: A label that the metric has beside the node's.
    """
    return once(_online(select(name, *matchers), *matchers, ignoring=ignoring))


def _online(series: str, *matchers: str, ignoring: str = "") -> str:
    on = f"and ignoring ({ignoring})" if ignoring else "and"
    nodes = [matcher for matcher in matchers if matcher.startswith("node_id")]
    return f"{series} {on} {select('ginkgo_node_up', *nodes)} == 1"


def worst_recorded(limit: int, name: str, *matchers: str) -> str:
    """Return the worst series of a recording rule, ranked by their average over the range."""
    series = recorded(name, *matchers)
    return while_known(worst(limit, series, f"avg_over_time({series}[$__range] @ end())"), *matchers)


def worst_gauge(limit: int, name: str, *matchers: str) -> str:
    """Return the worst series of a gauge, ranked by their highest value in the range."""
    series = select(name, *matchers)
    chosen = worst(limit, series, once(f"max_over_time({series}[$__range] @ end())"))
    return once(_online(chosen, *matchers))


def worst_rate(limit: int, name: str, *matchers: str) -> str:
    """Return the worst rates of a counter, ranked by the counter's increase over the range."""
    counter = select(name, *matchers)
    ranking = once(f"increase({counter}[$__range] @ end())")
    return while_known(once(worst(limit, f"rate({counter}[$__rate_interval])", ranking)), *matchers)


def worst_uptime(limit: int, *matchers: str) -> str:
    """Return whether nodes are up, for the `limit` nodes that were offline for the longest part of the range."""
    up = select("ginkgo_node_up", *matchers)
    uptime = once(f"avg_over_time({up}[$__range] @ end())")
    return once(worst(limit, up, f"1 - {uptime}"))
