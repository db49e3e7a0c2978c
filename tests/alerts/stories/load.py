"""Stories of queues and portfolios."""

from simulated.story import Story, story


@story("GinkgoQueueGrowing", exporters=("a", "b"))
def a_queue_on_its_way_to_full_fires_and_one_that_shrinks_ends_it(tale: Story) -> None:
    tale.exporter_moves("b", "c", at=900)
    tale.load("n1", at=300, queue=600.0, filling=0.2)
    tale.fires(node_id="n1", between=(1080, 1140))
    tale.reads(
        1275,
        "The queue of node n1 is filling up",
        "The queues of node n1 hold 793 of 1,000 events on average and will be full within half an hour. Full queues "
        "push back, and events are dropped.",
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
        "Node n1 is online and not paused, but its queue of 300 events does not shrink while no events arrive, or "
        "stays full.",
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
        "For half an hour the fullest online node has had 3 portfolios more than the emptiest.",
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
