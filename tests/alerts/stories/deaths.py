"""Stories of nodes that die: one, many together, all."""

from simulated.story import Story, story

NAMES = tuple(f"n{number}" for number in range(1, 13))


@story("GinkgoNodeOffline", portfolios=12, exporters=("a", "b"))
def a_page_says_how_many_portfolios_the_plan_gives_to_the_node_until_they_are_moved(tale: Story) -> None:
    tale.scheduler_stops(at=280, lasts=620)
    tale.crash("n1", at=300)
    tale.exporter_moves("b", "c", at=500)
    tale.fires(node_id="n1", between=(315, 350))
    text = (
        "Node n1 has no live heartbeat, and its metrics hash is still in Redis: it did not stop gracefully. Its "
        "portfolios are not traded until this or another node loads them."
    )
    tale.reads(600, "Node n1 is offline", f"{text} Portfolios that the plan gives to it: 3.", node_id="n1")
    tale.reads(1200, "Node n1 is offline", text, node_id="n1")


@story("GinkgoNodeOffline")
def a_crash_pages_at_the_scrape_after_the_ttl_and_the_return_ends_it(tale: Story) -> None:
    tale.crash("n1", at=600)
    tale.fires(node_id="n1", between=(615, 645))
    tale.reads(
        900,
        "Node n1 is offline",
        "Node n1 has no live heartbeat, and its metrics hash is still in Redis: it did not stop gracefully. "
        "Its portfolios are not traded until this or another node loads them.",
        node_id="n1",
    )
    tale.start("n1", at=1204)
    tale.resolves(node_id="n1", between=(1350, 1375))


@story("GinkgoNodeOffline", nodes=6)
def a_rolling_update_a_scale_down_and_restarts_page_nobody(tale: Story) -> None:
    for number, name in enumerate(NAMES[:6]):
        tale.restart(name, at=300 + 40 * number, takes=25)
    tale.stop("n5", "n6", at=900)
    tale.exporter_restarts(at=1000, takes=45)
    tale.prometheus_is_away(at=1200, lasts=200)


@story("GinkgoNodeOffline", nodes=6)
def faults_of_redis_page_nobody(tale: Story) -> None:
    tale.redis_hangs(at=300, lasts=25)
    tale.redis_restarts(at=600, takes=50)
    tale.redis_saves(at=800)
    tale.redis_restarts(at=1000, takes=10, data="saved")
    tale.redis_restarts(at=1300, takes=10, data="lost")
    tale.exporter_moves("a", "b", at=1500)


@story("GinkgoNodeOffline", exporters=("a", "b"))
def it_fires_on_through_a_restart_of_the_exporter_and_a_move(tale: Story) -> None:
    tale.exporter_is_removed("b", at=60)
    tale.crash("n1", at=600)
    tale.fires(node_id="n1", between=(615, 645))
    tale.exporter_restarts(at=900, takes=110)
    tale.exporter_moves("a", "c", at=1300)


@story("GinkgoNodeOffline", exporters=("a", "b"))
def an_exporter_that_cannot_read_redis_hides_no_death_from_the_other(tale: Story) -> None:
    tale.exporter_loses_redis("a", at=300, lasts=1500)
    tale.crash("n1", at=600)
    tale.fires(node_id="n1", between=(615, 645))


@story("GinkgoNodeOffline")
def a_network_that_fails_now_and_then_hides_no_death(tale: Story) -> None:
    for at in range(307, 1800, 37):
        tale.exporter_loses_redis("a", at=at, lasts=4)
    tale.crash("n1", at=600)
    tale.fires(node_id="n1", between=(615, 720))


@story("GinkgoNodeOffline", nodes=8)
def a_dead_node_is_hidden_by_no_namesake_alive_or_lost_in_a_mass_loss(tale: Story) -> None:
    tale.cluster = "live"
    tale.crash("n1", "n8", at=600)
    tale.fires(node_id="n1", between=(615, 645))
    tale.fires(node_id="n8", between=(615, 645))
    other = tale.beside("test")
    other.crash("n1", "n2", "n3", "n4", at=600)


@story("GinkgoMassHeartbeatLoss", nodes=8)
def four_of_eight_nodes_are_one_page_until_the_last_is_back(tale: Story) -> None:
    tale.crash("n1", "n2", "n3", "n4", at=600)
    tale.fires(between=(615, 660))
    tale.reads(
        900,
        "Many nodes lost their heartbeat at once",
        "So many nodes lost their heartbeat together (by default at least three, and more than a quarter of those "
        "online before, or at least ten) that one cause is likely: the network between nodes and Redis, a host, a "
        "bad release, or Redis losing its data. Some of them are still out. These nodes raise no alert of their own.",
    )
    tale.start("n1", "n2", at=1000)
    tale.start("n3", "n4", at=1200)
    tale.resolves(between=(1345, 1380))


@story("GinkgoMassHeartbeatLoss", nodes=8, exporters=("a", "b"))
def a_mass_loss_lasts_through_restarts_of_both_exporters_one_after_the_other(tale: Story) -> None:
    tale.crash("n1", "n2", "n3", "n4", at=600)
    tale.fires(between=(615, 660))
    tale.exporter_loses_redis("b", at=900, lasts=100)
    tale.exporter_restarts("b", at=1200, takes=60)


@story("GinkgoMassHeartbeatLoss", nodes=9)
def two_dead_nodes_a_rolling_update_and_faults_of_redis_are_no_mass_loss(tale: Story) -> None:
    tale.crash("n1", "n2", at=300)
    tale.stop("n6", "n7", "n8", "n9", at=600)
    for number, name in enumerate(("n3", "n4", "n5")):
        tale.restart(name, at=700 + 40 * number, takes=30)
    tale.redis_restarts(at=1000, takes=50)
    tale.redis_hangs(at=1300, lasts=40)


@story("GinkgoNodeOffline", nodes=8)
def members_of_a_mass_loss_page_never_one_by_one_and_a_later_death_does(tale: Story) -> None:
    tale.crash("n1", "n2", "n3", "n4", at=600)
    tale.start("n1", "n2", "n3", at=900)
    tale.crash("n8", at=1000)
    tale.fires(node_id="n8", between=(1015, 1050))


@story("GinkgoAllNodesOffline", nodes=3, length=9000, evaluation=60)
def all_offline_lasts_for_as_long_as_it_is_so_also_beyond_the_hour(tale: Story) -> None:
    tale.crash("n1", "n2", "n3", at=600)
    tale.fires(between=(615, 720))
    tale.reads(
        900,
        "Every known node is offline",
        "Redis answers, nodes are known, and not one of them has a live heartbeat. No node of this installation "
        "is trading.",
    )
    tale.exporter_restarts(at=5000, takes=1300)
    tale.resolves(between=(5100, 5280))
    tale.fires(between=(6240, 6420))
    tale.start("n1", at=7800)
    tale.resolves(between=(7940, 8040))


@story("GinkgoAllNodesOffline", nodes=3)
def all_offline_fires_at_the_scrape_that_shows_the_last_death(tale: Story) -> None:
    tale.crash("n1", "n2", at=300)
    tale.crash("n3", at=600)
    tale.fires(between=(615, 645))
    tale.start("n3", at=904)
    tale.resolves(between=(1050, 1075))


@story("GinkgoAllNodesOffline", nodes=3, length=4000)
def nodes_that_all_died_in_a_long_outage_of_redis_are_told_after_it(tale: Story) -> None:
    tale.redis_hangs(at=600, lasts=2400)
    tale.crash("n1", "n2", "n3", at=700)
    tale.fires(between=(3000, 3060))


@story("GinkgoAllNodesOffline", nodes=2)
def nodes_that_all_stop_gracefully_are_gone_and_not_offline(tale: Story) -> None:
    tale.stop("n1", "n2", at=600)


@story("GinkgoAllNodesOffline", nodes=2)
def leftovers_on_a_fresh_system_are_no_event(tale: Story) -> None:
    # Both died long before Prometheus was set up.
    tale.crash("n1", "n2", at=-100)
    tale.start("n3", at=1500)


@story("GinkgoAllNodesOffline", nodes=3)
def a_restart_of_redis_and_one_of_all_nodes_is_not_all_offline(tale: Story) -> None:
    tale.redis_restarts(at=300, takes=45)
    tale.redis_restarts(at=600, takes=45, data="lost")
    tale.restart("n1", "n2", "n3", at=900, takes=60)
    tale.crash("n1", "n2", at=1200)
