"""Findings on nodes become changes for the journal, with their evidence as JSON."""

from typing import Any

import pytest

from exporter.journal.nodes import MOST_ARRIVALS, MOST_TEXT, node_entries
from exporter.liveness.evidence import Finding, Why
from exporter.liveness.faults import ONGOING, Fault, Kind
from exporter.liveness.server_evidence import ServerEvidence
from exporter.liveness.states import Change, State
from exporter.source.reading import MISSING, NO_EXPIRY
from journal_events import T0


def finding(name: bytes = b"n", before: State | None = State.ONLINE, **other: Any) -> Finding:
    """Return a finding: an online node became undecided, unless it is said otherwise."""
    usual: dict[str, Any] = {
        "why": Why.FAULT,
        "ttl_ms": MISSING,
        "has_hash": True,
        "beat": b"beat",
        "deadline": None,
        "since": None,
        "exact": False,
        "fault": None,
        "member": False,
        "server": None,
    }
    after = other.pop("after", State.UNDECIDED)
    return Finding(Change(name, before, after, 5.0), **usual | other)


def arrival(number: int) -> Finding:
    return finding(b"n%d" % number, None, after=State.ONLINE, why=Why.BEATS, ttl_ms=30_000)


def evidence(each: Finding) -> dict[str, Any]:
    (entry,) = node_entries([each], lambda at: T0 + at)
    return {**entry.common, **entry.own}


def test_fault_is_told_with_its_begin_and_end() -> None:
    told = evidence(finding(fault=Fault(Kind.FLUSHED, 1.00049, 2.00051)))
    assert (told["fault"], told["fault_since"], told["fault_until"]) == ("data deleted", T0 + 1, T0 + 2.001)
    assert evidence(finding(fault=Fault(Kind.REFUSED, 1, ONGOING)))["fault_until"] is None


def test_what_redis_said_is_told() -> None:
    told = evidence(finding(server=ServerEvidence("run", "master", 3, 1.0, {"OOM": 2}, 2.0)))
    assert {key: told[key] for key in ("redis_run_id", "redis_role", "evicted_keys", "evicted_at")} == {
        "redis_run_id": "run",
        "redis_role": "master",
        "evicted_keys": 3,
        "evicted_at": T0 + 1,
    }
    assert (told["refused_writes"], told["refused_at"]) == ({"OOM": 2}, T0 + 2)
    assert "refused_at" not in evidence(finding(server=ServerEvidence("run", "master")))


@pytest.mark.parametrize(
    ("ttl_ms", "told"), [(None, None), (MISSING, 0), (NO_EXPIRY, -1), (0, 0), (1500, 1.5), (30_000, 30)]
)
def test_ttl_is_told_in_seconds(ttl_ms: int | None, told: float | None) -> None:
    assert evidence(finding(ttl_ms=ttl_ms))["heartbeat_ttl_seconds"] == told


def test_long_heartbeat_is_cut() -> None:
    assert evidence(finding(beat=b"x" * 10_000))["heartbeat"] == "x" * MOST_TEXT
    wide = "\U0001f333" * MOST_TEXT  # four bytes each
    assert evidence(finding(beat=wide.encode() * 2))["heartbeat"] == wide


def test_first_look_is_no_change_and_hides_no_other_one() -> None:
    told = node_entries([finding(b"a", None, why=Why.FIRST_LOOK), finding(b"b")], lambda at: at)
    assert [entry.subject for entry in told] == ["b"]


@pytest.mark.parametrize(("arrivals", "told"), [(MOST_ARRIVALS - 1, True), (MOST_ARRIVALS, False)])
def test_of_many_new_nodes_nothing_is_told_but_their_names(arrivals: int, *, told: bool) -> None:
    entries = list(node_entries([*map(arrival, range(arrivals)), finding()], lambda at: at))
    assert len(entries) == arrivals + 1
    assert all(bool(entry.own) is told for entry in entries[:-1])
    assert entries[-1].own, "a change of another kind keeps its evidence"
