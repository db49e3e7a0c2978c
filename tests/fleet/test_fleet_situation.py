"""What people must know of Redis now, as the fleet knows it."""

import pytest

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.fleet.situation import outage, refusal, trouble
from exporter.journal.journal import Journal
from exporter.settings import load
from exporter.source.reading import Server
from exporter.telemetry import Telemetry
from fleet_world import World, states
from lab.readings import ALIVE, WALL


def fleet_over(world: World) -> Fleet:
    """Return a fleet that was not started; its clocks are those of the world."""
    journal = Journal(None, Telemetry(), lambda: WALL + world.at, lambda: world.at)
    return Fleet(load({}), source=world, clock=lambda: world.at, journal=journal)


def fail_to_read(fleet: Fleet) -> None:
    with pytest.raises(SourceError):
        fleet.reader.read()


def test_nothing_is_wrong_while_redis_answers() -> None:
    fleet = fleet_over(World({b"a": ALIVE}))
    states(fleet)
    assert outage(fleet) == refusal(fleet) == ""


def test_outage_has_its_begin_its_cause_and_what_was_last_known() -> None:
    world = World({b"a": ALIVE})
    fleet = fleet_over(world)
    states(fleet)
    world.at, world.down = 60, True
    fail_to_read(fleet)
    assert outage(fleet) == "Redis cannot be read since 2026-01-06 12:31:45 UTC: no answer."
    assert trouble(fleet).startswith(outage(fleet))
    assert "of 2026-01-06 12:30:45 UTC: 1 online." in trouble(fleet)


def test_cause_is_that_of_the_probe_if_both_fail() -> None:
    world = World({b"a": ALIVE})
    fleet = fleet_over(world)
    states(fleet)
    world.at, world.refused = 60, True
    fail_to_read(fleet)
    assert "no permission" in outage(fleet)
    world.down = True
    fleet.rounds.probe()
    assert "no answer" in outage(fleet)


def test_trouble_of_unknown_begin_names_no_time() -> None:
    assert "since" not in trouble(fleet_over(World({})))


def test_refused_writes_are_counted_until_redis_cannot_be_read() -> None:
    world = World({b"a": ALIVE}, Server("run-1", "master", refused={"OOM": 0, "MISCONF": 0}))
    fleet = fleet_over(world)
    assert refusal(fleet) == "", "before the first answer"
    states(fleet)
    world.at, world.server = 10, Server("run-1", "master", refused={"OOM": 3, "MISCONF": 0})
    states(fleet)
    assert refusal(fleet).startswith("Redis refuses writes since 2026-01-06 12:30:45 UTC (OOM 3)")
    world.down = True
    fail_to_read(fleet)
    assert refusal(fleet) == ""
