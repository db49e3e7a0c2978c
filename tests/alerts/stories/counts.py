"""Stories of the number of nodes: fewer than before, fewer than expected, no node at all, or an unknown number."""

from simulated.story import Story, story

NAMES = tuple(f"n{number}" for number in range(1, 13))


@story("GinkgoNodesUndecided", nodes=3)
def runs_of_redis_that_are_too_short_to_beat_on_leave_nodes_undecided(tale: Story) -> None:
    tale.crash("n1", at=295)
    for at in range(300, 1200, 17):
        tale.redis_restarts(at=at, takes=4)
    tale.fires(between=(440, 545))
    tale.reads(
        900,
        "Nodes that may be dead or alive: 1",
        "The exporter cannot tell whether 1 nodes are dead: for 2m they have had no heartbeat, and Redis was at fault "
        "in between. Meanwhile no alert reports the death of one of these nodes.",
    )
    tale.resolves(between=(1200, 1275))


@story("GinkgoNodesUndecided", nodes=3)
def a_redis_that_is_away_more_often_than_not_explains_them(tale: Story) -> None:
    tale.crash("n1", at=295)
    for at in range(300, 1500, 22):
        tale.redis_restarts(at=at, takes=14)


@story("GinkgoNodesUndecided", nodes=3)
def nodes_that_get_their_chance_after_an_outage_are_decided_in_time(tale: Story) -> None:
    tale.redis_restarts(at=300, takes=100)
    tale.crash("n1", at=350)
    tale.redis_hangs(at=900, lasts=300)
    tale.exporter_restarts(at=1400, takes=60)


@story("GinkgoNodesUndecided", nodes=3, exporters=("a", "b"))
def one_exporter_that_can_tell_is_enough(tale: Story) -> None:
    tale.crash("n1", at=500)
    for at in range(300, 1200, 15):
        tale.exporter_loses_redis("a", at=at, lasts=8)


@story("GinkgoNodesDisappeared", nodes=10, length=3600, evaluation=60)
def three_of_ten_that_leave_are_a_ticket_for_as_long_as_the_half_hour_remembers_them(tale: Story) -> None:
    tale.stop("n8", "n9", "n10", at=1810)
    tale.fires(between=(2050, 2160))
    tale.reads(
        2400,
        "Clearly fewer nodes online than half an hour ago: 7 left",
        "7 nodes are online, clearly fewer than in the last half hour. The others crashed or left; nodes that stop "
        "gracefully raise no GinkgoNodeOffline.",
    )
    tale.resolves(between=(3060, 3360))


@story("GinkgoNodesDisappeared", nodes=8, exporters=("a", "b"), length=3000)
def a_quarter_that_leaves_and_a_second_exporter_that_sees_less_are_nothing(tale: Story) -> None:
    tale.stop("n7", "n8", at=1800)
    tale.exporter_loses_redis("b", at=1900, lasts=1000)


@story("GinkgoNodesDisappeared", nodes=3, length=3000)
def one_node_of_three_that_leaves_is_nothing(tale: Story) -> None:
    tale.stop("n3", at=1800)


@story("GinkgoNodesDisappeared", nodes=6, length=3600)
def a_rollout_that_overlaps_and_a_restart_of_all_are_nothing(tale: Story) -> None:
    tale.start(*(f"new{number}" for number in range(1, 7)), at=1200)
    tale.stop(*NAMES[:6], at=1500)
    tale.restart(*(f"new{number}" for number in range(1, 7)), at=2400, takes=240)
    tale.redis_hangs(at=3000, lasts=200)
    tale.exporter_moves("a", "b", at=3300)


@story("GinkgoNodesDisappeared", nodes=6, length=3600)
def nodes_that_are_undecided_while_redis_refuses_writes_have_not_left(tale: Story) -> None:
    tale.redis_refuses_writes(at=2000, lasts=1200)


@story("GinkgoNodesDisappeared", nodes=4, length=3000)
def two_of_four_lost_are_seen_through_a_move_of_the_exporter(tale: Story) -> None:
    tale.crash("n3", "n4", at=1770)
    tale.exporter_moves("a", "b", at=1850)
    tale.fires(between=(2080, 2130))


@story("GinkgoNoNodes", nodes=3, length=5400, evaluation=30)
def a_system_that_lost_everything_pages_and_an_hour_later_is_a_ticket(tale: Story) -> None:
    tale.stop("n1", "n2", "n3", at=600)
    tale.fires(severity="critical", between=(890, 930))
    tale.reads(
        1200,
        "No node is known; online within the last hour: 3",
        "Redis answers but holds no node: all have stopped gracefully, the keys are gone, or the exporter looks at "
        "the wrong Redis, database or prefix.",
        severity="critical",
    )
    tale.resolves(severity="critical", between=(4165, 4260))
    tale.fires(severity="warning", between=(4480, 4560))
    tale.start("n1", at=5000)
    tale.resolves(severity="warning", between=(4995, 5045))


@story("GinkgoNoNodes", nodes=0)
def an_empty_system_is_a_ticket(tale: Story) -> None:
    tale.fires(severity="warning", between=(285, 315))
    tale.reads(
        600,
        "No node is known; online within the last hour: 0",
        "Redis answers but holds no node: all have stopped gracefully, the keys are gone, or the exporter looks at "
        "the wrong Redis, database or prefix.",
        severity="warning",
    )


@story("GinkgoNoNodes", nodes=3, exporters=("a", "b"))
def a_restart_of_all_nodes_and_outages_are_not_an_empty_system(tale: Story) -> None:
    tale.restart("n1", "n2", "n3", at=300, takes=200)
    tale.redis_hangs(at=700, lasts=400)
    tale.exporter_restarts("b", at=1200, takes=500)
    tale.crash("n1", "n2", "n3", at=1300)


@story("GinkgoNoNodes", nodes=0)
def a_platform_that_starts_after_its_exporter_is_no_event(tale: Story) -> None:
    tale.start("n1", at=240)


@story("GinkgoNodesMissing", nodes=5, expected=5)
def a_node_that_does_not_return_is_missing_until_it_does(tale: Story) -> None:
    tale.stop("n5", at=300)
    tale.fires(between=(590, 625))
    tale.reads(
        900,
        "Fewer nodes online than expected: 4",
        "For 5m fewer nodes have been online than --nodes.expected says.",
    )
    tale.start("n6", at=1204)
    tale.resolves(between=(1200, 1230))


@story("GinkgoNodesMissing", nodes=5, expected=5, exporters=("a", "b"))
def restarts_outages_and_more_nodes_than_expected_are_nothing(tale: Story) -> None:
    for number, name in enumerate(NAMES[:5]):
        tale.restart(name, at=300 + 40 * number, takes=60)
    tale.redis_hangs(at=700, lasts=400)
    tale.exporter_loses_redis("b", at=1200, lasts=400)
    tale.start("n6", at=1300)


@story("GinkgoNodesMissing", nodes=5, expected=5, length=2400)
def nodes_that_are_undecided_while_redis_refuses_writes_are_not_missing(tale: Story) -> None:
    tale.redis_refuses_writes(at=602, lasts=1000)


@story("GinkgoNodesMissing", nodes=2)
def without_an_expected_number_nothing_is_missing(tale: Story) -> None:
    tale.stop("n1", "n2", at=300)
