"""Stories of nodes that live, but beat late, write no hash, or restart often."""

from simulated.story import Story, story

NAMES = tuple(f"n{number}" for number in range(1, 13))


@story("GinkgoNodeFlapping", length=5400, evaluation=30)
def three_outages_in_half_an_hour_and_three_restarts_flap(tale: Story) -> None:
    for at in (600, 900, 1200):
        tale.crash("n1", at=at)
        tale.start("n1", at=at + 120)
    tale.fires(node_id="n1", between=(1215, 1260))
    tale.reads(
        1260,
        "Node n1 goes up and down",
        "In the last 30 minutes node n1 went up or down, or restarted, 5 times.",
        node_id="n1",
    )
    tale.resolves(node_id="n1", between=(2400, 2640))
    for at in (1200, 1500, 1800):
        tale.restart("n2", at=at)
    tale.fires(node_id="n2", between=(1815, 1860))
    tale.resolves(node_id="n2", between=(2970, 3060))


@story("GinkgoNodeFlapping", length=3600, exporters=("a", "b"))
def a_rolling_update_two_outages_and_faults_of_redis_and_exporter_are_no_flapping(tale: Story) -> None:
    tale.restart("n1", "n2", "n3", at=300)
    tale.restart("n1", at=900)
    tale.crash("n4", at=600)
    tale.start("n4", at=800)
    tale.crash("n4", at=1000)
    tale.start("n4", at=1200)
    for at in range(1500, 3300, 300):
        tale.redis_restarts(at=at, takes=30)
        tale.exporter_restarts("a", at=at + 150, takes=30)


@story("GinkgoNodeFlapping", length=7200, evaluation=60)
def three_restarts_in_two_hours_are_no_flapping(tale: Story) -> None:
    for at in (600, 2700, 4800):
        tale.restart("n1", at=at)
        tale.crash("n2", at=at)
        tale.start("n2", at=at + 100)


@story("GinkgoHeartbeatLate")
def a_node_that_often_misses_beats_is_told_until_it_beats_in_time(tale: Story) -> None:
    tale.beats_every(23, "n1", at=300)
    tale.fires(node_id="n1", between=(345, 540))
    tale.beats_every(10.1, "n1", at=1200)
    tale.resolves(node_id="n1", between=(1260, 1500))


@story("GinkgoHeartbeatLate")
def a_beat_every_twenty_five_seconds_is_late(tale: Story) -> None:
    tale.beats_every(25, "n1", at=300)
    tale.fires(node_id="n1", between=(345, 480))


@story("GinkgoHeartbeatLate", length=240)
def two_late_looks_are_enough_for_a_prometheus_that_has_just_started(tale: Story) -> None:
    tale.beats_every(27, "n1", at=-100)
    tale.fires(node_id="n1", between=(15, 30))
    tale.reads(
        210,
        "Node n1 often beats late",
        "At 46.67% of the checks of the last five minutes the heartbeat of node n1 was late: less than 15s were left "
        "of its TTL. When nothing is left of it, the node is offline.",
        node_id="n1",
    )


@story("GinkgoHeartbeatLate")
def one_late_beat_at_the_first_scrape_of_prometheus_is_not_often(tale: Story) -> None:
    tale.beats_every(27, *NAMES[:4], at=-30)
    tale.beats_every(10.1, *NAMES[:4], at=2)


@story("GinkgoHeartbeatLate", nodes=6)
def beats_that_are_slow_once_crashes_and_restarts_are_not_often_late(tale: Story) -> None:
    tale.beats_every(14, "n1", at=300)
    tale.beats_every(22, "n2", at=300)
    tale.beats_every(10.1, "n2", at=322)
    tale.crash("n3", at=600)
    tale.start("n3", at=645)
    tale.restart("n4", at=600, takes=45)
    tale.crash("n5", at=900)
    for at in (300, 420):
        tale.beats_every(28, "n6", at=at)
        tale.beats_every(10.1, "n6", at=at + 25)
    tale.redis_hangs(at=1200, lasts=25)


@story("GinkgoHeartbeatLate", exporters=("a", "b"))
def two_exporters_make_one_late_node_beside_another_installation(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.beats_every(25, "n1", at=300)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(node_id="n1", between=(345, 480))


@story("GinkgoNodeZombie")
def a_heartbeat_without_a_hash_is_told_until_the_hash_is_back(tale: Story) -> None:
    tale.loses_its_hash("n1", at=302)
    tale.fires(node_id="n1", between=(420, 440))
    tale.reads(
        900,
        "Node n1 has a heartbeat but no metrics",
        "Node n1 renews its heartbeat, but its metrics hash is missing or unreadable. Nothing is known about its "
        "queue, backpressure and drops.",
        node_id="n1",
    )
    tale.writes_its_hash_again("n1", at=1200)
    tale.resolves(node_id="n1", between=(1199, 1230))


@story("GinkgoNodeZombie")
def a_zombie_is_hidden_by_no_namesake(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.loses_its_hash("n1", at=302)
    tale.fires(node_id="n1", between=(420, 440))


@story("GinkgoNodeZombie", exporters=("a", "b"))
def a_short_gap_of_the_hash_starts_and_outages_make_no_zombie(tale: Story) -> None:
    tale.loses_its_hash("n1", at=300)
    tale.writes_its_hash_again("n1", at=390)
    tale.restart("n2", at=600)
    tale.crash("n3", at=700)
    tale.exporter_loses_redis("b", at=900, lasts=400)
    tale.redis_restarts(at=1400, takes=60, data="lost")
