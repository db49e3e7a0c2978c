"""Tells the journal what the judge and the outages of Redis show."""

from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, Final

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.journal.nodes import node_entries
from exporter.journal.refusal import Refusal
from exporter.journal.restore import offline_nodes
from exporter.liveness.earlier_run import WasOffline
from exporter.liveness.evidence import Finding, Why
from exporter.liveness.faults import Kind
from exporter.liveness.judge import Judge
from exporter.liveness.outages import Outages
from exporter.liveness.states import State
from exporter.source.names import shown_id

REDIS: Final = "redis"
"""The subject of events about Redis."""
CANNOT_BE_READ: Final = "cannot be read"
ANSWERS: Final = "answers"
TAKES_WRITES: Final = "takes writes again"
LOST: Final = "lost together"
OVER: Final = "over"


class Observer:
    """Listens to the judge and to the outages. Its lock guards the members of mass losses.

    Args:
        journal: The journal, which takes each change.
        judge: Decides on nodes.
        outages: Knows whether Redis can be read.
    """

    def __init__(self, journal: Journal, judge: Judge, outages: Outages) -> None:
        self._journal, self._judge = journal, judge
        self._lock = Lock()
        self._members: dict[str, None] = {}
        self._refusal = Refusal()
        judge.remember(
            {
                name: WasOffline(journal.monotonic(node.since), node.exact, node.member, node.forgotten)
                for name, node in offline_nodes(journal.earlier).items()
            }
        )
        judge.on_findings(self._hear_findings)
        judge.on_faults(self._hear_fault)
        outages.on_change(self._hear_outage)

    def look(self) -> None:
        """Tell the journal what has ended since the last look of the watch."""
        if (refused := self._judge.writes_refused_since()) is not None:
            self._refusal.goes_on(refused, tell=False)
        elif (since := self._refusal.rests(self._journal.now())) is not None:
            self._tell_of_redis(Kind.REFUSED.value, TAKES_WRITES, since=round(self._journal.unix(since), 3))
        if not self._members or self._judge.mass_loss_since() is not None:
            return
        with self._lock:
            members, self._members = self._members, {}
        at = self._journal.now()
        entries = [Entry(at, EventKind.MASS_LOSS, name, LOST, OVER) for name in members]
        self._journal.tell(lambda: entries)

    def _hear_findings(self, findings: Sequence[Finding]) -> None:
        self._journal.tell(lambda: node_entries(findings, self._journal.unix))
        lost = [finding for finding in findings if finding.member and finding.change.after is State.OFFLINE]
        if lost:
            with self._lock:
                self._members |= {shown_id(finding.change.name): None for finding in lost}
            new = [finding for finding in lost if finding.why is not Why.REMEMBERED]
            self._journal.tell(lambda: _losses(new))

    def _hear_fault(self, kind: Kind) -> None:
        if kind is Kind.REFUSED:
            since = self._judge.writes_refused_since()
            since = self._judge.answered_at if since is None else since  # a beat has ended it already
            if not self._refusal.goes_on(since, tell=True):
                return
        self._tell_of_redis(None, kind.value)

    def _hear_outage(self, error: str, began: float) -> None:
        """Hear that Redis cannot be read (``error`` says why), or can be read again (``error`` is empty)."""
        since = round(self._journal.unix(began), 3)
        if error:
            self._tell_of_redis(None, CANNOT_BE_READ, error=error, since=since)
        else:
            self._tell_of_redis(CANNOT_BE_READ, ANSWERS, since=since)

    def _tell_of_redis(self, before: str | None, after: str, **evidence: Any) -> None:
        servers = self._judge.server.members if self._judge.server else {}
        runs = {address: {"run_id": each.run_id, "role": each.role} for address, each in servers.items()}
        if len(runs) == 1:
            ((_, only),) = runs.items()
            evidence |= {"redis_run_id": only["run_id"] or None, "redis_role": only["role"]}
        elif runs:
            evidence["redis"] = runs
        self._journal.note(EventKind.REDIS, REDIS, before, after, **evidence)


def _losses(lost: Iterable[Finding]) -> Iterator[Entry]:
    for finding in lost:
        yield Entry(finding.change.at, EventKind.MASS_LOSS, shown_id(finding.change.name), None, LOST)
