"""A story as a file of promtool's unit tests."""

import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from alert_rules import alerts, cut_down_to, failure, left_open, needed_by
from story import STORIES, Labels, Story

INTERVALS = (15, 30)
"""Scrape intervals in seconds with which the rules must work."""
KINDS = [(interval, opened) for interval in INTERVALS for opened in (False, True)]
"""Each interval between scrapes, with the ranges of Prometheus 2 and of Prometheus 3."""
ONCE = [KINDS[0], KINDS[-1]]
"""The kinds for turns that tell each story once: all kinds of all stories take minutes."""

PATIENCE = INTERVALS[0]
"""Scrape interval in seconds for which the times of stories are right.

With a longer interval alerts may begin and end later, by the difference.
"""
LATE_BY = 2
"""Factor of that difference: once for the scrape, once for the evaluations of ``for`` and ``keep_firing_for``."""


class PromtoolFile:
    """Writes a story's expectations as queries of the series ``ALERTS``.

    Args:
        story: Events and expectations.
        rule: The alerting rule of the rules file.
        interval: Seconds between two scrapes, and two evaluations.
    """

    def __init__(self, story: Story, rule: dict[str, Any], interval: int) -> None:
        self._story, self._rule, self._interval = story, rule, interval
        self._step = story.evaluation or interval
        # Prometheus 3 leaves out the sample at the left end of a range, so that alerts may turn one scrape earlier.
        self._early = max(self._step, interval) - PATIENCE
        self._slack = LATE_BY * max(self._step - PATIENCE, interval - PATIENCE)

    def document(self, title: str, groups: list[str]) -> dict[str, Any]:
        """Return the file's content; ``groups`` are the rule groups in the order of their evaluation."""
        queries = [*self._turns(), self._fires_for_nothing_else()]
        return {
            "rule_files": ["../ginkgo.rules.yml"],
            "evaluation_interval": f"{self._step}s",
            "group_eval_order": groups,
            "tests": [
                {
                    "name": title,
                    "interval": f"{self._interval}s",
                    "input_series": self._story.series(self._interval),
                    "promql_expr_test": queries,
                    # Texts may contain values that depend on the scrapes, so they are compared at a single interval.
                    "alert_rule_test": [self._text(**said) for said in self._story.says if self._interval == PATIENCE],
                }
            ],
        }

    def _turns(self) -> list[dict[str, Any]]:
        queries = []
        for labels, turns in self._story.turns.items():
            end = self._floor(self._story.length)
            ends = [*(turn.not_before - self._early for turn in turns[1:]), end]
            queries += self._silence(labels, -self._step, self._floor(turns[0].not_before - self._early))
            for turn, until in zip(turns, ends, strict=True):
                since = self._ceil(turn.by + self._slack)
                check = self._firing if turn.fires else self._silence
                queries += check(labels, since - self._step, self._floor(until))
        return queries

    def _firing(self, labels: Labels, after: int, until: int) -> list[dict[str, Any]]:
        """Return the query that is true if an alert fires at every evaluation of a span."""
        assert until > after, f"{self._story.alert}: {labels} has no time to fire between {after} s and {until} s"
        times = (until - after) // self._step
        query = f"count(count_over_time({_alerts(self._story.alert, labels)}[{until - after - 1}s]) == {times})"
        return [_query(query, until, 1)]

    def _silence(self, labels: Labels, after: int, until: int) -> list[dict[str, Any]]:
        """Return the query that is true if an alert never fires in a span."""
        if until <= after:
            return []
        return [_query(f"count_over_time({_alerts(self._story.alert, labels)}[{until - after - 1}s])", until, None)]

    def _fires_for_nothing_else(self) -> dict[str, Any]:
        end = self._floor(self._story.length)
        # The severity is part of the expectation: an alert without it would reach no pager.
        query = f"count(count_over_time({_alerts(self._story.alert, ())}[{end}s]))"
        return _query(query, end, len(self._story.turns) or None)

    def _text(self, at: float, summary: str, description: str, labels: Any = None) -> dict[str, Any]:
        labels = labels or {}
        annotations = {name: _filled_in(text, labels) for name, text in self._rule["annotations"].items()}
        return {
            "eval_time": f"{self._floor(at)}s",
            "alertname": self._story.alert,
            "exp_alerts": [
                {
                    "exp_labels": {"job": "ginkgo-exporter", **self._rule["labels"], **labels},
                    "exp_annotations": {**annotations, "summary": summary, "description": description},
                }
            ],
        }

    def _floor(self, time: float) -> int:
        return int(time // self._step) * self._step

    def _ceil(self, time: float) -> int:
        return -int(-time // self._step) * self._step


def _filled_in(text: str, labels: dict[str, str]) -> str:
    """Return a link with its labels, and with the installation's part only if there is such a label."""
    part = r"\{\{ with or \$labels\.(\w+) \$externalLabels\.\w+ \}\}(.*?)\{\{ \. \| urlquery \}\}\{\{ end \}\}"
    chosen = re.sub(part, lambda found: found[2] + labels[found[1]] if labels.get(found[1]) else "", text)
    return re.sub(r"\{\{ \$labels\.(\w+) \| urlquery \}\}", lambda found: labels.get(found[1], ""), chosen)


def _alerts(alert: str, labels: Labels) -> str:
    matchers = "".join(f', {name}="{value}"' for name, value in labels)
    return f'ALERTS{{alertname="{alert}", alertstate="firing"{matchers}}}'


def _query(query: str, at: int, value: int | None) -> dict[str, Any]:
    samples = [] if value is None else [{"value": value}]
    return {"expr": query, "eval_time": f"{at}s", "exp_samples": samples}


@cache
def story_test(alert: str, title: str, interval: int) -> str:
    """Return a story about an alert as a file of unit tests."""
    tested = cut_down_to({alert} | needed_by(alerts()[alert]))
    # Prometheus evaluates groups in any order. This is the worst order: an alert comes before its recordings.
    order = sorted(tested, key=lambda group: not any(rule.get("alert") == alert for rule in group["rules"]))
    written = PromtoolFile(Story(alert, **STORIES[alert][title]), alerts()[alert], interval)
    return json.dumps(written.document(title, [group["name"] for group in order]))


def wrong(alert: str, kinds: list[tuple[int, bool]], folder: Path, titles: Collection[str] = ()) -> str:
    """Tell an alert's stories, in turns of these kinds, or only those of some titles; return what promtool says."""
    closed = cut_down_to({alert} | needed_by(alerts()[alert]))
    told = []
    for number, title in enumerate(STORIES[alert]):
        interval, opened = kinds[number % len(kinds)]
        if title in (titles or STORIES[alert]):
            told.append((story_test(alert, title, interval), left_open(closed) if opened else closed))
    return failure(folder, *told)
