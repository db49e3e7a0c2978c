"""Why a node is undecided and until when, as the judge knows it and as rows say it."""

import time
from dataclasses import replace

import pytest

from exporter.liveness.evidence import Why
from exporter.liveness.faults import Kind
from exporter.liveness.judge import Judge
from exporter.liveness.offline import Undecided, first_look, judged, unknown
from exporter.snapshot.rows import because, rows_of
from fleets import Exporter
from lab.readings import ALIVE, CRASHED, SERVER, WALL, reading_of

TTL, BEAT = 30.0, 10.0
REFUSED = replace(SERVER, refused={"MISCONF": 1})


def restarted_judge(at: float = 40.0) -> Judge:
    """Return a judge that saw a node alive at 0, then another run of Redis without its heartbeat."""
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"n": ALIVE}, 0))
    judge.judge(reading_of({b"n": CRASHED}, at, replace(SERVER, run_id="run-2", uptime=100.0)))
    return judge


def test_node_that_a_fault_excuses_says_which_fault_and_until_when() -> None:
    doubt = restarted_judge().doubt(b"n")
    assert doubt
    assert (doubt.why, doubt.fault and doubt.fault.kind) == (Why.FAULT, Kind.RESTARTED)
    assert doubt.until == pytest.approx(80), "a TTL and a beat after the fault"


def test_node_is_called_dead_at_that_time_and_not_before() -> None:
    judge = restarted_judge()
    for at in (*range(41, 80), 79.9):
        judge.observe(replace(SERVER, run_id="run-2", uptime=60.0 + at), at)
    late = reading_of({b"n": CRASHED}, 79.9, replace(SERVER, run_id="run-2", uptime=139.9))
    assert judge.judge(late).states == ["undecided"]
    doubt = judge.doubt(b"n")
    assert doubt
    assert doubt.until == pytest.approx(80)
    dead = reading_of({b"n": CRASHED}, 80.1, replace(SERVER, run_id="run-2", uptime=140.1))
    assert judge.judge(dead).states == ["offline"]
    assert judge.doubt(b"n") is None


def test_lasting_fault_leaves_the_end_open() -> None:
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"n": ALIVE}, 0, replace(SERVER, refused={"MISCONF": 0})))
    for at in range(1, 41):
        judge.observe(replace(SERVER, refused={"MISCONF": at}), at)
    judge.judge(reading_of({b"n": CRASHED}, 41, replace(SERVER, refused={"MISCONF": 41})))
    doubt = judge.doubt(b"n")
    assert doubt
    assert (doubt.fault and doubt.fault.kind, doubt.until) == (Kind.REFUSED, None)


def test_online_offline_and_unknown_nodes_have_no_doubt() -> None:
    judge = restarted_judge()
    judge.judge(reading_of({b"a": ALIVE}, 41, replace(SERVER, run_id="run-2", uptime=101.0)))
    assert judge.doubt(b"a") is judge.doubt(b"nobody") is None


def test_first_look_at_a_pair_that_reads_as_crashed_decides_nothing() -> None:
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"n": CRASHED}, 0))
    doubt = judge.doubt(b"n")
    assert doubt
    assert (doubt.why, doubt.fault, doubt.until) == (Why.FIRST_LOOK, None, None)


def test_fault_after_the_first_look_leaves_its_reason() -> None:
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"n": CRASHED}, 0))
    judge.observe(replace(SERVER, run_id="run-2", uptime=0.5), 0.5)
    doubt = judge.doubt(b"n")
    assert doubt
    assert (doubt.why, doubt.fault, doubt.until) == (Why.FIRST_LOOK, None, None)


def test_node_whose_chance_is_over_is_decided_by_the_next_look() -> None:
    judge = Judge(TTL, BEAT)
    judge.judge(reading_of({b"n": ALIVE}, 0))
    for at in range(1, 21):
        judge.observe(SERVER, at)
    demoted = replace(SERVER, role="slave")
    judge.judge(reading_of({b"n": CRASHED}, 21, demoted))
    untils = []
    for at in range(22, 44):
        judge.observe(demoted, at)
        untils.append(getattr(judge.doubt(b"n"), "until", None))
    assert untils[:20] == pytest.approx([41] * 20), "20 s of chance before its role changed, and 20 s after"
    assert untils[20:] == pytest.approx([42, 43]), "never before now"


def test_death_that_is_held_back_says_so() -> None:
    judge = Judge(TTL, BEAT)
    nodes = {name: replace(ALIVE, ttl=ttl) for name, ttl in ((b"a", 20.0), (b"b", 21.0), (b"c", 22.0), (b"d", 30.0))}
    judge.judge(reading_of(nodes, 0))
    for at in range(1, 20):
        judge.observe(SERVER, at)
    rest = {name: replace(node, ttl=(node.ttl or 0) - 20.5) for name, node in nodes.items()}
    judge.judge(reading_of({**rest, b"a": CRASHED}, 20.5))
    doubt = judge.doubt(b"a")
    assert doubt
    assert doubt.why is Why.HELD


def test_times_are_unix_times_and_the_words_name_them() -> None:
    since = judged(restarted_judge(), lambda: WALL, lambda: 0.0)
    doubt = since.undecided(b"n")
    assert doubt
    assert (doubt.fault, doubt.fault_until, doubt.until) == ("another run", WALL + 40, WALL + 80)
    assert because(doubt) == (
        "a fault of Redis may explain the missing heartbeat"
        " (another run, from 2026-01-06 12:30:45 until 2026-01-06 12:31:25 UTC)"
    )
    lasts = "(another run, since 2026-01-06 12:30:45 UTC), and no verdict comes before that fault ends"
    assert because(doubt._replace(fault_until=None)).endswith(lasts)


def test_times_are_told_to_the_millisecond() -> None:
    doubt = judged(restarted_judge(40.12345), lambda: WALL, lambda: 0.0).undecided(b"n")
    assert doubt
    assert (doubt.fault_until, doubt.until) == (WALL + 40.123, WALL + 80.123)


def test_command_that_looks_once_knows_doubts_alone() -> None:
    since = first_look(restarted_judge())
    assert since(b"n") is None
    doubt = since.undecided(b"n")
    assert doubt
    assert doubt.fault_until == pytest.approx(time.time() - time.monotonic() + 40, abs=1)


def test_row_of_an_undecided_node_has_the_reason_and_the_time() -> None:
    exporter = Exporter()
    exporter._judge.observe(replace(SERVER, role="slave"), 1.0)
    snapshot = exporter.snapshot({b"n": CRASHED}, 2.0)
    (row,) = rows_of(snapshot, judged(exporter._judge, lambda: WALL + 2, lambda: 2.0))
    assert row["state"] == "undecided"
    assert row["undecided_because"].startswith("a fault of Redis may explain the missing heartbeat (another role")
    assert row["undecided_until"] == pytest.approx(WALL + 2 + TTL + BEAT, abs=0.2)


def test_words_for_other_reasons() -> None:
    assert because(None) == "the Redis that holds its keys cannot be read"
    assert because(Undecided(Why.HELD)) == "its death may be part of a mass loss"
    assert because(unknown.undecided(b"n")) == "the reason is unknown"
