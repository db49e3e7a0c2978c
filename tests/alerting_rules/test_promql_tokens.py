"""Queries are changed token by token. Another parser's syntax tree shows that each selector is changed, and no text."""

from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from rule_settings import rules_by_name

from exporter.alerting_rules.promql import matcher, metrics, tokens, with_matchers, with_ranges
from exporter.bundled import RULES, bundled

QUERIES = {name: rule["expr"] for name, rule in rules_by_name(bundled(RULES).read_text()).items()}
ADDED = ('cluster="a b, {c}"', 'stage!~"x|y"')


def selectors(tree: Any) -> Iterator[tuple[str | None, list[str]]]:
    """Yield metric and conditions of each selector in a syntax tree, in the order of the query."""
    if isinstance(tree, promql_parser.VectorSelector):
        yield tree.name, sorted(map(str, tree.matchers.matchers))
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (below := getattr(tree, name, None)) is not None:
            yield from selectors(below)
    args = getattr(tree, "args", None)
    for below in args if isinstance(args, list) else ():
        yield from selectors(below)


@pytest.mark.parametrize("name", QUERIES)
def test_each_selector_gets_the_conditions_and_keeps_its_own(name: str) -> None:
    before = list(selectors(promql_parser.parse(QUERIES[name])))
    after = list(selectors(promql_parser.parse(with_matchers(QUERIES[name], ADDED))))
    probe = with_matchers("probe", ADDED)
    ((_, added),) = selectors(promql_parser.parse(probe))
    assert after == [(metric, sorted([*conditions, *added])) for metric, conditions in before]
    assert [metric for metric, _ in before if metric] == list(metrics(QUERIES[name]))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("up", "up{a='1'}"),
        ("up{}", "up{a='1'}"),
        ("sum by (job, up) (up)", "sum by (job, up) (up{a='1'})"),
        ("sum(up) without (job)", "sum(up{a='1'}) without (job)"),
        ('label_replace(up, "up", "up{x}", "", "")', 'label_replace(up{a=\'1\'}, "up", "up{x}", "", "")'),
        ('up{job="up", x=~"}"}[5m:1m] offset 3m', 'up{a=\'1\', job="up", x=~"}"}[5m:1m] offset 3m'),
        ("a / on (x) group_left (y) b", "a{a='1'} / on (x) group_left (y) b{a='1'}"),
        ('{__name__=~"a|b"} # up', "{a='1', __name__=~\"a|b\"} # up"),
        ("1e3 + inf > bool 2", "1e3 + inf > bool 2"),
        ("time() - up @ 5", "time() - up{a='1'} @ 5"),
    ],
)
def test_text_labels_functions_and_numbers_are_no_selectors(query: str, expected: str) -> None:
    assert with_matchers(query, ["a='1'"]) == expected


def test_no_condition_changes_nothing() -> None:
    assert all(with_matchers(query, ()) == query for query in QUERIES.values())


def test_only_durations_of_ranges_and_offsets_are_changed() -> None:
    query = 'rate(a5m{b="5m"}[5m]) > 5 offset 1h30m'
    assert with_ranges(query, lambda text: f"<{text}>") == 'rate(a5m{b="5m"}[<5m>]) > 5 offset <1h30m>'


@pytest.mark.parametrize("text", ["cluster", "cluster=tokyo", 'cluster="a" or b', '="a"', 'a="b\n"'])
def test_a_text_that_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a selector such as"):
        matcher(text)


def test_a_text_that_is_no_query_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no PromQL: ; down and a long re$"):
        tokens("up ; down and a long rest")
