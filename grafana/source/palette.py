"""The meaning of colours, and the limits at which a value turns from well to bad.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color), which readers with any common colour
blindness can tell apart. A state is also written as a word wherever there is room.
"""

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode, ValueMap, ValueMappingResult

WELL: Final = "#0072B2"  # blue
LATE: Final = "#E69F00"  # orange
BAD: Final = "#D55E00"  # vermillion
UNKNOWN: Final = "#6E6E6E"  # grey
PLAIN: Final = "text"  # the theme's
SKY: Final = "#56B4E9"
PURPLE: Final = "#CC79A7"
GREEN: Final = "#009E73"

# A queue holds 1,000 events (the platform's limit). The alerts use the same two shares of it.
QUEUE_CAPACITY: Final = 1_000
QUEUE_FILLING: Final = 0.70 * QUEUE_CAPACITY
QUEUE_FULL: Final = 0.95 * QUEUE_CAPACITY

# A node beats every 10 s, and a heartbeat lives 30 s: below 15 s the node missed a beat (GinkgoHeartbeatLate).
HEARTBEAT_TTL: Final = 30
HEARTBEAT_LATE: Final = 15

# Below this rate the alerts ignore a node's backpressure (GinkgoBackpressureSpike). Above this share of the node's
# events they call it steady (GinkgoBackpressureHigh).
BACKPRESSURE_FLOOR: Final = 0.1
BACKPRESSURE_SHARE: Final = 0.1
BACKPRESSURE_SPIKE: Final = 3

_STATES: Final = {"0": ("OFFLINE", BAD), "1": ("online", WELL)}
_STATUSES: Final = {"RUNNING": ("running", WELL), "PAUSED": ("PAUSED", LATE), "STOPPED": ("STOPPED", PURPLE)}


def thresholds(*steps: tuple[float, str], below: str = UNKNOWN) -> ThresholdsConfig:
    """Return a colour from each value on. `below` is the colour of smaller values and of unknown values."""
    first = Threshold(value=None, color=below)
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([first, *(Threshold(value=value, color=colour) for value, colour in steps)])
    )


def words(meanings: Mapping[str, tuple[str, str]]) -> ValueMap:
    """Return a mapping that shows each of these values as its word, in its colour."""
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(meanings.items())
        }
    )


def redis_states() -> ValueMap:
    """Return the words for the values of `ginkgo_redis_up`."""
    return words({"0": ("UNREADABLE", BAD), "1": ("readable", WELL)})


def push_states() -> ValueMap:
    """Return the words for the values of `ginkgo_bridge_active`."""
    return words({"0": ("FAILING", BAD), "1": ("active", WELL)})


def node_states() -> ValueMap:
    """Return the words for the values of `ginkgo_node_up`."""
    return words(_STATES)


def node_statuses() -> ValueMap:
    """Return the words for the statuses that nodes report. A status that is well keeps the text's own colour."""
    return words(_STATUSES | {"RUNNING": ("running", PLAIN)})


def numbered_statuses() -> ValueMap:
    """Return the same words for 1, 2 and 3, for a panel that can show only numbers."""
    return words({str(number): meaning for number, meaning in enumerate(_STATUSES.values(), start=1)})
