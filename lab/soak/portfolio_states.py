"""Judges the fullest queue and the positions of each node, from the states that nodes write of their portfolios."""

from collections.abc import Iterator, Mapping

from exporter.liveness.judge import State
from lab.soak.ledger_states import Possible
from lab.soak.measure import PortfolioValues
from lab.soak.shown_ledger import ShownLedger
from lab.soak.truth import Key


def judge_states(possible: Possible, shown: ShownLedger, states: Mapping[str, Key]) -> Iterator[str]:
    """Yield a text for each node whose fullest queue or positions are wrong.

    Args:
        possible: The lists that the nodes may have shown.
        shown: The ledger of the answer.
        states: The writes of each portfolio's state.
    """
    for name in possible.lists:
        online = possible.states[name] is State.ONLINE
        surely, maybe = _values(possible, name, states) if online else ([], [])
        queue, positions = shown.queues.get(name), shown.positions.get(name)
        if queue is None and positions is None:
            if surely:
                yield f"{name!r}: the states of its portfolios are not shown"
            continue
        least = max((min(value.queue_size for value in values) for values in surely), default=0)
        most = max((max(value.queue_size for value in values) for values in maybe), default=-1)
        if queue is None or not least <= queue <= most:
            yield f"{name!r}: its fullest queue is {queue} instead of {least} to {most}"
        least = sum(min(value.position_count for value in values) for values in surely)
        most = sum(max(value.position_count for value in values) for values in maybe)
        if positions is None or not least <= positions <= most:
            yield f"{name!r}: it has {positions} positions instead of {least} to {most}"


def _values(
    possible: Possible, name: str, states: Mapping[str, Key]
) -> tuple[list[list[PortfolioValues]], list[list[PortfolioValues]]]:
    """Return the possible values of each portfolio that surely counts for a node, and of each that may count."""
    surely, maybe = [], []
    lists = possible.lists[name]
    for portfolio in {one for loaded in lists for one in loaded or ()}:
        writes = states[portfolio].possible(*possible.span) if portfolio in states else []
        values = [write.value for write in writes if write.value is not None and write.value.node_id == name]
        if values:
            maybe.append(values)
            if len(values) == len(writes) and all(portfolio in (loaded or ()) for loaded in lists):
                surely.append(values)
    return surely, maybe
