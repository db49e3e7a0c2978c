"""Each state has one colour, which everybody can read and tell apart."""

import itertools
import re
from collections.abc import Collection, Sequence

import pytest

from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.snapshot import COUNTED
from exporter.web.page import _STYLE
from exporter.web.palette import STATES, style
from grafana.source.palette import IDENTITIES, STATE_COLOURS

# How Machado, Oliveira and Fernandes (2009) model the sight of people who lack one kind of cones, in linear RGB.
SIGHTS = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
TELLS_APART = 12
"""A distance in CIELAB. Two colours beside each other differ visibly from about 2.3 on."""


def linear(colour: str) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(colour: str, sight: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    rgb = linear(colour)
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, rgb, strict=True)))) for row in sight)
    whole = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883,
    )
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in whole)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, sight: Sequence[Sequence[float]]) -> float:
    pairs = zip(lab(one, sight), lab(other, sight), strict=True)
    return float(sum((a - b) ** 2 for a, b in pairs) ** 0.5)


def test_every_state_has_a_colour() -> None:
    assert {*map(str, COUNTED), *map(str, PortfolioState)} <= STATES.keys()
    assert State.GONE not in STATES


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
@pytest.mark.parametrize(
    "colours", [{hue.area for hue in STATES.values()}, IDENTITIES], ids=["states", "nodes and exporters"]
)
def test_colours_can_be_told_apart_with_any_sight(colours: Collection[str], sight: Sequence[Sequence[float]]) -> None:
    for one, other in itertools.combinations(sorted(colours), 2):
        assert distance(one, other, sight) > TELLS_APART, (one, other)


def test_status_page_takes_the_colours_of_states_from_the_palette() -> None:
    assert _STYLE.startswith(style())
    assert {f"var(--state-{state})" for state in ("online", "offline", "undecided", "untraded")} <= {
        *re.findall(r"var\([\w-]+\)", _STYLE)
    }


def test_dashboards_have_the_colours_of_the_status_page() -> None:
    assert {state: hue.area for state, hue in STATES.items()} == STATE_COLOURS
