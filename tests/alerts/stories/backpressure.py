"""Stories of full queues and dropped events."""

from simulated.story import Story, story

HOUR, DAY = 3600, 86_400
TEXT = (
    "Node {} dropped events in the last minutes. Its portfolios will never see these events. Events that it has "
    "dropped since it started: {}."
)


@story("GinkgoEventsDropped", length=3600)
def a_drop_fires_at_the_scrape_that_shows_it_and_single_drops_are_one_alert(tale: Story) -> None:
    tale.drop("n1", 2, at=900)
    tale.fires(node_id="n1", between=(899, 930))
    tale.reads(1100, "Node n1 drops events", TEXT.format("n1", 9), node_id="n1")
    tale.drop("n1", 1, at=1900)
    tale.resolves(node_id="n1", between=(3100, 3270))


@story("GinkgoEventsDropped", nodes=5, length=2400)
def a_restart_that_drops_again_fires_whatever_the_new_total_is(tale: Story) -> None:
    tale.restart("n1", "n2", "n3", "n4", at=900, takes=15)
    tale.drop("n1", 2, at=1000)
    tale.drop("n2", 7, at=1000)
    tale.drop("n3", 9, at=1000)
    for name in ("n1", "n2", "n3"):
        tale.fires(node_id=name, between=(1000, 1030))
        tale.resolves(node_id=name, between=(2130, 2270))


@story("GinkgoEventsDropped", length=2700)
def a_new_node_and_a_first_drop_fire(tale: Story) -> None:
    tale.start("n9", at=200)
    tale.drop("n9", 1, at=1200)
    tale.fires(node_id="n9", between=(1199, 1230))
    tale.resolves(node_id="n9", between=(2400, 2580))
    tale.start("n8", at=900)
    tale.drop("n8", 3, at=901)
    tale.fires(node_id="n8", between=(899, 930))
    tale.resolves(node_id="n8", between=(2100, 2280))


@story("GinkgoEventsDropped", length=4800)
def drops_in_an_outage_of_forty_minutes_are_told_after_it_and_old_ones_are_not(tale: Story) -> None:
    tale.start("n9", at=-60)
    tale.redis_hangs(at=900, lasts=2400)
    tale.drop("n1", 1, at=1500)
    tale.fires(node_id="n1", between=(3300, 3345))
    tale.resolves(node_id="n1", between=(4500, 4680))
    tale.drop("n9", 1, at=3320)
    tale.fires(node_id="n9", between=(3315, 3360))
    tale.resolves(node_id="n9", between=(4500, 4700))


@story("GinkgoEventsDropped", length=6600, evaluation=60)
def an_outage_longer_than_the_memory_makes_no_old_drops_new(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.redis_hangs(at=600, lasts=4500)


@story("GinkgoEventsDropped")
def an_installation_that_is_new_to_an_old_prometheus_brings_old_drops(tale: Story) -> None:
    tale.cluster = "old"
    tale.beside("new").prometheus_is_away(at=-1, lasts=900)


@story("GinkgoEventsDropped")
def old_drops_are_nothing_to_a_fresh_prometheus_and_after_restarts(tale: Story) -> None:
    tale.restart("n1", at=600)
    tale.exporter_restarts(at=900, takes=60)
    tale.exporter_moves("a", "b", at=1100)
    tale.prometheus_is_away(at=1200, lasts=400)


@story("GinkgoEventsDropped", exporters=("a", "b"))
def two_exporters_of_which_one_moves_hide_no_drop(tale: Story) -> None:
    tale.exporter_moves("b", "c", at=600)
    tale.exporter_loses_redis("a", at=800, lasts=900)
    tale.drop("n1", 1, at=900)
    tale.fires(node_id="n1", between=(899, 930))


@story("GinkgoEventsDropped", length=3000)
def a_redis_that_is_back_from_an_old_snapshot_brings_no_new_drops(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.redis_saves(at=-60)
    tale.load("n1", "n2", "n3", "n4", at=-50, drops=0.5)
    tale.load("n1", "n2", "n3", "n4", at=-10, drops=0.0)
    tale.cut_off("n3", "n4", at=1000, lasts=800)
    tale.redis_restarts(at=1200, takes=13, data="saved")


@story("GinkgoEventsDropped", length=2400)
def drops_while_redis_or_prometheus_is_away_are_told_afterwards(tale: Story) -> None:
    tale.redis_hangs(at=900, lasts=400)
    tale.drop("n1", 1, at=1000)
    tale.fires(node_id="n1", between=(1300, 1345))
    tale.prometheus_is_away(at=1500, lasts=400)
    tale.drop("n2", 1, at=1600)
    tale.fires(node_id="n2", between=(1899, 1930))


@story("GinkgoEventsDropped", length=2400)
def drops_before_a_crash_are_told(tale: Story) -> None:
    tale.drop("n1", 1, at=900)
    tale.crash("n1", at=912)
    tale.fires(node_id="n1", between=(899, 930))
    tale.resolves(node_id="n1", between=(1820, 1875))


@story("GinkgoBackpressureSpike", length=2700)
def a_burst_on_a_quiet_node_fires_after_three_minutes_and_ends_with_it(tale: Story) -> None:
    tale.load("n1", at=1800, backpressure=0.3)
    tale.fires(node_id="n1", between=(2000, 2060))
    tale.reads(
        2150,
        "Backpressure on node n1 is far above its usual level",
        "Full queues push back 0.3 times a second on node n1, far more often than on average in the last hour, and "
        "than at the same time yesterday.",
        node_id="n1",
    )
    tale.load("n1", at=2202, backpressure=0.0)
    tale.resolves(node_id="n1", between=(2220, 2340))


@story("GinkgoBackpressureSpike", nodes=9, length=3300)
def a_blip_a_trickle_noise_and_restarts_are_no_spike(tale: Story) -> None:
    tale.drop("n1", 500, at=2400)
    tale.load("n2", at=2400, backpressure=0.06)
    tale.load("n3", "n4", "n5", "n6", at=-119, backpressure=7.0)
    tale.load("n4", at=2400, backpressure=14.0)
    tale.restart("n5", at=1500, takes=200)
    tale.crash("n6", at=2400)
    tale.load("n7", at=1150, backpressure=0.0)
    tale.start("n20", at=1500)
    tale.load("n20", at=1800, backpressure=7.0)
    tale.prometheus_is_away(at=600, lasts=300)


@story("GinkgoBackpressureSpike", length=3300)
def ten_times_the_noise_is_a_spike_for_two_exporters_of_which_one_moves(tale: Story) -> None:
    tale.load("n1", at=-119, backpressure=1.0)
    tale.load("n1", at=2400, backpressure=10.0)
    tale.exporter_moves("a", "b", at=2700)
    tale.fires(node_id="n1", between=(2600, 2680))


@story("GinkgoBackpressureSpike", length=7800, evaluation=60)
def a_new_level_is_a_spike_for_a_while_and_then_the_baseline(tale: Story) -> None:
    tale.load("n1", at=-119, backpressure=0.1)
    tale.load("n1", at=5400, backpressure=10.0)
    tale.fires(node_id="n1", between=(5580, 5760))
    tale.resolves(node_id="n1", between=(6900, 7380))


@story("GinkgoBackpressureSpike", nodes=3, length=DAY + HOUR, evaluation=60)
def the_opening_of_the_market_is_no_spike_where_yesterdays_was_the_same(tale: Story) -> None:
    tale.prometheus_is_away(at=1.5 * HOUR, lasts=21.5 * HOUR)
    for name, yesterday in (("n1", 2.0), ("n2", 0.2), ("n3", 0.06)):
        tale.load(name, at=1800, backpressure=yesterday)
        tale.load(name, at=2700, backpressure=0.0)
    # Today it opens five minutes later, and n2 meets ten times as much.
    tale.load("n1", "n2", at=DAY + 2100, backpressure=2.0)
    tale.load("n3", at=DAY + 2100, backpressure=0.15)
    tale.fires(node_id="n1", between=(2000, 2220))
    tale.resolves(node_id="n1", between=(2730, 2940))
    tale.fires(node_id="n2", between=(2000, 2220))
    tale.resolves(node_id="n2", between=(2730, 2940))
    tale.fires(node_id="n2", between=(DAY + 2300, DAY + 2400))


@story("GinkgoBackpressureHigh", nodes=4, length=3600)
def a_large_share_for_ten_minutes_fires_and_ends_with_it(tale: Story) -> None:
    tale.load("n1", at=-119, events=1.0)
    tale.load("n1", at=600, backpressure=0.3)
    tale.load("n2", at=600, backpressure=0.8)
    tale.load("n3", at=600, events=0.3, backpressure=0.08)
    tale.fires(node_id="n1", between=(1260, 1350))
    tale.reads(
        1800,
        "Node n1 is under steady backpressure",
        "For 10m node n1 has met a full queue 0.30 times for each event that it takes.",
        node_id="n1",
    )
    tale.load("n1", at=2400, backpressure=0.0)
    tale.resolves(node_id="n1", between=(2560, 2650))


@story("GinkgoBackpressureHigh", length=3600, exporters=("a", "b"))
def bursts_of_eight_minutes_and_restarts_are_no_steady_backpressure(tale: Story) -> None:
    tale.load("n1", at=600, backpressure=5.0)
    tale.load("n1", at=900, backpressure=0.0)
    tale.load("n2", at=600, backpressure=5.0)
    tale.restart("n2", at=840)
    tale.load("n2", at=850, backpressure=0.0)
    tale.exporter_moves("a", "c", at=1500)
    tale.redis_hangs(at=1800, lasts=300)


@story("GinkgoBackpressureHigh", nodes=3, length=3000, exporters=("a", "b"))
def two_exporters_of_which_one_moves_make_one_steady_backpressure(tale: Story) -> None:
    tale.load("n1", at=600, backpressure=5.0)
    tale.exporter_moves("b", "c", at=1300)
    tale.fires(node_id="n1", between=(1230, 1400))
