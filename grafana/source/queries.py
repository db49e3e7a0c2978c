"""PromQL the panels share: selection by variables, replicas counted once, the worst few of many."""

from typing import Final

# Two exporters read the same Redis, or one moves to another pod: still one node. Labels that tell two
# installations apart (job, namespace, cluster) stay. The alerts aggregate in the same way.
_PLACE: Final = "instance, pod, container, endpoint"


def select(name: str, *matchers: str) -> str:
    """A selector of `name` for the chosen jobs and exporters."""
    inner = ", ".join(('job=~"$job"', 'instance=~"$instance"', *matchers))
    return f"{name}{{{inner}}}"


def recorded(name: str, *matchers: str) -> str:
    """A selector of a recording rule's series, which have a job and no instance."""
    inner = ", ".join(('job=~"$job"', *matchers))
    return f"{name}{{{inner}}}"


def once(expression: str, *labels: str) -> str:
    """One series a node (or state), however many exporters tell of it; `labels` are dropped as well."""
    return f"max without ({', '.join((_PLACE, *labels))}) ({expression})"


def rate(selector: str) -> str:
    """What a node's counter gains per second."""
    return once(f"rate({selector}[$__rate_interval])")


def increase_in_range(selector: str) -> str:
    """What a node's counter gained over the dashboard's whole range.

    Replicas are merged before the increase is taken, so that a move of the exporter half-way neither
    loses nor doubles a part.
    """
    return f"increase(({once(selector)})[$__range:$__interval])"


def worst(limit: int, series: str, ranking: str) -> str:
    """The `limit` series with the largest `ranking`, for the whole range.

    The ranking takes its time from `@ end()`: without it each step would choose its own few, and the graph
    show far more.
    """
    return f"{series} and topk({limit}, {ranking})"


def while_known(series: str, *matchers: str) -> str:
    """The series of nodes whose state is known at that time.

    Rates live on for minutes after their last sample, and fall meanwhile: while Redis can't be read that
    would look like a fleet that dies away.
    """
    return f"{series} and {once(select('ginkgo_node_up', *matchers))}"


def worst_recorded(limit: int, name: str, *matchers: str) -> str:
    """The same of a recorded series, ranked by its average over the range."""
    series = recorded(name, *matchers)
    return worst(limit, while_known(series, *matchers), f"avg_over_time({series}[$__range] @ end())")


def worst_gauge(limit: int, name: str, *matchers: str) -> str:
    """The same of a gauge, ranked by its highest value in the range."""
    selector = select(name, *matchers)
    return worst(limit, once(selector), once(f"max_over_time({selector}[$__range] @ end())"))


def worst_rate(limit: int, name: str, *matchers: str) -> str:
    """The same of a counter's rate, ranked by its increase over the range."""
    counter = select(name, *matchers)
    return worst(limit, while_known(rate(counter), *matchers), once(f"increase({counter}[$__range] @ end())"))


def worst_uptime(limit: int, *matchers: str) -> str:
    """Whether nodes are up: those `limit` that were offline for the longest part of the range."""
    up = select("ginkgo_node_up", *matchers)
    uptime = once(f"avg_over_time({up}[$__range] @ end())")
    return worst(limit, once(up), f"1 - {uptime}")
