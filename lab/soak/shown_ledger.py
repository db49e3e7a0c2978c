"""The ledger of portfolios as a scrape shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.samples import Sample

from exporter.contract import PLANNED_PORTFOLIOS, POSITIONS, QUEUE_SIZE_MAX


@dataclass(frozen=True, slots=True)
class ShownLedger:
    """The ledger as a scrape shows it.

    Attributes:
        counts: How many portfolios are in each state; empty if there is no ledger.
        reasons: How many are untraded for each reason.
        faults: State, node and Unix time of the start of each fault, by portfolio.
        planned: How many portfolios the plan gives to each node.
        queues: The fullest queue of each node that shows it.
        positions: The positions of each node that shows them.
    """

    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    faults: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    def take(self, sample: Sample) -> bool:
        """Take over a sample of the ledger, and return whether it is one."""
        labels, value = sample.labels, sample.value
        if sample.name == "ginkgo_portfolios":
            self.counts[labels["state"]] = int(value)
        elif sample.name == "ginkgo_portfolios_untraded":
            self.reasons[labels["reason"]] = int(value)
        elif sample.name == "ginkgo_portfolio_fault_since_timestamp_seconds":
            self.faults[labels["portfolio_id"]] = labels["state"], labels["node_id"], value
        elif sample.name in self._of_nodes:
            self._of_nodes[sample.name][labels["node_id"]] = int(value)
        else:
            return False
        return True

    @property
    def _of_nodes(self) -> Mapping[str, dict[str, int]]:
        return {PLANNED_PORTFOLIOS.name: self.planned, QUEUE_SIZE_MAX.name: self.queues, POSITIONS.name: self.positions}
