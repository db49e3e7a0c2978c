"""The judge of the ledger: from what Redis may have held, the states that a portfolio may be shown in."""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lab.soak.answers import Answer
from lab.soak.chance import Chance
from lab.soak.faults import SAVES
from lab.soak.ledger_states import QUIET, TRADED, UNTRADED, Possible
from lab.soak.measure import LOADED
from lab.soak.nodes import Platform
from lab.soak.portfolio_states import judge_states
from lab.soak.scheduler import PORTFOLIOS
from lab.soak.shown_ledger import ShownLedger
from lab.soak.truth import TOLERANCE, Span

GAP: Final = 0.05
"""Seconds after which the exporter reads a missing plan once more before it believes it."""
_TOLD: Final = 4
_IDLE_STEP: Final = 1.2
"""Seconds by which Redis's idle time may be wrong: it comes in full seconds, by a clock that is cached."""


@dataclass(slots=True)
class LedgerJudge:
    """Judges the ledger of scrapes, in their order.

    The states of nodes are taken from the answer itself: another judge looks at them.

    Args:
        platform: The truth.
        chance: Redis's faults.

    Attributes:
        seen: How often a portfolio was shown in each state.
        judged: Ledgers that were judged.
        offset: Unix time less monotonic seconds.
    """

    platform: Platform
    chance: Chance
    seen: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    offset: float = field(default_factory=lambda: time.time() - time.monotonic())
    _started: float = -math.inf
    _faults: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    _traded_at: dict[str, float] = field(default_factory=dict)

    def exporter_started(self, at: float) -> None:
        """Forget what the last process knew."""
        self._started, self._faults, self._traded_at = at, {}, {}

    def judge(self, answer: Answer, since: float, found_since: float) -> Iterator[str]:
        """Yield what is wrong with the ledger of an answer.

        Args:
            answer: The answer.
            since: When the read of the answer may have begun.
            found_since: The exporter may not yet have looked for nodes that the plan names since this moment only.
        """
        if answer.nodes is None or answer.ledger is None:
            return
        shown, span = answer.ledger, (since, answer.until)
        states = {name: seen.state for name, seen in answer.nodes.items()}
        plans, new = self._plans(span), self._new_names((found_since, answer.until))
        possible = Possible(span, self.platform.nodes, states, plans, new)
        if not shown.counts:
            if not self._may_be_absent(possible):
                yield "there is no ledger"
            return
        self.judged += 1
        allowed: dict[str, Mapping[str, Collection[str]]] = {}
        for portfolio in PORTFOLIOS:
            allowed[portfolio] = possible.states_of(portfolio)
            yield from self._judge_portfolio(portfolio, allowed[portfolio], shown, answer.until)
        for portfolio in shown.faults.keys() - allowed.keys():
            yield f"portfolio {portfolio!r}: there is no such portfolio"
        yield from self._judge_counts(shown, allowed)
        yield from _judge_planned(shown, plans)
        yield from judge_states(possible, shown, self.platform.states)
        yield from self._judge_idle(answer.own.get(("ginkgo_plan_idle_seconds",)), span)
        for portfolio, (state, _, _) in shown.faults.items():
            self.seen[state] += 1
            self._traded_at.pop(portfolio, None)
        self.seen.update({state: count for state, count in shown.counts.items() if state in QUIET})
        self.seen.update({UNTRADED + reason: count for reason, count in shown.reasons.items()})
        self._traded_at |= {name: since for name, states in allowed.items() if states.keys() == {TRADED}}
        self._faults = {name: (state, at) for name, (state, _, at) in shown.faults.items()}

    # --- what Redis may have held ---------------------------------------------------------

    def _may_be_absent(self, possible: Possible) -> bool:
        """Return whether there may have been no plan and no list, or whether they could not be read."""
        if any(fault.hits(*possible.span) for fault in self.chance.faults):
            return True
        no_plan = any(write.value is None for write in self.platform.plan.possible(*possible.span))
        return no_plan and all(None in lists for lists in possible.lists.values())

    def _plans(self, span: Span) -> list[Mapping[str, str]]:
        """Return the plans that may be believed. A plan that is missing for less than a moment is read once more."""
        writes = tuple(self.platform.plan.writes)
        after = dict(zip(map(id, writes), writes[1:], strict=False))
        plans = []
        for write in self.platform.plan.possible(*span):
            then = after.get(id(write))
            gap = then and then.sure and then.value is not None and then.ended - write.begun < GAP
            if write.value is not None or write.lost or not gap:
                plans.append(write.value or {})
        return plans

    def _new_names(self, span: Span) -> Collection[str]:
        """Return the nodes that the exporter may not have looked for yet, though the plan names them."""
        plans = [write.value or {} for write in self.platform.plan.possible(*span)]
        names = {node for plan in plans for node in plan.values()}
        faults = self.chance.faults
        if span[0] < self._started or any(fault.since <= span[1] and span[0] <= fault.until for fault in faults):
            return names
        return {name for name in names if any(name not in plan.values() for plan in plans)}

    # --- what the answer shows ------------------------------------------------------------

    def _judge_portfolio(
        self, portfolio: str, allowed: Mapping[str, Collection[str]], shown: ShownLedger, until: float
    ) -> Iterator[str]:
        fault = shown.faults.get(portfolio)
        if fault is None:
            if not QUIET & allowed.keys():
                told = self._writes(portfolio, until)
                yield f"portfolio {portfolio!r}: no fault is shown instead of {_told(allowed)}{told}"
            return
        state, node, at = fault
        named = {name for key, names in allowed.items() if key.startswith(state) for name in names}
        if node not in named:
            told = self._writes(portfolio, until)
            yield f"portfolio {portfolio!r}: {state} on {node!r} instead of {_told(allowed)}{told}"
        before = self._faults.get(portfolio)
        if before and before[0] == state and at < before[1]:
            yield f"portfolio {portfolio!r}: {state} since {before[1]}, and now since {at}"
        began = at - self.offset
        if not self._traded_at.get(portfolio, -math.inf) - TOLERANCE <= began <= until + TOLERANCE:
            yield f"portfolio {portfolio!r}: {state} for {until - began:.2f} s, though it was traded meanwhile"

    def _judge_idle(self, idle: float | None, span: Span) -> Iterator[str]:
        """Judge for how long nobody looked at the plan. The exporter's own looks do not count.

        Redis counts from the start or a save, if that was later: so a fault excuses a time that is too short. While
        Redis saves, it does not record a look.
        """
        saves = [fault for fault in self.chance.faults if fault.kind == SAVES]
        looks = [*tuple(self.platform.looks.writes), *tuple(self.platform.plan.writes)]
        looks = [look for look in looks if look.value is not None and look.begun <= span[1]]
        recorded = [
            look.begun
            for look in looks
            if look.sure
            and look.ended <= span[0]
            and not any(fault.since <= look.ended and look.begun <= fault.until for fault in saves)
        ]
        sure = max(recorded, default=-math.inf)
        last = max((look.ended for look in looks), default=math.inf)
        if idle is None:
            return
        if idle > span[1] - sure + _IDLE_STEP + self.chance.slack:
            yield f"the plan is idle for {idle:g} s, though the scheduler looked {span[1] - sure:.1f} s ago"
        excused = any(fault.until >= last - _IDLE_STEP for fault in self.chance.faults)
        if idle < span[0] - last - _IDLE_STEP and not excused:
            yield f"the plan is idle for {idle:g} s, though the last look was {span[0] - last:.1f} s ago"

    def _writes(self, portfolio: str, until: float) -> str:
        """Return the last writes about a portfolio in words, each in seconds before the answer."""
        plans = tuple(self.platform.plan.writes)[-_TOLD:]
        told = [(write, f"plan {(write.value or {}).get(portfolio)!r}") for write in plans]
        for name, node in self.platform.nodes.items():
            lists = [(write, (write.value or {}).get(LOADED) or ()) for write in tuple(node.hash.writes)[-_TOLD:]]
            if any(portfolio in loaded for _, loaded in lists):
                told += [(write, f"{name!r} {'has' if portfolio in loaded else 'has not'}") for write, loaded in lists]
        spans = (f"{until - write.begun:.2f}-{until - write.ended:.2f}{'' if write.sure else '?'}" for write, _ in told)
        return f" ({', '.join(f'{what} {span}' for (_, what), span in zip(told, spans, strict=True))})"

    def _judge_counts(self, shown: ShownLedger, allowed: Mapping[str, Mapping[str, Collection[str]]]) -> Iterator[str]:
        """Compare the counts by state and by reason with the states that the portfolios may be in."""
        faults = Counter(state for state, _, _ in shown.faults.values())
        options = {
            portfolio: {
                state
                for state in states
                if (state.startswith(shown.faults[portfolio][0]) if portfolio in shown.faults else state in QUIET)
            }
            for portfolio, states in allowed.items()
        }
        counts = {**shown.counts, **{UNTRADED + reason: count for reason, count in shown.reasons.items()}}
        for state, count in counts.items():
            if state in QUIET or state.startswith(UNTRADED):
                least = sum(states == {state} for states in options.values())
                most = sum(state in states for states in options.values())
            else:
                least = most = faults[state]
            if not least <= count <= most:
                yield f"{count} portfolios are {state} instead of {least} to {most}"


def _judge_planned(shown: ShownLedger, plans: Collection[Mapping[str, str]]) -> Iterator[str]:
    """Compare how many portfolios are planned on each node with what the plan may have said."""
    counts = [Counter(plan.values()) for plan in plans]
    for name, planned in shown.planned.items():
        if planned not in {count[name] for count in counts}:
            yield f"{name!r}: {planned} portfolios are planned on it instead of {sorted({c[name] for c in counts})}"


def _told(allowed: Mapping[str, Collection[str]]) -> str:
    return "|".join(f"{state} on {'/'.join(sorted(names))!r}" if names else state for state, names in allowed.items())
