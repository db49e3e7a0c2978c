"""PromQL that the panels share: selection by variables, replicas counted once, the worst few of many."""

from typing import Final

# These labels are dropped: two exporters that read the same Redis, or an exporter that moves to another pod, must
# not make two nodes of one. Labels that tell two installations apart (job, namespace, cluster) stay. The alerts
# aggregate in the same way.
_PLACE: Final = "instance, pod, container, endpoint"


def select(name: str, *matchers: str) -> str:
    """Return a selector of `name` for the chosen jobs and exporters."""
    inner = ", ".join(('job=~"$job"', 'instance=~"$instance"', *matchers))
    return f"{name}{{{inner}}}"


def recorded(name: str, *matchers: str) -> str:
    """Return a selector of a recording rule's series, which have a job and no instance."""
    inner = ", ".join(('job=~"$job"', *matchers))
    return f"{name}{{{inner}}}"


def once(expression: str, *labels: str) -> str:
    """Return one series for each node (or state), however many exporters export it; `labels` are dropped too."""
    return f"max without ({', '.join((_PLACE, *labels))}) ({expression})"


def earliest(expression: str) -> str:
    """Return the earliest of the times that several exporters export."""
    return f"min without ({_PLACE}) ({expression})"


def rate(selector: str) -> str:
    """Return the increase of a node's counter per second."""
    return once(f"rate({selector}[$__rate_interval])")


def increase_in_range(selector: str) -> str:
    """Return the increase of a node's counter over the dashboard's whole range.

    Replicas are merged before the increase is taken. Otherwise an exporter that moves in the middle of the range
    would lose a part of the increase, or count it twice.
    """
    return f"increase(({once(selector)})[$__range:$__interval])"


def worst(limit: int, series: str, ranking: str) -> str:
    """Return the `limit` series with the largest `ranking`, the same for the whole range.

    The ranking is taken at the range's end, by `@ end()`. Without it each step would choose its own series, and the
    graph would show far more than `limit` of them.
    """
    return f"{series} and topk({limit}, {ranking})"


def while_known(series: str, *matchers: str) -> str:
    """Return the series of the nodes whose state is known at that time.

    A rate goes on for minutes after its last sample, and falls meanwhile. Without this filter the whole fleet would
    seem to come to rest while Redis cannot be read.
    """
    return f"{series} and {once(select('ginkgo_node_up', *matchers))}"


def worst_recorded(limit: int, name: str, *matchers: str) -> str:
    """Return the worst series of a recording rule, ranked by their average over the range."""
    series = recorded(name, *matchers)
    return worst(limit, while_known(series, *matchers), f"avg_over_time({series}[$__range] @ end())")


def worst_gauge(limit: int, name: str, *matchers: str) -> str:
    """Return the worst series of a gauge, ranked by their highest value in the range."""
    selector = select(name, *matchers)
    return worst(limit, once(selector), once(f"max_over_time({selector}[$__range] @ end())"))


def worst_rate(limit: int, name: str, *matchers: str) -> str:
    """Return the worst rates of a counter, ranked by the counter's increase over the range."""
    counter = select(name, *matchers)
    return worst(limit, while_known(rate(counter), *matchers), once(f"increase({counter}[$__range] @ end())"))


def worst_uptime(limit: int, *matchers: str) -> str:
    """Return whether nodes are up, for the `limit` nodes that were offline for the longest part of the range."""
    up = select("ginkgo_node_up", *matchers)
    uptime = once(f"avg_over_time({up}[$__range] @ end())")
    return worst(limit, once(up), f"1 - {uptime}")
