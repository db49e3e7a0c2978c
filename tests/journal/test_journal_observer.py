"""What the judge and the outages show becomes events, with the evidence of each verdict."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.journal.event import Event, EventKind
from exporter.journal.file import JournalFile
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.journal.observer import Observer
from exporter.journal.refusal import QUIET
from exporter.liveness.faults import Kind
from exporter.liveness.forgetting import Leftovers
from exporter.liveness.judge import Judge, State
from exporter.liveness.mass_loss import Thresholds
from exporter.liveness.offline import judged
from exporter.liveness.outages import PROBED, Outages
from exporter.settings import load
from exporter.source.reading import Server
from exporter.telemetry import Telemetry
from journal_events import told
from lab.nodes import beat
from lab.readings import ALIVE, CRASHED, ENDLESS, GONE, SERVER, Pair, reading_of
from lab.servers import RedisServer

TTL, BEAT, HOUR = 30.0, 10.0, 3600.0
EPOCH = 1_700_000_000.0


class Witnessed:
    """One run of an exporter: a judge and the journal that hears of it. Time is what the test says."""

    def __init__(self, path: Path | None = None, epoch: float = EPOCH, forget_after: float | None = None) -> None:
        self.now = 0.0
        self.epoch = epoch
        self.judge = Judge(TTL, BEAT, forget_after, Thresholds(), forget_rehomed_after=HOUR - 1)
        self.outages = Outages(lambda: self.now)
        file = JournalFile(path, 1 << 20) if path else None
        self.journal = Journal(file, Telemetry(), lambda: self.epoch + self.now, lambda: self.now)
        self.observer = Observer(self.journal, self.judge, self.outages)

    def look(self, pairs: Mapping[bytes, Pair], at: float, server: Server = SERVER) -> list[State]:
        while self.now < at - 1:
            self.now += 1
            self.judge.observe(server, self.now)
            self.observer.look()
        self.now = at
        states = self.judge.judge(reading_of(pairs, at, server)).states
        self.observer.look()
        return list(states)

    def events(self, kind: EventKind = EventKind.NODE) -> list[Event]:
        return list(reversed(self.journal.page(Query(kinds=frozenset({kind})), 1000).events))


def changes(run: Witnessed, kind: EventKind = EventKind.NODE) -> list[tuple[tuple[str, ...], str | None, str]]:
    return [(event.subjects, event.before, event.after) for event in run.events(kind)]


def test_life_of_a_node_is_told() -> None:
    run = Witnessed()
    for pair, at in ((ALIVE, 0), (CRASHED, 31), (ALIVE, 50), (ALIVE, 55), (GONE, 60)):
        run.look({b"n": pair}, at)
    assert changes(run) == [
        (("n",), None, "online"),
        (("n",), "online", "offline"),
        (("n",), "offline", "online"),
        (("n",), "online", "gone"),
    ]
    assert [event.time - EPOCH for event in run.events()] == [0, 31, 50, 60]


def test_death_has_its_evidence() -> None:
    run = Witnessed()
    run.look({b"n": ALIVE}, 0)
    run.look({b"n": CRASHED}, 31)
    assert run.events()[-1].evidence == {
        "because": "its heartbeat ended",
        "hash": True,
        "mass_loss": False,
        "redis_run_id": "run-1",
        "redis_role": "master",
        "evicted_keys": 0,
        "refused_writes": {},
        "heartbeat_ttl_seconds": 0,
        "heartbeat": "2026-01-06T12:30:45.123456",
        "deadline": EPOCH + 30,
        "offline_since": EPOCH + 30,
        "offline_since_exact": True,
    }


@pytest.mark.parametrize(
    ("pairs", "because"),
    [
        ((ALIVE, CRASHED), "its heartbeat ended"),
        ((ALIVE, ENDLESS), "its heartbeat never expires"),
        ((CRASHED, CRASHED), "it has a hash and no heartbeat"),
        ((ALIVE, GONE), "its heartbeat and its hash were deleted"),
    ],
)
def test_reason_is_the_rule_that_decided(pairs: tuple[Pair, Pair], because: str) -> None:
    run = Witnessed()
    run.look({b"n": pairs[0]}, 0)
    run.look({b"n": pairs[1]}, 31)
    event = run.events()[-1]
    assert event.evidence["because"] == because


def test_undecided_node_names_the_fault_that_it_is_credited_to() -> None:
    run, restarted = Witnessed(), replace(SERVER, run_id="run-2", uptime=1.0)
    run.look({b"n": ALIVE}, 0)
    run.look({b"n": CRASHED}, 29, restarted)
    run.look({b"n": CRASHED}, 31, restarted)
    undecided = run.events()[-1]
    assert undecided.after == "undecided"
    assert (undecided.evidence["because"], undecided.evidence["redis_run_id"]) == (
        "a fault of Redis may explain the missing heartbeat",
        "run-2",
    )
    assert undecided.evidence["fault"] in ("another run", "a short run")
    run.look({b"n": CRASHED}, 100, restarted)
    assert run.events()[-1].evidence["because"] == "it did not beat although Redis gave it the time"
    assert [after for _, _, after in changes(run, EventKind.REDIS)] == ["another run"]


def test_evictions_before_a_death_are_in_its_evidence() -> None:
    run = Witnessed()
    run.look({b"n": ALIVE}, 0)
    run.look({b"n": ALIVE}, 1, replace(SERVER, evicted=7))
    run.look({b"n": CRASHED}, 60, replace(SERVER, evicted=7))
    evidence = run.events()[-1].evidence
    assert (evidence["evicted_keys"], evidence["evicted_at"]) == (7, EPOCH + 1)


def test_many_deaths_at_once_are_one_event_and_a_mass_loss_until_they_are_back() -> None:
    run = Witnessed()
    names = [b"n%02d" % number for number in range(20)]
    run.look(dict.fromkeys(names, ALIVE), 0)
    run.look(dict.fromkeys(names, CRASHED), 31)
    death = run.events()[-1]
    assert (len(death.subjects), death.after, death.evidence["mass_loss"]) == (20, "offline", True)
    (loss,) = run.events(EventKind.MASS_LOSS)
    assert (len(loss.subjects), loss.before, loss.after) == (20, None, "lost together")
    run.look(dict.fromkeys(names, ALIVE), 40)
    assert [after for _, _, after in changes(run, EventKind.MASS_LOSS)] == ["lost together", "over"]


def test_single_death_is_no_mass_loss() -> None:
    run = Witnessed()
    run.look({b"n": ALIVE}, 0)
    run.look({b"n": CRASHED}, 31)
    assert run.events()[-1].after == "offline"
    assert run.events(EventKind.MASS_LOSS) == []


def test_refused_writes_are_told_with_their_begin_and_end() -> None:
    run = Witnessed()
    refusing: Mapping[str, Any] = {"MISCONF": 3, "OOM": 0, "NOREPLICAS": 0}
    run.look({b"n": ALIVE}, 0.00451, replace(SERVER, refused=dict.fromkeys(refusing, 0)))
    run.look({b"n": replace(ALIVE, ttl=20)}, 10, replace(SERVER, refused=refusing))
    run.look({b"n": ALIVE}, 40, replace(SERVER, refused=refusing))
    refused, over = run.events(EventKind.REDIS)
    assert (refused.after, over.after) == ("writes refused", "takes writes again")
    assert over.evidence == {"since": EPOCH + 0.005, "redis_run_id": "run-1", "redis_role": "master"}


def test_refusal_that_a_beat_ends_before_the_next_look_is_told_with_its_end() -> None:
    run = Witnessed()
    run.look({b"n": ALIVE}, 0, replace(SERVER, refused={"OOM": 0}))
    run.judge.observe(replace(SERVER, refused={"OOM": 1}), 0.5)
    run.look({b"n": ALIVE}, 1.0, replace(SERVER, refused={"OOM": 1}))
    assert run.judge.writes_refused_since() is None
    run.look({b"n": ALIVE}, 1.0 + QUIET, replace(SERVER, refused={"OOM": 1}))
    refused, over = run.events(EventKind.REDIS)
    assert (refused.after, over.after) == ("writes refused", "takes writes again")
    assert over.evidence["since"] == EPOCH


def test_end_of_a_refusal_that_the_first_answer_showed_is_told() -> None:
    run = Witnessed()
    failed = replace(SERVER, refused={"MISCONF": 3}, last_save_ok=False)
    run.look({b"n": CRASHED}, 0, failed)
    run.look({b"n": CRASHED}, 5, failed)
    assert run.events(EventKind.REDIS) == []
    run.look({b"n": ALIVE}, 60, failed)
    run.look({b"n": ALIVE}, 60 + QUIET + 1, failed)
    assert changes(run, EventKind.REDIS) == [(("redis",), "writes refused", "takes writes again")]


def test_refusal_that_a_look_sees_before_it_is_heard_of_is_told() -> None:
    run = Witnessed()
    run.judge.observe(replace(SERVER, refused={"OOM": 0}), 0.0)
    heard, run.judge._on_faults = run.judge._on_faults, []
    run.judge.observe(replace(SERVER, refused={"OOM": 1}), 1.0)
    run.observer.look()
    for hear in heard:
        hear(Kind.REFUSED)
    assert [after for _, _, after in changes(run, EventKind.REDIS)] == ["writes refused"]


def test_refusal_that_comes_and_goes_is_one() -> None:
    run = Witnessed()
    for second in range(60):
        run.look({b"n": ALIVE}, second, replace(SERVER, refused={"OOM": second // 2}))
    assert [after for _, _, after in changes(run, EventKind.REDIS)] == ["writes refused"]
    run.look({b"n": ALIVE}, 60 + QUIET, replace(SERVER, refused={"OOM": 29}))
    assert [after for _, _, after in changes(run, EventKind.REDIS)] == ["writes refused", "takes writes again"]


def test_outage_is_told_with_its_cause() -> None:
    run = Witnessed()
    run.outages.succeeded(PROBED)
    run.now = 10.0
    run.outages.failed(PROBED, SourceError("cannot connect"), 9.50451)
    run.now = 20.0
    run.outages.succeeded(PROBED)
    away, back = run.events(EventKind.REDIS)
    assert (away.after, away.evidence) == ("cannot be read", {"error": "cannot connect", "since": EPOCH + 9.505})
    assert (back.after, back.time, back.evidence["since"]) == ("answers", EPOCH + 20, EPOCH + 9.505)


class Cluster(Server):
    """Two primaries."""

    @property
    def members(self) -> Mapping[str, Server]:
        return {"a:1": replace(SERVER, run_id="A"), "b:1": replace(SERVER, run_id="B")}


def test_outage_of_a_cluster_names_the_run_of_each_primary() -> None:
    run = Witnessed()
    run.judge.observe(Cluster("", "cluster"), 0.0)
    run.outages.succeeded(PROBED)
    run.outages.failed(PROBED, SourceError("cannot connect"), 9.5)
    (away,) = run.events(EventKind.REDIS)
    assert away.evidence["redis"] == {
        "a:1": {"run_id": "A", "role": "master"},
        "b:1": {"run_id": "B", "role": "master"},
    }


def test_node_that_discovery_no_longer_finds_is_gone() -> None:
    run = Witnessed()
    run.look({b"n": ALIVE}, 0)
    run.judge.keep([])
    assert changes(run)[-1] == (("n",), "online", "gone")
    assert run.events()[-1].evidence["because"] == "Redis has no key of it any more"


def test_hostile_heartbeat_is_kept_short() -> None:
    run = Witnessed()
    run.look({b"\xff\n$(x)": replace(ALIVE, beat=b"\xff" * 1_000_000)}, 0)
    (event,) = run.events()
    assert event.subjects == ("\\xff\n$(x)",)
    assert len(event.evidence["heartbeat"]) == 200


def test_offline_nodes_and_members_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    names = [b"n%02d" % number for number in range(20)]
    pairs: dict[bytes, Pair] = dict.fromkeys(names, ALIVE)
    first = Witnessed(path)
    first.look(pairs | {b"alone": replace(ALIVE, ttl=5), b"stops": ALIVE}, 0)
    first.look(pairs | {b"alone": CRASHED, b"stops": GONE}, 6)
    dead: dict[bytes, Pair] = {**dict.fromkeys(names, CRASHED), b"alone": CRASHED}
    first.look(dead, 37)
    since = judged(first.judge, lambda: first.epoch + first.now, lambda: first.now)
    before = {name: since(name) for name in dead}
    first.journal.page(Query(), 1)
    first.journal.close()

    second = Witnessed(path, epoch=EPOCH + 100)  # its monotonic clock begins anew
    assert set(second.look(dead, 7)) == {State.OFFLINE}
    since = judged(second.judge, lambda: second.epoch + second.now, lambda: second.now)
    assert {name: since(name) for name in dead} == before
    assert set(second.judge.members()) == set(names)
    assert told(second.journal)[-1][1] == "offline"
    second.look(dict.fromkeys(names, ALIVE), 8)
    assert second.judge.members() == set()


def test_forgotten_node_stays_forgotten_over_a_restart_until_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Witnessed(path)
    first.look({b"n": ALIVE}, 0)
    first.look({b"n": CRASHED}, 31)
    first.judge.set_leftovers(Leftovers(rehomed=frozenset({b"n"})))
    assert first.look({b"n": CRASHED}, 31 + HOUR) == [State.FORGOTTEN]
    first.journal.close()

    second = Witnessed(path, epoch=EPOCH + 2 * HOUR)
    for at in (0.0, 0.1, 60.0):
        assert second.look({b"n": CRASHED}, at) == [State.FORGOTTEN]
    assert second.events()[-1].after == "forgotten", "nothing is told again"
    second.judge.set_leftovers(Leftovers(needed=frozenset({b"n"})))
    assert second.look({b"n": CRASHED}, 61) == [State.OFFLINE]
    assert second.events()[-1].evidence["offline_since"] == EPOCH + 30


def test_dead_node_is_not_forgotten_after_a_restart_before_it_is_known_whether_it_is_needed(tmp_path: Path) -> None:
    """One that lists the only trace of a portfolio would take it along: lists of forgotten nodes are not read."""
    path = tmp_path / "journal"
    first = Witnessed(path, forget_after=60.0)
    first.look({b"n": ALIVE}, 0)
    first.judge.set_leftovers(Leftovers(needed=frozenset({b"n"})))
    assert first.look({b"n": CRASHED}, 31) == first.look({b"n": CRASHED}, 200) == [State.OFFLINE]
    first.journal.close()

    second = Witnessed(path, epoch=EPOCH + 300, forget_after=60.0)
    assert second.look({b"n": CRASHED}, 0) == second.look({b"n": CRASHED}, 100) == [State.OFFLINE]
    second.judge.set_leftovers(Leftovers(needed=frozenset({b"n"})))
    second.judge.set_leftovers(None)
    assert second.look({b"n": CRASHED}, 101) == [State.OFFLINE], "the plan is away"
    second.judge.set_leftovers(Leftovers())
    assert second.look({b"n": CRASHED}, 102) == [State.FORGOTTEN]


def test_where_there_is_no_plan_and_no_list_nobody_is_needed(client: "redis.Redis", shared_redis: RedisServer) -> None:
    beat(client, "n", 600)
    fleet = Fleet(load({"redis.url": [shared_redis.url]}))
    assert fleet.look().ids == ["n"]
    assert fleet.judge._rules.forgetting.leftovers == Leftovers()
    fleet.close()


def test_node_that_beat_after_the_restart_dies_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Witnessed(path)
    first.look({b"n": ALIVE}, 0)
    first.look({b"n": CRASHED}, 31)
    first.journal.page(Query(), 1)
    first.journal.close()
    second = Witnessed(path, epoch=EPOCH + 100)
    second.look({b"n": ALIVE}, 0)
    second.judge.keep([])
    second.look({b"n": CRASHED}, 10)
    second.look({b"n": CRASHED}, 11)
    assert second.judge.offline_since(b"n")[0] == 11
