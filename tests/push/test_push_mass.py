"""Mass loss: when it is seen, what it holds back, and when it is over. Time is handed in."""

from exporter.push.mass import LONGEST, MassLoss

TTL, HOLD = 30.0, 15.0


class Fleet:
    """Nodes by name, and the mass loss that watches them."""

    def __init__(self, size: int, ratio: float = 0.5, least: int = 3) -> None:
        self.mass = MassLoss(TTL, ratio, least, HOLD)
        self.online = {f"n{i}" for i in range(size)}
        self.offline: set[str] = set()
        self.now = 0.0
        self.late = 0.0

    def die(self, count: int, after: float = 0.0) -> list[str]:
        self.now += after
        died = sorted(self.online, key=lambda name: int(name[1:]))[:count]
        self.online -= set(died)
        self.offline |= set(died)
        self.mass.note(died, self.offline, len(self.online), self.now, self.late)
        return died

    def back(self, *names: str, after: float = 0.0) -> None:
        self.offline -= set(names)
        self.online |= set(names)
        self.wait(after)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.mass.note((), self.offline, len(self.online), self.now)

    @property
    def held(self) -> set[str]:
        return {name for name in self.offline if self.mass.holds(name)}


def test_a_half_is_no_mass_loss_and_one_more_is() -> None:
    fleet = Fleet(10)
    fleet.die(5)
    assert fleet.mass.since is None
    assert fleet.held == set()
    fleet.die(1, after=1)
    assert fleet.mass.since == 1


def test_two_of_two_are_no_mass_loss_and_three_of_three_are() -> None:
    pair, three = Fleet(2), Fleet(3)
    pair.die(2)
    three.die(3)
    assert pair.mass.since is None
    assert three.mass.since == 0


def test_deaths_further_apart_than_a_ttl_are_no_mass_loss() -> None:
    fleet = Fleet(6)
    for _ in range(6):
        fleet.die(1, after=TTL / 2 + 1)
    assert fleet.mass.since is None


def test_deaths_within_one_ttl_are_a_mass_loss_though_they_come_one_by_one() -> None:
    fleet = Fleet(6)
    for _ in range(4):
        fleet.die(1, after=9)
    assert fleet.mass.since == 36


def test_nodes_that_came_back_do_not_count() -> None:
    fleet = Fleet(6)
    died = fleet.die(3)
    fleet.back(*died)
    fleet.die(1, after=1)
    assert fleet.mass.since is None


def test_single_deaths_are_held_for_the_hold_then_let_go() -> None:
    fleet = Fleet(10)
    died = fleet.die(8)
    assert fleet.held == set(died)
    assert fleet.mass.next_release == HOLD
    fleet.wait(HOLD - 0.1)
    assert fleet.held == set(died)
    fleet.wait(0.1)
    assert fleet.held == set()
    assert fleet.mass.next_release == float("inf")
    assert fleet.mass.since == 0


def test_it_lasts_while_half_of_the_lost_are_out() -> None:
    fleet = Fleet(10)
    died = fleet.die(8)
    fleet.back(*died[:4], after=20)
    assert fleet.mass.since == 0
    fleet.back(died[4], after=1)
    assert fleet.mass.since is None


def test_it_lasts_an_hour_at_most() -> None:
    fleet = Fleet(10)
    fleet.die(8)
    fleet.wait(LONGEST - 1)
    assert fleet.mass.since == 0
    fleet.wait(1)
    assert fleet.mass.since is None


def test_thresholds_are_settings() -> None:
    fleet = Fleet(10, ratio=0.2, least=2)
    fleet.die(2)
    assert fleet.mass.since is None
    fleet.die(1)
    assert fleet.mass.since == 0


def test_the_first_deaths_of_a_mass_loss_are_held_since_the_others_are_late_too() -> None:
    # 500 nodes lose their network at once: their heartbeats run out over the 10 s between two beats.
    fleet = Fleet(500)
    fleet.late = 1.0
    held = set()
    for _ in range(100):
        held |= set(fleet.die(5, after=0.1))
        assert fleet.held == held
    assert fleet.mass.since is not None
    fleet.wait(HOLD)
    assert fleet.held == set()


def test_a_single_death_is_not_held_while_the_others_are_in_time() -> None:
    fleet = Fleet(500)
    fleet.late = 0.1
    fleet.die(1)
    assert fleet.held == set()


def test_a_death_among_late_nodes_that_recover_is_let_go_after_the_hold() -> None:
    fleet = Fleet(500)
    fleet.late = 0.9
    died = fleet.die(1)
    assert fleet.held == set(died)
    fleet.wait(HOLD)
    assert fleet.held == set()
    assert fleet.mass.since is None


def test_two_nodes_that_are_late_together_are_not_held() -> None:
    fleet = Fleet(2)
    fleet.late = 1.0
    fleet.die(1)
    assert fleet.held == set()
