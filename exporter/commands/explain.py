"""``ginkgo-exporter explain``: tells what happened to a node, a portfolio or an alert, and why it was judged so."""

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from exporter.bundled import alert_severities
from exporter.commands.asking import NODES, PORTFOLIOS, RedisItself, RunningExporter, asking
from exporter.commands.command_line import say
from exporter.errors import ExporterError, SourceError
from exporter.escaping import printable
from exporter.journal.event import Event, EventKind, at, headline, of_node, of_portfolio, of_portfolios, reasons
from exporter.liveness import State
from exporter.liveness.chance import REFUSED
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import Settings, nearest
from exporter.snapshot.rows import Row

_ALERTS: Final[Mapping[str, str]] = {
    State.OFFLINE: "GinkgoNodeOffline",
    State.UNDECIDED: "GinkgoNodesUndecided",
    PortfolioState.UNTRADED: "GinkgoPortfoliosUntraded",
    PortfolioState.DUPLICATED: "GinkgoPortfolioDuplicated",
    PortfolioState.MISPLACED: "GinkgoPortfoliosMisplaced",
    PortfolioState.UNPLANNED: "GinkgoPortfoliosUnplanned",
}
"""The alert whose runbook says what to do about a state."""
_NOT_POSTED: Final = "No Alertmanager has taken it from this exporter. Prometheus's rules may page."


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what is known of a subject, or the last events without one, and return 0.

    Raises:
        ExporterError: Nothing is known; one line that says why.
    """
    with asking(settings, vars(arguments)["exporter.url"]) as source:
        Known(source).tell(arguments.subject)
    return 0


class Known:
    """What an exporter or a Redis knows.

    Args:
        source: The exporter or the Redis.

    Raises:
        ExporterError: It cannot be asked.
    """

    def __init__(self, source: RunningExporter | RedisItself) -> None:
        self._source = source
        self._trouble = ""
        if isinstance(source, RedisItself):
            self._trouble = "Redis does not know what happened before. A running exporter does: --exporter.url."
        self._rows: dict[EventKind, list[Row]] = {}
        try:
            self._rows[EventKind.NODE] = source.rows(NODES)
            self._rows[EventKind.PORTFOLIO] = source.rows(PORTFOLIOS)
        except SourceError as error:
            if isinstance(source, RedisItself) and not self._rows:
                raise
            self._trouble = f"{str(error).rstrip('.')}."

    def tell(self, subject: str | None) -> None:
        """Print what is known of a node, of a portfolio or of an alert; the last events if the subject is None.

        Raises:
            ExporterError: Nothing is known of it.
        """
        if subject is None:
            fact = f"These are the last events that {self._source.place} knows."
            _print((fact, *self._money(), self._trouble), self._events())
            return
        node, portfolio = (
            self._tells(kind, subject.removeprefix(f"{kind}:")) for kind in (EventKind.NODE, EventKind.PORTFOLIO)
        )
        if node or portfolio:
            return
        if subject not in alert_severities():
            names = {row[f"{kind}_id"] for kind, rows in self._rows.items() for row in rows}
            near = nearest(subject, [*alert_severities(), *sorted(names)])
            raise ExporterError(printable(f"nothing is known of {subject}{near}"))
        posts = self._events(subject, (EventKind.PUSH,))
        fact = f"Alert {subject}: {_NOT_POSTED}"
        if posts:
            fact = f"The last that is known of the alert {subject}, at {at(posts[-1].time)}: {headline(posts[-1])}"
        _print((fact, *self._money(), self._runbook(subject)), posts or self._events())

    def _tells(self, kind: EventKind, name: str) -> bool:
        """Print what is known of a node or a portfolio. Return whether anything is known of it."""
        events = self._events(name, (kind, EventKind.MASS_LOSS, EventKind.PUSH))
        changes = [event for event in events if event.kind is kind]
        row = next((row for row in self._rows.get(kind, ()) if row[f"{kind}_id"] == name), None)
        if row:
            portfolios = self._rows.get(EventKind.PORTFOLIO)
            facts = [*of_node(row, portfolios)] if kind is EventKind.NODE else [of_portfolio(row)]
            alert = "GinkgoEventsDropped" if row.get("dropped_recently") else _ALERTS.get(row["state"])
            alert = "GinkgoMassHeartbeatLoss" if row.get("loss") else alert
            alert = "GinkgoRedisWritesRefused" if row.get("undecided_because") == REFUSED else alert
            facts += [self._runbook(alert)] if alert else []
        elif changes:
            last = f"The last that is known of it, at {at(changes[-1].time)}: {headline(changes[-1], name)}"
            facts = [self._trouble, last]
        else:
            return False
        _print(facts, events, name)
        if (
            changes
            and changes[-1].after == State.OFFLINE
            and not self._events(changes[-1].evidence.get("loss", name), (EventKind.PUSH,))
        ):
            say(f"Its page: {_NOT_POSTED}")
        return True

    def _events(self, subject: str = "", kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the newest events, the oldest of them first; no events if Redis alone was asked."""
        return [] if isinstance(self._source, RedisItself) else self._source.events(subject, kinds)

    def _runbook(self, alert: str) -> str:
        """Return where to read what to do."""
        place = f"{self._source.place}/runbooks/" if isinstance(self._source, RunningExporter) else "the runbook of "
        return f"What to do: {place}{alert}"

    def _money(self) -> Sequence[str]:
        """Return the money at risk in all portfolios; nothing if they are not known."""
        rows = self._rows.get(EventKind.PORTFOLIO)
        return () if rows is None else [*of_portfolios(rows)] or ["No portfolio is known now."]


def _print(sentences: Iterable[str], events: Sequence[Event], subject: str | None = None) -> None:
    """Print what is known now, and what was seen.

    Args:
        sentences: What is known now; empty ones are left out.
        events: What was seen, the oldest event first.
        subject: The node or portfolio of interest; None for all that happened.
    """
    for sentence in filter(None, sentences):
        say(sentence)
    say("")
    say("What was seen, the oldest first:" if events else "No event is known of it.")
    for event in events:
        say(f"{at(event.time)}  {headline(event, subject)}", indent=2)
        for sentence in reasons(event, subject):
            say(sentence, indent=4)
