"""One colour for each state, for the status page and for the Grafana dashboards.

The hues are Okabe and Ito's (jfly.uni-koeln.de/color), which readers with any common colour blindness can tell
apart. A state is also written as a word wherever it is shown. Text needs more contrast than an area, so each hue has
a darker shade for text on a light ground and a lighter shade for text on a dark ground.
"""

from typing import Final, NamedTuple


class Hue(NamedTuple):
    """One hue in three shades, each as `#rrggbb`.

    Attributes:
        area: Of areas, bands and lines.
        on_light: Of text on a light ground.
        on_dark: Of text on a dark ground.
    """

    area: str
    on_light: str
    on_dark: str


WELL: Final = Hue("#0072B2", "#005F96", "#6CBFF0")  # blue
DOUBT: Final = Hue("#E69F00", "#7A5200", "#E9BD62")  # orange
BAD: Final = Hue("#D55E00", "#A84300", "#FF9A5C")  # vermillion
TWICE: Final = Hue("#CC79A7", "#96386B", "#E39AC4")  # purple
UNSAFE: Final = Hue("#009E73", "#00704F", "#5CCBA6")  # bluish green
UNKNOWN: Final = Hue("#6E6E6E", "#5A6067", "#A2A9B1")  # grey

STATES: Final = {
    "online": WELL,
    "offline": BAD,
    "undecided": DOUBT,
    "forgotten": UNKNOWN,
    "traded": WELL,
    "untraded": BAD,
    "duplicated": TWICE,
    "misplaced": DOUBT,
    "unplanned": UNSAFE,
    "unknown": UNKNOWN,
}
"""The hue of each state of a node and of a portfolio."""


def style() -> str:
    """Return the states' colours in CSS: as variables such as ``--state-online``, and of portfolios in a state."""
    shades = "".join(f"--state-{state}:light-dark({hue.on_light},{hue.on_dark});" for state, hue in STATES.items())
    portfolios = "".join(
        f"#portfolios tr.{state},#portfolios span.{state}{{color:var(--state-{state})}}\n" for state in STATES
    )
    return f":root{{{shades}}}\n{portfolios}"
