"""Events per second come from two beats, not from two looks."""

from typing import Any

from exporter.commands.listing import Listing
from exporter.commands.rates import Rates


def listing(at: float, age: float, events: int | None, **values: Any) -> Listing:
    row = {"node_id": "n", "state": "online", "heartbeat_age_seconds": age, "events": events, **values}
    return Listing(at, [row], "", remembers=True)


def rates_of(*listings: Listing) -> list[float | None]:
    rates = Rates(ttl=30.0)
    return [rates.add(seen).rows[0]["events_per_second"] for seen in listings]


def test_rate_is_the_events_between_two_beats_over_the_time_between_them() -> None:
    assert rates_of(listing(100, 4, 1000), listing(112, 6, 3000))[-1] == 2000 / 10


def test_two_looks_at_one_beat_give_no_rate_and_keep_the_last_one() -> None:
    assert rates_of(listing(100, 4, 1000), listing(101, 5.01, 1000)) == [None, None]
    assert rates_of(listing(100, 4, 1000), listing(112, 6, 3000), listing(114, 8, 3000)) == [None, 200, 200]


def test_beat_whose_hash_may_not_be_written_yet_is_left_for_the_next_look() -> None:
    assert rates_of(listing(100, 4, 1000), listing(106.1, 0.1, 1000), listing(108, 2, 2000)) == [None, None, 100]


def test_restart_and_death_give_no_rate() -> None:
    assert rates_of(listing(100, 4, 1000), listing(112, 6, 5)) == [None, None]
    offline = listing(140, 44, 3000, state="offline")
    assert rates_of(listing(100, 4, 1000), listing(112, 6, 3000), offline) == [None, 200, None]


def test_node_without_counter_has_no_rate() -> None:
    assert rates_of(listing(100, 4, None), listing(112, 6, None)) == [None, None]
