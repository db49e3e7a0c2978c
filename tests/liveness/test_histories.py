"""The judge in random histories of nodes and of a Redis with faults: no death is missed, and no living node is dead."""

from itertools import count, islice

import pytest
from histories import BEAT, TTL, Tally, tell

from exporter.liveness.judge import Judge


def judged(histories: int, *, restarts: bool = False) -> Tally:
    return tell(islice(count(), histories), lambda: Judge(TTL, BEAT), restarts=restarts)


@pytest.mark.parametrize("restarts", [False, True], ids=["one run", "restarts while Redis is cut off"])
def test_no_death_is_missed_and_no_living_node_is_called_dead(*, restarts: bool) -> None:
    tally = judged(75, restarts=restarts)
    assert tally.deaths > 50
    assert tally.missed == 0
    assert tally.false == 0
    assert tally.late <= tally.deaths / 10


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_no_death_is_missed_in_a_thousand_histories() -> None:
    tally = judged(1000)
    print(tally)  # noqa: T201
    assert tally.missed == 0
    assert tally.false < tally.lives / 100
