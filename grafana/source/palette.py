"""The meaning of colours, and the words of states. The status page has the same colours: `exporter.web.palette`."""

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode, ValueMap, ValueMappingResult

from exporter.web import palette

WELL: Final = palette.WELL.area
LATE: Final = palette.DOUBT.area
BAD: Final = palette.BAD.area
UNKNOWN: Final = palette.UNKNOWN.area
PLAIN: Final = "text"  # the theme's
SKY: Final = "#56B4E9"  # of lines that are no state
PURPLE: Final = "#CC79A7"

STATE_COLOURS: Final = {state: hue.area for state, hue in palette.STATES.items()}
"""The colour of each state of a node and of a portfolio."""

IDENTITIES: Final = (
    *("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#0072B2"),
    *("#8FE3C8", "#8F3A72", "#9A8F00", "#CDE6F7", "#7A6FF0"),
)
"""Colours of lines that are a node, an exporter or an installation. None of them is orange or vermillion, so that no
line looks like a limit. Readers with any common colour blindness can tell them apart."""

MASS_LOST: Final = -1
"""The number of a node in a mass loss in the tables, below 0 for a node that is offline by itself."""
UNDECIDED: Final = 0.5
"""The number of an undecided node in the tables, between 0 for offline and 1 for online."""

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
    """Return the words for the values of `ginkgo_redis_up`, and for 2: Redis can be read and refuses writes."""
    return words({"0": ("UNREADABLE", BAD), "1": ("readable", WELL), "2": ("REFUSES WRITES", BAD)})


def push_states() -> ValueMap:
    """Return the words for the values of `ginkgo_bridge_active`."""
    return words({"0": ("FAILING", BAD), "1": ("active", WELL)})


def node_states() -> ValueMap:
    """Return the words for the values of `ginkgo_node_up`, for a node in a mass loss, and for an undecided node."""
    return words(
        {
            f"{MASS_LOST}": ("MASS LOSS", STATE_COLOURS["offline"]),
            "0": ("OFFLINE", STATE_COLOURS["offline"]),
            f"{UNDECIDED}": ("undecided", STATE_COLOURS["undecided"]),
            "1": ("online", STATE_COLOURS["online"]),
        }
    )


WORST_FAULT: Final = "a-untraded"
"""Stands for `untraded` in the table of faults. A table sorts by the labels' text, and this one comes first."""


def portfolio_faults() -> ValueMap:
    """Return the words for the states of portfolios at fault. The states that cost money are in capitals."""
    shown = {WORST_FAULT: "UNTRADED", "duplicated": "DUPLICATED", "misplaced": "misplaced", "unplanned": "unplanned"}
    return words({state: (text, STATE_COLOURS[text.lower()]) for state, text in shown.items()})


def node_statuses() -> ValueMap:
    """Return the words for the statuses that nodes report. A status that is well keeps the text's own colour."""
    return words(_STATUSES | {"RUNNING": ("running", PLAIN)})


def numbered_statuses() -> ValueMap:
    """Return the same words for 1, 2 and 3, for a panel that can show only numbers."""
    return words({str(number): meaning for number, meaning in enumerate(_STATUSES.values(), start=1)})
