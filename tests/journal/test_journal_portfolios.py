"""Changes from one ledger to the next, and the scheduler, in the journal."""

from collections.abc import Mapping, Sequence

from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.journal.portfolios import PortfolioObserver
from exporter.journal.restore import portfolio_faults
from exporter.journal.sentences import headline, reasons
from exporter.liveness.states import State
from exporter.portfolios.history import History
from exporter.portfolios.ledger import NodeReport, ledger_of
from exporter.portfolios.reads import PortfolioReading
from exporter.telemetry import Telemetry
from journal_events import T0
from portfolio_example import EXPECTED, LISTS, PLAN, STATES

Lists = Mapping[bytes, Sequence[bytes] | None]


class Reads:
    """Reads of portfolios, one after the other."""

    def __init__(self) -> None:
        self.journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
        self.observer = PortfolioObserver(self.journal)
        self.history = History(100)
        self.wall = T0

    def read(
        self,
        plan: Mapping[bytes, bytes],
        lists: Lists,
        states: Mapping[bytes, State] | None = None,
        idle: float | None = None,
    ) -> None:
        self.wall += 15
        states = states or {}
        nodes = [NodeReport(name, states.get(name, State.ONLINE), loaded) for name, loaded in lists.items()]
        account = self.history.note(ledger_of(plan, nodes), self.wall)
        self.observer.see(PortfolioReading(account, {}, idle))

    def changes(self) -> dict[str, tuple[str | None, str]]:
        """Return the last change of each portfolio."""
        events = self.journal.page(Query(kinds=frozenset({EventKind.PORTFOLIO})), 1000).events
        return {subject: (event.before, event.after) for event in reversed(events) for subject in event.subjects}


def test_first_ledger_tells_of_all_that_is_not_traded() -> None:
    reads = Reads()
    reads.read(PLAN, LISTS, STATES)
    assert reads.changes() == {
        name.decode(): (None, state) for name, (state, _) in EXPECTED.items() if state != "traded"
    }


def test_same_ledger_tells_nothing_more() -> None:
    reads = Reads()
    ledger = ledger_of(PLAN, [])
    for _ in range(3):
        reads.observer.see(PortfolioReading(reads.history.note(ledger, T0), {}))
    assert len(reads.journal.page(Query(), 100).events) == 1


def test_each_change_is_told_with_both_states() -> None:
    reads = Reads()
    plan = {b"p1": b"a", b"p2": b"a", b"p3": b"b"}
    reads.read(plan, {b"a": (b"p1", b"p2"), b"b": (b"p3",)})
    assert reads.changes() == {}
    reads.read({b"p1": b"a", b"p4": b"b"}, {b"a": (), b"b": (b"p4", b"p3")})
    assert reads.changes() == {
        "p1": ("traded", "untraded"),
        "p2": ("traded", "in no plan and on no list"),
        "p3": ("traded", "unplanned"),
        "p4": (None, "traded"),
    }
    reads.read({b"p1": b"a", b"p4": b"b"}, {b"a": (b"p1",), b"b": (b"p4",)})
    assert reads.changes()["p1"] == ("untraded", "traded")
    assert reads.changes()["p3"] == ("unplanned", "in no plan and on no list")


def test_untraded_portfolio_that_comes_into_the_plan_and_leaves_it_is_one_change_each_time() -> None:
    reads = Reads()
    lists = {b"a": (b"q",)}
    reads.read({b"q": b"a"}, lists)
    reads.read({b"q": b"a", b"p1": b"a"}, lists)
    reads.read({b"q": b"a"}, lists)
    events = reads.journal.page(Query(), 10).events
    assert [(event.subjects, event.before, event.after) for event in events] == [
        (("p1",), "untraded", "in no plan and on no list"),
        (("p1",), None, "untraded"),
    ]


def test_ten_nodes_that_list_a_portfolio_are_named() -> None:
    reads = Reads()
    alive, dead = ([b"%b-%02d" % (kind, number) for number in range(12)] for kind in (b"alive", b"dead"))
    reads.read({b"p1": alive[0]}, dict.fromkeys(alive + dead, (b"p1",)), dict.fromkeys(dead, State.OFFLINE))
    (event,) = reads.journal.page(Query(), 10).events
    assert event.evidence["loaded_on"] == [name.decode() for name in alive[:10]]
    assert event.evidence["listed_by"] == [name.decode() for name in dead[:10]]


def test_fault_has_its_evidence() -> None:
    reads = Reads()
    reads.wall += 0.00451
    reads.read({b"p1": b"dead"}, {b"dead": (b"p1",)}, {b"dead": State.OFFLINE})
    (event,) = reads.journal.page(Query(), 10).events
    assert event.evidence == {
        "since": T0 + 15.005,
        "reason": "node_offline",
        "node": "dead",
        "loaded_on": [],
        "listed_by": ["dead"],
    }
    assert headline(event) == "Portfolio p1 is untraded."
    assert reasons(event)[:2] == ["The reason: node_offline.", "The plan gives it to node dead."]


def test_scheduler_that_stalls_and_is_back_is_told() -> None:
    reads = Reads()
    for idle in (0.0, 120.0, None, 120.50049, 130.0, 2.00451, 3.0):
        reads.read({b"p": b"a"}, {b"a": (b"p",)}, idle=idle)
    events = reads.journal.page(Query(kinds=frozenset({EventKind.SCHEDULER})), 10).events
    assert [(event.after, event.evidence["idle_seconds"]) for event in reversed(events)] == [
        ("stalled", 120.5),
        ("looks at the plan again", 2.005),
    ]


def test_fault_lasts_over_a_restart() -> None:
    first, second = Reads(), Reads()
    plan = {b"p1": b"dead", b"p2": b"dead"}
    first.read(plan | {b"p4": b"dead"}, {b"dead": (b"p1",)}, {b"dead": State.OFFLINE})
    second.history.remember(portfolio_faults(list(reversed(first.journal.page(Query(), 10).events))))
    second.wall += 1000
    lists = {b"dead": (b"p1", b"p2"), b"alive": (b"p4",)}  # p4 is unplanned now, not untraded
    second.read(plan | {b"p3": b"dead"}, lists, {b"dead": State.OFFLINE})
    account = second.history.note(second.observer._ledger, 0)  # type: ignore[arg-type]
    assert account.since == {b"p1": T0 + 15, b"p2": T0 + 15, b"p3": T0 + 1015, b"p4": T0 + 1015}
