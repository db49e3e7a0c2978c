"""Stories of the platform's other components: the task timer and the workers."""

from simulated.story import Story, story

TIMER, SECOND = "heartbeat:task_timer:t1", "heartbeat:task_timer:t2"
DATA = "heartbeat:data_worker:d1", "heartbeat:data_worker:d2"
BACKTEST = "backtest:worker:b1"
HOUR = 3600


@story("GinkgoTaskTimerDown", portfolios=12, exporters=("a", "b"))
def a_task_timer_that_ends_pages_until_one_is_alive(tale: Story) -> None:
    tale.worker_ends(TIMER, at=302)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(between=(380, 425))
    tale.reads(
        900,
        "No task timer is alive",
        "A task timer was alive, and no task timer has a live heartbeat now. No timed job of the platform starts: no "
        "update of bars, no end of the day.",
    )
    tale.worker_starts(SECOND, at=1202)
    tale.resolves(between=(1350, 1390))


@story("GinkgoTaskTimerDown", nodes=1, portfolios=1, length=3 * HOUR, evaluation=60)
def the_page_lasts_for_longer_than_the_hour_and_over_a_gap(tale: Story) -> None:
    tale.worker_ends(TIMER, at=600)
    tale.fires(between=(660, 840))
    tale.prometheus_is_away(at=1.5 * HOUR, lasts=2400)
    tale.resolves(between=(1.5 * HOUR + 240, 1.5 * HOUR + 660))
    tale.fires(between=(1.5 * HOUR + 2400, 1.5 * HOUR + 2640))


@story("GinkgoTaskTimerDown", nodes=2, portfolios=2, length=3600)
def a_task_timer_that_ends_while_prometheus_is_away_for_half_an_hour_is_a_page(tale: Story) -> None:
    tale.prometheus_is_away(at=300, lasts=1800)
    tale.worker_ends(TIMER, at=400)
    tale.fires(between=(2150, 2190))


@story("GinkgoTaskTimerDown", nodes=1, portfolios=1, length=3 * HOUR, evaluation=60)
def one_that_ended_hours_before_prometheus_was_back_is_none(tale: Story) -> None:
    tale.prometheus_is_away(at=300, lasts=2.7 * HOUR)
    tale.worker_ends(TIMER, at=400)


@story("GinkgoTaskTimerDown", portfolios=12, length=2400)
def restarts_a_second_task_timer_and_faults_of_redis_page_nobody(tale: Story) -> None:
    tale.worker_ends(TIMER, at=302)
    tale.worker_starts(TIMER, at=370)
    tale.worker_starts(SECOND, at=500)
    tale.worker_ends(TIMER, at=600)
    tale.redis_hangs(at=800, lasts=100)
    tale.redis_refuses_writes(at=1100, lasts=200)
    tale.redis_restarts(at=1500, takes=40, data="lost")
    tale.worker_ends(*DATA, at=1900)


@story("GinkgoTaskTimerDown", nodes=2, portfolios=2, length=1800)
def a_task_timer_that_never_was_is_missed_by_nobody(tale: Story) -> None:
    tale.worker_ends(TIMER, at=-100)


@story("GinkgoTaskTimerDown", portfolios=12)
def the_task_timer_of_one_installation_is_none_for_the_other(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.worker_ends(TIMER, at=302)
    tale.fires(between=(380, 425))


@story("GinkgoTaskTimerTwice", portfolios=12, exporters=("a", "b"))
def a_second_task_timer_is_a_ticket_until_it_ends(tale: Story) -> None:
    tale.worker_starts(SECOND, at=302)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(between=(480, 520))
    tale.reads(
        900,
        "More than one task timer is alive: 2",
        "2 task timers have had a live heartbeat for 3m. Each of them starts each timed job, so the jobs run 2 times.",
    )
    tale.worker_ends(SECOND, at=1202)
    tale.resolves(between=(1220, 1260))


@story("GinkgoTaskTimerTwice", portfolios=12)
def a_rolling_update_and_other_workers_are_no_second_task_timer(tale: Story) -> None:
    tale.worker_starts(SECOND, at=302)
    tale.worker_ends(TIMER, at=420)
    tale.worker_starts("heartbeat:data_worker:d3", BACKTEST, "backtest:worker:b2", at=600)


@story("GinkgoWorkersGone", portfolios=12, length=5400, evaluation=30, exporters=("a", "b"))
def data_workers_that_all_end_are_a_ticket_for_an_hour(tale: Story) -> None:
    tale.worker_ends(*DATA, at=302)
    tale.exporter_moves("b", "c", at=1200)
    tale.fires(component="data_worker", between=(615, 690))
    tale.reads(
        900,
        "No data_worker is alive",
        "At least one data_worker was alive within the last hour, and for 5m no data_worker has had a live "
        "heartbeat. Its work waits.",
        component="data_worker",
    )
    tale.resolves(component="data_worker", between=(3900, 3990))


@story("GinkgoWorkersGone", portfolios=12)
def backtest_workers_are_a_ticket_of_their_own_until_one_is_back(tale: Story) -> None:
    tale.worker_starts(BACKTEST, at=-50)
    tale.worker_ends(BACKTEST, at=302)
    tale.fires(component="backtest_worker", between=(615, 660))
    tale.worker_starts(BACKTEST, at=1202)
    tale.resolves(component="backtest_worker", between=(1200, 1245))


@story("GinkgoWorkersGone", portfolios=12, length=2400)
def restarts_faults_of_redis_and_a_dead_task_timer_are_no_such_ticket(tale: Story) -> None:
    tale.worker_ends(DATA[0], at=200)
    tale.worker_ends(DATA[1], at=302)
    tale.worker_starts(*DATA, at=500)
    tale.worker_ends(TIMER, at=600)
    tale.redis_hangs(at=900, lasts=400)
    tale.redis_refuses_writes(at=1500, lasts=400)
