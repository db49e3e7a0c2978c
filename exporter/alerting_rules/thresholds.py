"""The numbers in the rules that settings can change, each with its places in the rule file."""

from dataclasses import dataclass
from typing import Final, NamedTuple

EXPR: Final = "expr"
DESCRIPTION: Final = "description"


class Place(NamedTuple):
    """Where a number stands.

    Attributes:
        text: The number between « and », with so much text around it that it stands in the field once.
        field: ``expr``, or the name of an annotation.
        rule: The alert or the recording; empty for the alert that has the threshold.
    """

    text: str
    field: str = EXPR
    rule: str = ""

    @property
    def number(self) -> str:
        """The number in the rule file."""
        return self.text.partition("«")[2].partition("»")[0]

    @property
    def plain(self) -> str:
        """The text as it stands in the rule file."""
        return self.text.replace("«", "").replace("»", "")

    def with_number(self, number: str) -> str:
        """Return the text with another number."""
        return f"{self.text.partition('«')[0]}{number}{self.text.partition('»')[2]}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that settings can change.

    Attributes:
        meaning: What it is, in Markdown.
        places: Where it stands.
    """

    meaning: str
    places: tuple[Place, ...]

    @property
    def default(self) -> str:
        """The number in the rule file: a number, or a duration such as ``2m``."""
        return self.places[0].number


def _one(meaning: str, text: str) -> Threshold:
    return Threshold(meaning, (Place(text),))


THRESHOLDS: Final[dict[str, dict[str, Threshold]]] = {
    "GinkgoNodesDisappeared": {
        "share": _one("below this share of the nodes that were online before", "< «0.75» * max"),
        "nodes": _one("and at least this many nodes fewer", ">= «2»"),
    },
    "GinkgoNodeFlapping": {
        "changes": _one("changes between online and offline in 30 minutes", "changes(ginkgo_node_up[30m]) >= «5»"),
        "restarts": _one("restarts in 30 minutes", "resets(ginkgo_node_events_total[30m]) >= «3»"),
    },
    "GinkgoHeartbeatLate": {
        "share": _one("share of the evaluations of five minutes at which the heartbeat is late", "> «0.2»"),
        "ttl-seconds": Threshold(
            "TTL in seconds below which a heartbeat is late; half of `heartbeat-ttl` if it is not set",
            (
                Place(
                    "(ginkgo_node_heartbeat_ttl_seconds > 0) < «15»", rule="node:ginkgo_node_heartbeat_ttl_seconds:late"
                ),
                Place("less than «15»s were left", DESCRIPTION),
            ),
        ),
    },
    "GinkgoBackpressureSpike": {
        "factor": _one("times the node's usual rate", "> «3» * node:ginkgo_node_backpressure:usual_rate5m"),
        "per-second": _one("and this rate per second", "rate(ginkgo_node_backpressure_total[2m]) > «0.1»"),
    },
    "GinkgoBackpressureHigh": {
        "ratio": _one("backpressure for each event", "node:ginkgo_node_backpressure_per_events:ratio_rate5m > «0.1»"),
        "per-second": _one("and this rate per second", "node:ginkgo_node_backpressure:rate5m > «0.1»"),
    },
    "GinkgoRedisMemoryHigh": {
        "ratio": _one("share of Redis's `maxmemory`", "> «0.9»"),
    },
    "GinkgoQueueGrowing": {
        "queue-size": _one(
            "events in the queue; 70 % of `queue-length` if it is not set",
            "node:ginkgo_node_queue_size:fullest > «700»",
        ),
        "predicted-size": _one("events in half an hour; 95 % of `queue-length` if it is not set", ">= «950»"),
    },
    "GinkgoNodeStalled": {
        "queue-size": _one("events in a queue that stays full; 95 % of `queue-length` if it is not set", ">= «950»"),
    },
    "GinkgoNodeDeaf": {
        "share": _one("share of the other nodes that take events", "> «0.5» *"),
    },
    "GinkgoSchedulerStalled": {
        "seconds": _one("seconds since the scheduler last looked at the plan", ">= «120»"),
    },
    "GinkgoPlanFlapping": {
        "changes": _one("changes of the plan in 15 minutes, less the starts of nodes", "> «5»"),
    },
    "GinkgoPortfolioImbalance": {
        "portfolios": _one("portfolios between the fullest and the emptiest node", ">= «3»"),
    },
}
"""All thresholds, by alert and name."""

QUEUE_LENGTH: Final = Place("of «1,000» events", DESCRIPTION, "GinkgoQueueGrowing")
"""Where a text has the length of a queue."""
