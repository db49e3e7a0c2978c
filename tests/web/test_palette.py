"""Each state has one colour, on the page and on the dashboards."""

import re

from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.snapshot import COUNTED
from exporter.web.page import _STYLE
from exporter.web.palette import STATES, style
from grafana.source.palette import STATE_COLOURS


def test_every_state_has_a_colour() -> None:
    assert {*map(str, COUNTED), *map(str, PortfolioState)} <= STATES.keys()
    assert State.GONE not in STATES


def test_status_page_takes_the_colours_of_states_from_the_palette() -> None:
    assert _STYLE.startswith(style())
    assert {f"var(--state-{state})" for state in ("online", "offline", "undecided", "untraded")} <= {
        *re.findall(r"var\([\w-]+\)", _STYLE)
    }


def test_dashboards_have_the_colours_of_the_status_page() -> None:
    assert {state: hue.area for state, hue in STATES.items()} == STATE_COLOURS
