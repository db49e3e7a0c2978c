"""``/api/v1/nodes``: filter, order and pages, over any fleet."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.liveness.offline import unknown
from exporter.snapshot.rows import rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.web.node_list import NodeQuery, nodes_json
from fleets import FLEETS, snapshot_of
from lab.readings import Pair

SORTS = ["node_id", "portfolios", "status", "state", "heartbeat_ttl_seconds", "queue_size", "offline_since"]


def fleet(count: int) -> Snapshot:
    """Return nodes of which every third has no queue size, and every second is offline."""
    return snapshot_of(
        {
            b"node-%02d" % number: Pair(
                ttl=20.0 if number % 2 else None,
                fields={"portfolio_count": b"%d" % (number % 4), **({"queue_size": b"1"} if number % 3 else {})},
            )
            for number in range(count)
        }
    )


def ask(snapshot: Snapshot | None, query: str = "") -> dict[str, Any]:
    asked = {name: [value.encode() for value in values] for name, values in parse_qs(query).items()}
    pieces = nodes_json(snapshot, unknown, NodeQuery.of(asked), lambda: None)
    answer: dict[str, Any] = json.loads(b"".join(pieces))
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [node["node_id"] for node in answer["nodes"]]


def test_without_a_limit_all_nodes_are_given_and_there_is_no_next() -> None:
    snapshot = fleet(7)
    answer = ask(snapshot)
    assert answer == {"redis_up": True, "nodes": list(rows_of(snapshot))}
    assert ask(None) == {"redis_up": False, "nodes": []}
    assert ask(None, "limit=3") == {"redis_up": False, "nodes": [], "next": None}


def test_least_loaded_online_node_is_named() -> None:
    answer = ask(fleet(9), "state=online&sort=portfolios&limit=1")
    assert [(node["node_id"], node["portfolios"]) for node in answer["nodes"]] == [("node-01", 1)]
    assert answer["next"]


def test_node_without_a_value_comes_last_in_both_orders() -> None:
    for order in ("", "-"):
        nodes = ask(fleet(9), f"sort={order}queue_size&state=online")["nodes"]
        values = [node["queue_size"] for node in nodes]
        assert values == sorted(values, key=lambda value: value is None)
        assert None in values


@given(FLEETS, st.sampled_from(SORTS), st.booleans(), st.integers(1, 3))
def test_pages_hold_each_node_once_in_the_order_of_the_whole(
    pairs: dict[bytes, Pair],
    sort: str,
    descending: bool,  # noqa: FBT001 - drawn by hypothesis
    limit: int,
) -> None:
    snapshot = snapshot_of(pairs)
    order = f"sort={'-' if descending else ''}{sort}"
    whole, paged, cursor = ids(ask(snapshot, order)), list[str](), ""
    while cursor is not None:
        answer = ask(snapshot, f"{order}&limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(answer["nodes"]) <= limit
        paged += ids(answer)
        cursor = answer["next"]
    assert paged == whole
    assert sorted(whole) == sorted(ids(ask(snapshot)))


def test_fleet_too_large_for_one_answer_is_given_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.node_list.MOST_NODES", 5)
    first = ask(fleet(7))
    rest = ask(fleet(7), f"cursor={first['next']}")
    assert ids(first) + ids(rest) == [*ids(ask(fleet(7), "limit=5")), "node-05", "node-06"]
    assert "next" not in rest


@pytest.mark.parametrize(
    "query",
    [
        *(
            "state=dead",
            "sort=secret",
            "sort=--portfolios",
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=²",
            "limit=" + "9" * 99,
        ),
        *("cursor=x", "cursor=bnVsbA==", "cursor=W10=", "cursor=WzEsMiwzXQ==", "cursor=" + "A" * 9000, "cursor=%00"),
        "sort=portfolios&cursor=W2ZhbHNlLCAiYSIsICJhIl0=",
    ],
)
def test_invalid_query_is_refused_by_name_and_not_repeated(query: str) -> None:
    with pytest.raises(ValueError, match=r"^(state|sort|limit|cursor): must be ") as refused:
        ask(fleet(2), query)
    assert "dead" not in str(refused.value)
    assert "secret" not in str(refused.value)
