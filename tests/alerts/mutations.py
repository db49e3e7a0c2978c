"""Ways to break a rule. Each breaks one part of it, which the rule's unit tests have to notice."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from alert_rules import Rule, name_of

_OPPOSITE = {"==": "!=", "!=": "==", ">": "<", "<": ">", ">=": "<", "<=": ">"}
_COMPARISON = re.compile(r"(?<![=!~<>])(==|!=|>=|<=|>|<)(?![=~])(?![^{}]*})")
_NUMBER = re.compile(r"(?<![\w.:\[])(\d+(?:\.\d+)?)(?![\w.:\]])")
_DURATION = re.compile(r"(?<=[\[ ])(\d+)(s|m|h)\b")
_OPERATOR = r"(and|or|unless)\b"
_SOURCE = "instance, pod, container, endpoint"
_FACTOR = 4


_NO_SOURCES = "no 'and ignoring (instance, pod, container, endpoint)'"
HARMLESS = {
    # Two windows end the alert, and either of them is enough.
    "GinkgoNodesDisappeared: 30m times 4 at 179",
    "GinkgoNodesDisappeared: 30m times 4 at 283",
    # A longer memory, or a wider window of yesterday.
    "installation:ginkgo_nodes:all_offline: 1h times 4 at 265",
    "installation:ginkgo_nodes_online:max1h: 1h times 4 at 81",
    "GinkgoNodesUndecided: 2m times 4 at 172",
    "installation:ginkgo_workers:no_task_timer: 1h times 4 at 310",
    "node:ginkgo_node_dropped_events_total:last1h: 1h times 4 at 58",
    "node:ginkgo_node_events_total:last1h: 1h times 4 at 49",
    "node:ginkgo_node_backpressure:yesterday_max30m_rate5m: 30m times 4 at 56",
    # The bridging of gaps is tested with drops, and not again with events.
    "node:ginkgo_node_events_total:last1h: 1h by 4 at 49",
    # This part only saves Prometheus work.
    f"node:ginkgo_node_dropped_events_total:since_restart: {_NO_SOURCES} in line 5",
    "node:ginkgo_node_dropped_events_total:since_restart: matched across installations",
    "node:ginkgo_node_backpressure:some_rate5m: 0.03 by 4 at 39",
    # The baseline then has a minute or two of the spike among its sixty minutes.
    "node:ginkgo_node_backpressure:avg1h_rate5m: 5m by 4 at 62",
    # The tests of the recordings check the windows of rates, and that two exporters make one series.
    "node:ginkgo_node_events:rate5m: instance kept",
    "node:ginkgo_node_events:rate5m: instance kept at 13",
    "node:ginkgo_node_backpressure:rate5m: 5m by 4 at 86",
    "node:ginkgo_node_events:rate5m: 5m by 4 at 80",
    "node:ginkgo_node_events:rate5m: 5m times 4 at 80",
    # A slope over another time, and a slope that reaches 950 exactly.
    "GinkgoQueueGrowing: >= made > at 109",
    "GinkgoQueueGrowing: 10m times 4 at 97",
    "GinkgoQueueGrowing: 10m by 4 at 97",
    # A queue that has to stand still for a shorter time must still do so for the five minutes of `for`.
    "GinkgoNodeStalled: 5m by 4 at 155",
    # Of whole numbers of nodes the same ones are more than half.
    "GinkgoNodeDeaf: 1 by 4 at 395",
    # Exactly two minutes.
    "GinkgoSchedulerStalled: >= made > at 159",
    # Another exporter reads Redis from time to time; `for` is longer than either window.
    "GinkgoExporterDegraded: 0.5 by 4 at 346",
    "GinkgoExporterDegraded: 2m times 4 at 339",
    "GinkgoExporterDegraded: 2m by 4 at 339",
    # The simulated discovery takes 10 ms.
    "GinkgoExporterDegraded: 100 times 4 at 587",
    "GinkgoExporterDegraded: 100 by 4 at 587",
    # Any value fires.
    "GinkgoWatchdog: 1 times 4 at 7",
    "GinkgoWatchdog: 1 by 4 at 7",
}
"""Changes that change no alert in a way that matters. Each has its reason above it."""


class Mutant(NamedTuple):
    """A broken rule: the kind of the fault, the change and its place, and the changed rule."""

    kind: str
    done: str
    rule: Rule

    @property
    def title(self) -> str:
        return f"{name_of(self.rule)}: {self.done}"


def mutants(rule: Rule) -> Iterator[Mutant]:
    """Yield copies of a rule, each broken in one way."""
    expr = rule["expr"]
    for kind, done, broken in (
        *_turned_comparisons(expr),
        *_moved_thresholds(expr),
        *_changed_durations(expr),
        *_changed_clauses(expr),
        *_changed_aggregations(expr),
    ):
        if broken != expr:
            yield Mutant(kind, done, {**rule, "expr": broken})
    for field in ("for", "keep_firing_for"):
        if rule.get(field, "0s") != "0s":
            yield Mutant(field, f"{field} left out", {key: value for key, value in rule.items() if key != field})
            longer = re.sub(r"\d+", lambda number: str(int(number[0]) * _FACTOR), rule[field])
            yield Mutant(field, f"{field} times {_FACTOR}", {**rule, field: longer})
    if "labels" in rule:
        yield Mutant("severity", "severity left out", {**rule, "labels": {}})


def _turned_comparisons(expr: str) -> Iterator[tuple[str, str, str]]:
    for at in _COMPARISON.finditer(expr):
        yield "comparison", f"{at[0]} turned at {at.start()}", _replaced(expr, at, _OPPOSITE[at[0]])
        if at[0] == ">=":
            yield "comparison", f">= made > at {at.start()}", _replaced(expr, at, ">")


def _moved_thresholds(expr: str) -> Iterator[tuple[str, str, str]]:
    for at in _NUMBER.finditer(expr):
        for done, number in (("times", float(at[0]) * _FACTOR), ("by", float(at[0]) / _FACTOR)):
            moved = _replaced(expr, at, f"{number:g}") if number else expr
            yield "threshold", f"{at[0]} {done} {_FACTOR} at {at.start()}", moved


def _changed_durations(expr: str) -> Iterator[tuple[str, str, str]]:
    for at in _DURATION.finditer(expr):
        seconds = int(at[1]) * {"s": 1, "m": 60, "h": 3600}[at[2]]
        for done, changed in (("times", seconds * _FACTOR), ("by", seconds // _FACTOR)):
            yield "duration", f"{at[0]} {done} {_FACTOR} at {at.start()}", _replaced(expr, at, f"{changed}s")


def _changed_clauses(expr: str) -> Iterator[tuple[str, str, str]]:
    for at in re.finditer(r"\b(and|unless)\b", expr):
        other = "unless" if at[0] == "and" else "and"
        yield "clause", f"{at[0]} made {other} at {at.start()}", _replaced(expr, at, other)
    # An operator begins a line. Its right side ends at the next operator of the same depth, or at a bracket above it.
    lines = expr.splitlines()
    for start, line in enumerate(lines):
        if not re.match(_OPERATOR, line.lstrip()):
            continue
        depth = len(line) - len(line.lstrip())
        next_one = rf" {{0,{depth}}}{_OPERATOR}" + (rf"| {{0,{depth - 1}}}\)" if depth else "")
        end = next((later for later in range(start + 1, len(lines)) if re.match(next_one, lines[later])), len(lines))
        yield "clause", f"no '{line.strip()}' in line {start + 1}", "\n".join(lines[:start] + lines[end:])


def _changed_aggregations(expr: str) -> Iterator[tuple[str, str, str]]:
    for at in re.finditer(_SOURCE, expr):
        yield "aggregation", f"instance kept at {at.start()}", _replaced(expr, at, "pod, container, endpoint")
    yield "aggregation", "instance kept", expr.replace(_SOURCE, "pod, container, endpoint")
    yield "aggregation", "installations merged", re.sub(rf"without \({_SOURCE}(, \w+)*\)", "by (node_id)", expr)
    by_node = re.sub(rf"ignoring \({_SOURCE}(, \w+)*\)", "on (node_id)", expr)
    yield "aggregation", "matched across installations", re.sub(r"ignoring \([^)]*\)", "on ()", by_node)


def _replaced(text: str, at: re.Match[str], new: str) -> str:
    return text[: at.start()] + new + text[at.end() :]
