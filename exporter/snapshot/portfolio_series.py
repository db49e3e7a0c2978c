"""What is exported of portfolios for each node: planned portfolios, the fullest queue, positions."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.contract import PLANNED_PORTFOLIOS, POSITIONS, QUEUE_SIZE_MAX, Metric
from exporter.liveness.states import State
from exporter.portfolios.ledger import Ledger
from exporter.portfolios.reads import PortfolioReading, PortfolioRow
from exporter.snapshot.values import parse_number
from exporter.source.names import Names, shown_id

_EXPORTED: Final = frozenset((State.ONLINE, State.OFFLINE, State.UNDECIDED))

NodeValues = Mapping[str, float]
"""A number for some nodes, by the id that is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class PortfolioSeries:
    """What is exported of portfolios.

    Attributes:
        reading: What was read.
        values: The numbers of each of ``contract.PORTFOLIO_METRICS``, by metric name.
        lines: The same as lines of Prometheus's text formats, by metric name.
    """

    reading: PortfolioReading
    values: Mapping[str, NodeValues]
    lines: Mapping[str, bytes]


class PortfolioSeriesMaker:
    """Makes the series of a read. Only one thread at a time may use it.

    Args:
        invalid: Called with a field, and the ids as text of the portfolios whose value of this field is invalid.
        write: Returns the lines of a metric, given its name and its numbers.
    """

    def __init__(
        self, invalid: Callable[[str, Collection[str]], None], write: Callable[[str, NodeValues], bytes]
    ) -> None:
        self._invalid, self._write = invalid, write
        self._made_of: tuple[Ledger, Names] | None = None
        self._planned: NodeValues = {}
        self._planned_lines = b""

    def make(self, reading: PortfolioReading, names: Names, states: Sequence[State]) -> PortfolioSeries:
        """Return the series of a read.

        Args:
            reading: What was read of the portfolios.
            names: All nodes.
            states: Their states, of which the ledger was made.
        """
        made_of = reading.account.ledger, names
        if self._made_of is None or any(a is not b for a, b in zip(made_of, self._made_of, strict=True)):
            known = zip(names.shown, names.raw, states, strict=True)
            self._planned = {shown: reading.planned.get(raw, 0) for shown, raw, state in known if state in _EXPORTED}
            self._planned_lines = self._write(PLANNED_PORTFOLIOS.name, self._planned)
            self._made_of = made_of
        queues, positions = self._of_rows(reading.rows)
        return PortfolioSeries(
            reading,
            {PLANNED_PORTFOLIOS.name: self._planned, QUEUE_SIZE_MAX.name: queues, POSITIONS.name: positions},
            {
                PLANNED_PORTFOLIOS.name: self._planned_lines,
                QUEUE_SIZE_MAX.name: self._write(QUEUE_SIZE_MAX.name, queues),
                POSITIONS.name: self._write(POSITIONS.name, positions),
            },
        )

    def _of_rows(self, rows: Sequence[PortfolioRow]) -> tuple[NodeValues, NodeValues]:
        """Return each node's fullest queue, and the sum of its positions.

        A portfolio's state outlives the node that wrote it, so it counts only for the node that it names.
        """
        queues: dict[str, float] = {}
        positions: dict[str, float] = {}
        invalid: dict[str, list[str]] = {}
        for portfolio, node, (queue, count, writer) in rows:
            if writer != node:
                continue
            shown = shown_id(node)
            if (number := _number(queue, QUEUE_SIZE_MAX, portfolio, invalid)) is not None:
                queues[shown] = max(number, queues.get(shown, 0.0))
            if (number := _number(count, POSITIONS, portfolio, invalid)) is not None:
                positions[shown] = number + positions.get(shown, 0.0)
        for field, portfolios in invalid.items():
            self._invalid(field, portfolios)
        return queues, positions


def _number(text: bytes | None, metric: Metric, portfolio: bytes, invalid: dict[str, list[str]]) -> float | None:
    if text is None:
        return None
    number = parse_number(text)
    if number is None:
        invalid.setdefault(metric.field or "", []).append(shown_id(portfolio))
    return number
