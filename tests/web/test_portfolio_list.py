"""``/api/v1/portfolios``: filters and pages."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from exporter.snapshot.portfolio_rows import faults_first, portfolio_rows
from exporter.snapshot.snapshot import Snapshot
from exporter.web.portfolio_list import MOST_PORTFOLIOS, PortfolioQuery, portfolios_json
from fleets import snapshot_of
from portfolio_example import EXPECTED
from portfolio_snapshots import SINCE, example, traded, with_portfolios


def ask(snapshot: Snapshot | None, query: str = "") -> dict[str, Any]:
    asked = {name: [value.encode() for value in values] for name, values in parse_qs(query).items()}
    answer: dict[str, Any] = json.loads(b"".join(portfolios_json(snapshot, PortfolioQuery.of(asked), lambda: None)))
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [portfolio["portfolio_id"] for portfolio in answer["portfolios"]]


def test_all_portfolios_are_given_with_state_and_reason() -> None:
    answer = ask(example())
    assert answer["redis_up"] is True
    assert "next" not in answer
    given = {row["portfolio_id"].encode(): (row["state"], row["reason"]) for row in answer["portfolios"]}
    assert given == EXPECTED
    assert ids(answer) == sorted(ids(answer))
    by_id = {row["portfolio_id"]: row for row in answer["portfolios"]}
    assert by_id["p06"] == {
        "portfolio_id": "p06",
        "state": "duplicated",
        "reason": None,
        "planned_node": "alpha",
        "loaded_nodes": ["alpha", "beta"],
        "listed_nodes": [],
        "since": SINCE,
    }
    assert (by_id["p09"]["planned_node"], by_id["p09"]["listed_nodes"]) == (None, ["gamma"])
    assert by_id["p01"]["since"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=untraded", ["p03", "p04", "p09", "p13"]),
        ("node_id=gamma", ["p03", "p09"]),
        ("node_id=beta&state=untraded", ["p13"]),
        ("node_id=nobody", []),
        ("state=traded&other=ignored", ["p01", "p02"]),
    ],
)
def test_filters_choose_portfolios(query: str, expected: list[str]) -> None:
    assert ids(ask(example(), query)) == expected


def test_pages_hold_each_portfolio_once() -> None:
    found: list[str] = []
    cursor = ""
    while True:
        answer = ask(example(), f"limit=4{cursor}")
        found += ids(answer)
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == ids(ask(example()))


def test_long_ledger_comes_in_pages_unasked() -> None:
    first = ask(traded(MOST_PORTFOLIOS + 1))
    assert len(first["portfolios"]) == MOST_PORTFOLIOS
    rest = ask(traded(MOST_PORTFOLIOS + 1), f"cursor={first['next']}")
    assert len(rest["portfolios"]) == 1


def test_no_ledger_and_no_redis_give_no_portfolio() -> None:
    assert ask(snapshot_of({})) == {"redis_up": True, "portfolios": []}
    assert ask(None, "limit=1") == {"redis_up": False, "portfolios": [], "next": None}


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=x", "limit=-1", "cursor=%21"])
def test_invalid_argument_is_refused_by_name(query: str) -> None:
    with pytest.raises(ValueError, match=query.partition("=")[0]):
        ask(example(), query)


def test_ids_that_are_no_text_page_on() -> None:
    snapshot = with_portfolios({b"\xff": b"n", b"\xfe": b"n", b"\\xff": b"n"}, [])
    first = ask(snapshot, "limit=2")
    rest = ask(snapshot, f"limit=2&cursor={first['next']}")
    assert ids(first) + ids(rest) == ["\\xff", "\\xfe", "\\xff"]


def test_faults_come_first_and_traded_portfolios_last() -> None:
    portfolios = example().portfolios
    assert portfolios
    states = [row["state"] for row in faults_first(portfolio_rows(portfolios.reading.account))]
    assert list(dict.fromkeys(states)) == ["untraded", "misplaced", "duplicated", "unplanned", "unknown", "traded"]
