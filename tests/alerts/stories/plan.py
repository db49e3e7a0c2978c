"""Stories of the scheduler and of its plan: lost, stalled, or made by two schedulers."""

from simulated.story import Story, story

FLEET = tuple(f"n{number}" for number in range(1, 7))


@story("GinkgoPlanLost", portfolios=12, exporters=("a", "b"))
def a_plan_that_is_gone_pages_until_there_is_one_again(tale: Story) -> None:
    tale.scheduler_stops(at=280)
    tale.plan_is({}, at=302)
    tale.exporter_moves("b", "c", at=700)
    tale.fires(between=(420, 450))
    tale.reads(
        900,
        "There is no plan, and nodes have portfolios loaded: 12",
        "For 2m the scheduler's plan has been empty or missing, while nodes have 12 portfolios loaded. The "
        "nodes go on trading them. If a node dies, nobody moves its portfolios.",
    )
    tale.plan_is({"p1": "n1"}, at=1202)
    tale.resolves(between=(1345, 1390))


@story("GinkgoPlanLost", portfolios=12, length=2400)
def a_running_scheduler_without_a_plan_and_a_restart_of_the_exporter_do_not_hide_it(tale: Story) -> None:
    tale.plan_is({}, at=302)
    tale.exporter_restarts(at=900, takes=100)
    tale.fires(between=(420, 450))


@story("GinkgoPlanLost", portfolios=12, nodes=6, length=2400)
def a_rewritten_plan_orphans_an_idle_platform_and_faults_of_redis_are_no_lost_plan(tale: Story) -> None:
    tale.crash("n1", at=300)
    tale.plan_is({}, at=602)
    tale.plan_is({"p2": "n2"}, at=702)
    tale.redis_hangs(at=900, lasts=200)
    # The plan orphans everything, and nodes that hear nothing go on trading.
    tale.messages_are_lost(*FLEET, at=1190, lasts=10_000)
    tale.redis_refuses_writes(at=1200, lasts=300)
    tale.scheduler_stops(at=1600)
    tale.plan_is({f"p{number}": "__ORPHANED__" for number in range(1, 13)}, at=1602)


@story("GinkgoPlanLost", nodes=2, portfolios=1)
def a_platform_whose_last_portfolio_is_withdrawn_needs_no_plan(tale: Story) -> None:
    tale.scheduler_stops(at=280)
    tale.gives_up("n1", "p1", at=300)
    tale.plan_is({}, at=302)


@story("GinkgoPlanLost", portfolios=12)
def portfolios_that_are_unplanned_while_redis_saves_are_no_lost_plan(tale: Story) -> None:
    tale.takes("n1", "p99", at=300)
    tale.redis_saves_in_background(at=600, lasts=400)


@story("GinkgoPlanLost", portfolios=12)
def the_plan_of_one_installation_is_none_for_the_other(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.scheduler_stops(at=280)
    tale.plan_is({}, at=302)
    tale.fires(between=(420, 450))


@story("GinkgoSchedulerStalled", portfolios=12, length=2400)
def a_scheduler_that_is_stopped_pages_within_two_and_a_half_minutes_until_it_looks_again(tale: Story) -> None:
    tale.scheduler_stops(at=302, lasts=900)
    tale.fires(between=(385, 452))
    tale.exporter_restarts(at=700, takes=100)
    tale.resolves(between=(1410, 1500))


@story("GinkgoSchedulerStalled", portfolios=12, exporters=("a", "b"))
def the_page_says_for_how_long(tale: Story) -> None:
    tale.scheduler_stops(at=302)
    tale.exporter_moves("b", "c", at=600)
    tale.fires(between=(385, 452))
    # Its last look was at 302 s.
    tale.reads(
        900,
        "The scheduler has not looked at the plan for 9m 58s",
        "The scheduler looks at its plan every 31 to 36 seconds. For 9m 58s it has not done so. It is dead, paused or "
        "hanging. If a node dies now, nobody moves its portfolios.",
    )


@story("GinkgoSchedulerStalled", portfolios=12, nodes=6, length=3000, exporters=("a", "b"))
def a_restart_of_the_scheduler_saves_faults_of_redis_and_rolling_updates_page_nobody(tale: Story) -> None:
    tale.scheduler_stops(at=302, lasts=60)
    tale.redis_saves_in_background(at=600, lasts=300)
    tale.redis_hangs(at=1000, lasts=200)
    tale.redis_restarts(at=1400, takes=40)
    tale.redis_refuses_writes(at=1700, lasts=200)
    for number, name in enumerate(FLEET):
        tale.restart(name, at=2100 + 45 * number, takes=25)
    tale.plan_is({}, at=2602)
    tale.exporter_loses_redis("a", at=2700, lasts=100)


@story("GinkgoSchedulerStalled", portfolios=12)
def the_scheduler_of_another_installation_does_not_look_at_this_plan(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.scheduler_stops(at=302)
    tale.fires(between=(385, 452))


@story("GinkgoPlanFlapping", portfolios=12, length=6000, exporters=("a", "b"))
def two_schedulers_are_a_ticket_until_one_of_them_stops(tale: Story) -> None:
    tale.second_scheduler(at=300, lasts=3000)
    tale.restart("n1", at=2000)
    tale.exporter_moves("b", "c", at=2300)
    tale.fires(between=(1300, 1900))
    tale.reads(
        2700,
        "The plan changes at almost every look of the scheduler",
        "In 15 minutes the plan changed 42 times more than nodes started. Two schedulers that run at the same time do "
        "this: each one undoes the plan of the other.",
    )
    tale.resolves(between=(3800, 4900))


@story("GinkgoPlanFlapping", portfolios=12, length=5400)
def two_plans_that_scrapes_see_rarely_change_often_enough(tale: Story) -> None:
    tale.scheduler_stops(at=280)
    for name in FLEET[:4]:
        tale.restart(name, at=100)
        tale.restart(name, at=200)
    plan = {f"p{number}": "n1" for number in range(1, 13)}
    for number in range(14):
        tale.plan_is({**plan, "p1": "n2"}, at=1200 + 200 * number)
        tale.plan_is(plan, at=1302 + 200 * number)
    tale.fires(between=(2400, 2900))
    tale.resolves(between=(4700, 5150))


@story("GinkgoPlanFlapping", nodes=32, portfolios=32, length=2400)
def a_rolling_update_to_nodes_with_new_names_is_no_flapping(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")  # its nodes have the same names, and stay
    tale.stop(*(f"n{number}" for number in range(17, 33)), at=-80)
    for number in range(1, 17):
        tale.stop(f"n{number}", at=300 + 60 * number)
        tale.start(f"n{16 + number}", at=310 + 60 * number)


@story("GinkgoPlanFlapping", portfolios=12, nodes=6, length=3600)
def rolling_updates_deployments_and_crashes_are_no_flapping(tale: Story) -> None:
    for number in range(18):
        tale.restart(FLEET[number % 6], at=300 + 60 * number, takes=40)
    for number in range(7):
        tale.deploy(f"p{number + 20}", at=1600 + 40 * number)
    for number in range(4):
        tale.crash(FLEET[number], at=2300 + 120 * number)
        tale.start(FLEET[number], at=2380 + 120 * number)
    tale.exporter_restarts(at=3000, takes=60)
