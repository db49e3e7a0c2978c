"""What colours mean, and where a value changes from well to bad.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color), which readers with any common colour
blindness can tell apart. A state also has its word wherever there is room for one.
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

# A queue holds 1,000 events (the platform's limit); the alerts speak of the same two shares.
QUEUE_CAPACITY: Final = 1_000
QUEUE_FILLING: Final = 0.70 * QUEUE_CAPACITY
QUEUE_FULL: Final = 0.95 * QUEUE_CAPACITY

# Beats come every 10 s and live 30 s: below 15 s one was missed (GinkgoHeartbeatLate).
HEARTBEAT_TTL: Final = 30
HEARTBEAT_LATE: Final = 15

# Below this rate the alerts take a node's backpressure for a blip; above this share of its events, for steady
# (GinkgoBackpressureSpike, GinkgoBackpressureHigh).
BACKPRESSURE_FLOOR: Final = 0.1
BACKPRESSURE_SHARE: Final = 0.1
BACKPRESSURE_SPIKE: Final = 3

_STATES: Final = {"0": ("OFFLINE", BAD), "1": ("online", WELL)}
_STATUSES: Final = {"RUNNING": ("running", WELL), "PAUSED": ("PAUSED", LATE), "STOPPED": ("STOPPED", PURPLE)}


def thresholds(*steps: tuple[float, str], below: str = UNKNOWN) -> ThresholdsConfig:
    """Colours from each value on; `below` colours what is less, and every value that is not known."""
    first = Threshold(value=None, color=below)
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([first, *(Threshold(value=value, color=colour) for value, colour in steps)])
    )


def words(meanings: Mapping[str, tuple[str, str]]) -> ValueMap:
    """Shows each of these values as its word and colour."""
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(meanings.items())
        }
    )


def node_states() -> ValueMap:
    """The words for `ginkgo_node_up`."""
    return words(_STATES)


def node_statuses() -> ValueMap:
    """The words for the status a node reports of itself, as text: what is well has the text's own colour."""
    return words(_STATUSES | {"RUNNING": ("running", PLAIN)})


def numbered_statuses() -> ValueMap:
    """The same words for 1, 2, 3, where a panel can show only numbers."""
    return words({str(number): meaning for number, meaning in enumerate(_STATUSES.values(), start=1)})
