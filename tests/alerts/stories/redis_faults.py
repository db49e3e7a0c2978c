"""Stories of a Redis that is away, refuses writes, or is nearly full."""

from simulated.story import Story, story

UNREACHABLE = (
    "For at least half of the last two minutes no exporter of this installation could read Redis. Little or nothing "
    "is known about any node. If a node dies now, no alert reports it until Redis is back."
)
REFUSED = (
    "Redis answers writes with an error and goes on expiring keys: no node can renew its heartbeat, and nothing is "
    "known about any node. A failed snapshot (a full disk), a full memory, or missing replicas are the usual causes. "
    "The platform's scheduler then takes all nodes for dead."
)


@story("GinkgoRedisUnreachable", exporters=("a", "b"))
def an_outage_pages_after_a_minute_and_ends_after_it(tale: Story) -> None:
    tale.redis_hangs(at=301, lasts=600)
    tale.fires(between=(345, 375))
    tale.reads(600, "The exporter cannot read Redis", UNREACHABLE)
    tale.resolves(between=(1070, 1110))


@story("GinkgoRedisUnreachable")
def a_redis_that_crashes_in_a_loop_pages_once(tale: Story) -> None:
    for at in range(300, 900, 24):
        tale.redis_restarts(at=at, takes=20)
    tale.fires(between=(330, 450))
    tale.resolves(between=(1050, 1110))


@story("GinkgoRedisUnreachable", exporters=("a", "b"))
def a_failover_one_failed_scrape_in_four_and_one_blind_exporter_page_nobody(tale: Story) -> None:
    tale.redis_restarts(at=301, takes=28)
    for at in range(475, 900, 120):
        tale.redis_hangs(at=at, lasts=10)
    tale.exporter_loses_redis("a", at=1000, lasts=700)


@story("GinkgoRedisUnreachable")
def a_restart_of_exporter_or_prometheus_is_no_outage(tale: Story) -> None:
    tale.exporter_restarts(at=300, takes=200)
    tale.prometheus_is_away(at=900, lasts=200)
    tale.exporter_moves("a", "b", at=1300)


@story("GinkgoRedisWritesRefused")
def refused_writes_page_at_once_and_end_after_the_next_beats(tale: Story) -> None:
    tale.redis_refuses_writes(at=602, lasts=600)
    tale.fires(between=(600, 645))
    tale.reads(900, "Redis refuses writes", REFUSED)
    tale.resolves(between=(1340, 1395))


@story("GinkgoRedisWritesRefused", exporters=("a", "b"))
def outages_restarts_and_crashes_are_no_refusal(tale: Story) -> None:
    tale.redis_hangs(at=300, lasts=100)
    tale.redis_restarts(at=600, takes=40)
    tale.crash("n1", "n2", "n3", at=900)
    tale.exporter_restarts("a", at=1200, takes=100)


@story("GinkgoNodesUndecided")
def nodes_that_are_undecided_since_writes_are_refused_are_explained(tale: Story) -> None:
    tale.redis_refuses_writes(at=602, lasts=600)


@story("GinkgoNodeOffline")
def nodes_that_cannot_beat_since_writes_are_refused_are_not_offline(tale: Story) -> None:
    tale.redis_refuses_writes(at=602, lasts=600)


@story("GinkgoRedisMemoryHigh", exporters=("a", "b"))
def memory_over_nine_tenths_for_five_minutes_is_a_ticket(tale: Story) -> None:
    tale.redis_memory(0.8, at=0)
    tale.redis_memory(0.923, at=302)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(between=(600, 630))
    tale.reads(
        900,
        "Redis uses 92.3% of its memory",
        "Redis uses 92.3% of its maxmemory and evicts nothing. When it is full it refuses writes: no node can beat, "
        "and nothing is known about any node.",
    )
    tale.redis_memory(0.85, at=1204)
    tale.resolves(between=(1200, 1230))


@story("GinkgoRedisMemoryHigh")
def a_snapshot_that_takes_memory_for_a_while_and_no_limit_are_nothing(tale: Story) -> None:
    tale.redis_memory(0.88, at=0)
    tale.redis_memory(0.95, at=302)
    tale.redis_memory(0.89, at=572)
    tale.redis_memory(None, at=900)


@story("GinkgoRedisUnreachable")
def an_exporter_that_finds_no_redis_at_its_first_scrape_is_no_outage(tale: Story) -> None:
    tale.redis_hangs(at=-5, lasts=25)


@story("GinkgoRedisUnreachable")
def that_another_installation_was_scraped_a_minute_ago_makes_it_none_either(tale: Story) -> None:
    tale.cluster = "old"
    new = tale.beside("new")
    new.prometheus_is_away(at=-1, lasts=600)
    new.redis_hangs(at=595, lasts=20)


@story("GinkgoRedisUnreachable")
def an_exporter_that_starts_without_redis_tells_it_a_minute_later(tale: Story) -> None:
    tale.redis_hangs(at=-5, lasts=605)
    tale.fires(between=(45, 75))
    tale.resolves(between=(765, 810))


@story("GinkgoRedisUnreachable")
def the_outage_of_one_installation_is_hidden_by_no_other(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.redis_hangs(at=301, lasts=600)
    tale.fires(between=(345, 375))
    tale.resolves(between=(1070, 1110))
