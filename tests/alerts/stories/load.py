"""Stories of queues and portfolios."""

from simulated.story import Story, story


@story("GinkgoQueueGrowing", exporters=("a", "b"))
def a_queue_on_its_way_to_full_fires_and_one_that_shrinks_ends_it(tale: Story) -> None:
    tale.exporter_moves("b", "c", at=900)
    tale.load("n1", at=300, queue=600.0, filling=0.2)
    tale.fires(node_id="n1", between=(1080, 1140))
    tale.reads(
        1275,
        "A queue of node n1 is filling up",
        "The fullest queue of node n1 holds 793 of 1,000 events and will be full within half an hour. A full queue "
        "pushes back, and events are dropped.",
        node_id="n1",
    )
    tale.load("n1", at=1400, filling=-1.0)
    tale.resolves(node_id="n1", between=(1500, 1720))


@story("GinkgoQueueGrowing", nodes=5, length=3600)
def queues_that_are_long_short_or_of_dead_nodes_are_not_growing(tale: Story) -> None:
    tale.load("n1", at=-119, queue=800.0)  # long and steady
    tale.load("n2", at=300, filling=0.15)  # growing, and short
    tale.load("n3", at=-119, queue=750.0, filling=0.03)  # growing, and slowly
    tale.load("n4", at=300, queue=500.0, filling=0.5)
    tale.crash("n4", at=820)
    tale.load("n5", at=900, queue=720.0)  # the market opens
    tale.load("n5", at=1100, queue=300.0)


@story("GinkgoNodeStalled", nodes=6, exporters=("a", "b"), length=2700)
def a_queue_without_events_and_one_that_stays_full_are_stalled(tale: Story) -> None:
    tale.exporter_moves("b", "c", at=1500)
    tale.load("n1", at=600, events=0.0, queue=300.0)
    tale.fires(node_id="n1", between=(1180, 1245))
    tale.reads(
        1260,
        "Node n1 does not process its queue",
        "Node n1 is online and not paused, but its fullest queue of 300 events does not shrink while no events arrive, "
        "or stays full.",
        node_id="n1",
    )
    tale.load("n2", at=902, queue=950.0)
    tale.fires(node_id="n2", between=(1490, 1540))
    tale.load("n1", at=1800, events=10.0)
    tale.resolves(node_id="n1", between=(1800, 1840))
    tale.load("n2", at=2100, queue=500.0)
    tale.resolves(node_id="n2", between=(2095, 2130))


@story("GinkgoNodeStalled", nodes=7, length=2700)
def paused_idle_draining_short_and_dead_nodes_are_not_stalled(tale: Story) -> None:
    tale.load("n1", "n2", at=600, events=0.0, queue=300.0)
    tale.pause("n1", at=600)
    tale.crash("n2", at=900)
    tale.load("n3", at=600, events=0.0, queue=0.0)
    tale.load("n4", at=600, events=0.0, queue=900.0, filling=-0.4)
    tale.load("n5", at=600, events=0.0, queue=300.0)
    tale.load("n5", at=1080, events=10.0)
    tale.load("n6", at=600, queue=990.0)
    tale.load("n6", at=1080, queue=940.0)
    tale.load("n7", at=600, queue=900.0)


@story("GinkgoPortfolioImbalance", nodes=4, length=3600, evaluation=30)
def a_node_that_carries_most_is_told_after_half_an_hour(tale: Story) -> None:
    tale.load("n1", at=300, portfolios=5)
    tale.load("n2", at=300, portfolios=2)
    tale.fires(between=(2090, 2160))
    tale.reads(
        2400,
        "Portfolios are spread unevenly over the nodes",
        "For 30m the fullest online node has had many more portfolios than the emptiest. The difference is 3 now.",
    )
    tale.load("n1", "n2", at=3000, portfolios=3)
    tale.resolves(between=(2995, 3045))


@story("GinkgoPortfolioImbalance", nodes=4, length=4200, evaluation=30)
def nodes_that_start_empty_small_differences_and_dead_nodes_are_balanced(tale: Story) -> None:
    tale.start("n5", at=300)
    tale.load("n5", at=300, portfolios=0)
    tale.load("n5", at=1500, portfolios=3)
    tale.load("n1", at=600, portfolios=5)
    tale.load("n2", at=600, portfolios=23)
    tale.crash("n2", at=600)


@story("GinkgoPortfolioImbalance", nodes=3, length=3600, evaluation=30)
def a_difference_that_is_small_for_the_number_is_balanced(tale: Story) -> None:
    tale.load("n1", "n2", at=-119, portfolios=20)
    tale.load("n3", at=-119, portfolios=26)


@story("GinkgoPortfolioImbalance", nodes=3, length=3600, evaluation=30)
def two_portfolios_more_are_balanced(tale: Story) -> None:
    tale.load("n1", at=-119, portfolios=1)


@story("GinkgoQueueGrowing", stale_gauges=True)
def the_last_queue_of_a_dead_node_does_not_grow_though_its_namesake_lives(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.load("n1", at=300, queue=500.0, filling=0.5)
    tale.crash("n1", at=830)


@story("GinkgoNodeStalled", stale_gauges=True)
def a_stalled_node_is_hidden_by_no_paused_namesake_and_a_dead_one_is_not_stalled(tale: Story) -> None:
    tale.cluster = "live"
    other = tale.beside("test")
    other.pause("n1", at=300)
    tale.load("n1", "n2", at=600, events=0.0, queue=300.0)
    tale.crash("n2", at=700)
    tale.fires(node_id="n1", between=(1180, 1245))


@story("GinkgoQueueGrowing", portfolios=12, exporters=("a", "b"))
def one_queue_of_three_that_fills_is_not_hidden_by_the_average(tale: Story) -> None:
    tale.load("n1", at=300, stuck=600.0, sticking=0.2)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(node_id="n1", between=(1080, 1140))
    tale.load("n1", at=1400, sticking=-1.0)
    tale.resolves(node_id="n1", between=(1500, 1720))


@story("GinkgoNodeStalled", portfolios=12, exporters=("a", "b"))
def one_queue_of_three_that_stays_full_stalls_its_node(tale: Story) -> None:
    tale.load("n2", at=902, stuck=960.0)
    tale.exporter_moves("b", "c", at=1000)
    tale.fires(node_id="n2", between=(1490, 1540))


@story("GinkgoNodePaused", exporters=("a", "b"), length=2400)
def a_paused_node_with_portfolios_is_a_ticket_until_it_runs(tale: Story) -> None:
    tale.pause("n1", at=302)
    tale.exporter_moves("b", "c", at=1200)
    tale.fires(node_id="n1", between=(900, 935))
    tale.reads(
        1200,
        "Node n1 is paused; portfolios that it holds: 3",
        "Node n1 has reported PAUSED for 10m and holds 3 portfolios. It beats, and the scheduler takes it for "
        "healthy, but it discards the orders of these portfolios.",
        node_id="n1",
    )
    tale.resume("n1", at=1502)
    tale.resolves(node_id="n1", between=(1500, 1530))


@story("GinkgoNodePaused", stale_gauges=True, length=2400)
def short_pauses_empty_and_dead_nodes_and_paused_namesakes_are_no_ticket(tale: Story) -> None:
    tale.cluster = "live"
    other = tale.beside("test")
    other.load("n3", at=300, portfolios=0)
    other.pause("n3", at=300)
    tale.pause("n1", at=302)
    tale.resume("n1", at=880)
    tale.load("n2", at=300, portfolios=0)
    tale.pause("n2", at=302)
    tale.pause("n4", at=302)
    tale.crash("n4", at=700)


@story("GinkgoNodeDeaf", portfolios=12, length=3000, exporters=("a", "b"))
def a_node_that_takes_no_event_while_the_others_do_is_a_ticket(tale: Story) -> None:
    tale.load("n1", at=602, events=0.0)
    tale.exporter_moves("b", "c", at=1300)
    tale.fires(node_id="n1", between=(1490, 1560))
    tale.reads(
        1800,
        "Node n1 takes no events",
        "Node n1 is online, not paused and has portfolios, but has taken no event for 10m and for some minutes before, "
        "while other nodes take events. Its portfolios see no market data.",
        node_id="n1",
    )
    tale.load("n1", at=2102, events=10.0)
    tale.resolves(node_id="n1", between=(2100, 2150))


@story("GinkgoNodeDeaf", nodes=5, length=2400)
def two_deaf_nodes_of_five_are_told(tale: Story) -> None:
    tale.load("n1", "n2", at=602, events=0.0)
    tale.fires(node_id="n1", between=(1490, 1560))
    tale.fires(node_id="n2", between=(1490, 1560))


@story("GinkgoNodeDeaf", nodes=5, length=4200)
def the_closed_market_and_one_that_opens_for_half_of_the_others_make_no_node_deaf(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.load("n1", "n2", "n3", "n4", "n5", at=602, events=0.0)
    tale.load("n1", "n2", at=2402, events=10.0)


@story("GinkgoNodeDeaf", nodes=7, length=2400, stale_gauges=True)
def paused_and_dead_nodes_are_not_deaf(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.load("n1", "n2", at=602, events=0.0)
    tale.pause("n1", at=610)
    tale.crash("n2", at=700)


@story("GinkgoNodeDeaf", nodes=4, length=2400)
def a_node_without_portfolios_and_short_silences_are_not_deaf(tale: Story) -> None:
    tale.load("n1", at=300, events=0.0, portfolios=0)
    tale.load("n2", at=300, events=0.0)
    tale.load("n2", at=1100, events=10.0)
