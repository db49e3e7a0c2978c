"""The demo's scheduler: the plan that follows from a plan, as the platform's scheduler makes it."""

from exporter.demo.scheduler import LIMIT, ORPHANED, assigned, shortened


def test_plan_stays_while_all_nodes_are_healthy() -> None:
    plan = {"p": "a", "q": "b"}
    assert assigned(plan, {"a": 1, "b": 1}, plan.keys()) == plan


def test_portfolios_of_a_dead_node_go_one_by_one_to_the_node_with_the_fewest() -> None:
    plan = {"p": "dead", "q": "dead", "r": "dead", "s": "a"}
    assert assigned(plan, {"a": 1, "b": 0}, plan.keys()) == {"p": "b", "q": "a", "r": "b", "s": "a"}


def test_portfolio_that_finds_no_room_is_dropped_or_stays_on_its_dead_node() -> None:
    plan = {"p": "dead", "q": "a"}
    assert assigned(plan, {"a": LIMIT}, plan.keys()) == {"q": "a"}
    assert assigned(plan, {"a": LIMIT}, plan.keys(), stays=lambda _: True) == plan


def test_all_are_orphaned_without_a_node_and_placed_again_with_one() -> None:
    orphaned = assigned({"p": "a"}, {}, ["p", "q"])
    assert orphaned == {"p": ORPHANED, "q": ORPHANED}
    assert assigned(orphaned, {"a": 0}, ["p", "q"]) == {"p": "a", "q": "a"}


def test_portfolio_that_its_owner_deleted_leaves_the_plan() -> None:
    assert assigned({"p": "a", "q": "a"}, {"a": 2}, ["q"]) == {"q": "a"}


def test_first_few_of_many_names_are_shown() -> None:
    assert shortened(["a", "b"]) == "a, b"
    assert shortened([str(number) for number in range(7)]) == "0, 1, 2, 3, 4, 5, 6"
    assert shortened([str(number) for number in range(9)]) == "0, 1, 2, 3, 4, 5 and 3 more"
