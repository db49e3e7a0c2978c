"""Stories of portfolios that no node trades, that two nodes trade, or that run elsewhere than planned."""

from simulated.story import Story, story

FLEET = tuple(f"n{number}" for number in range(1, 7))
UNTRADED = (
    "{} portfolios are loaded by no online node, and at least one of them has been untraded for more than 2m. A "
    "failover would have moved it by now."
)


def rolling_update(tale: Story, at: float) -> None:
    """Restart one node after the other. For longer than two minutes, some portfolio is untraded at any time."""
    for number, name in enumerate(FLEET):
        tale.restart(name, at=at + 30 * number, takes=25)


@story("GinkgoPortfoliosUntraded", portfolios=12, length=2400)
def portfolios_of_a_dead_node_that_nobody_moves_page_until_a_node_has_them(tale: Story) -> None:
    tale.scheduler_stops(at=280, lasts=620)
    tale.crash("n1", at=300)
    tale.fires(between=(445, 480))
    tale.reads(600, "Portfolios that no node trades: 3", UNTRADED.format(3))
    tale.resolves(between=(1050, 1125))
    # A failover at the usual pace, some minutes later.
    tale.start("n1", at=1300)
    tale.crash("n2", at=1400)


@story("GinkgoPortfoliosUntraded", nodes=3, portfolios=14, length=1800)
def portfolios_that_find_no_room_drop_out_of_the_plan_and_page(tale: Story) -> None:
    tale.crash("n1", at=300)
    tale.fires(between=(445, 500))
    tale.reads(900, "Portfolios that no node trades: 4", UNTRADED.format(4))


@story("GinkgoPortfoliosUntraded", portfolios=12, length=1800, exporters=("a", "b"))
def a_node_that_hears_no_message_leaves_its_new_portfolio_untraded(tale: Story) -> None:
    tale.messages_are_lost("n1", "n2", "n3", "n4", at=300, lasts=900)
    tale.deploy("p99", at=310)
    tale.exporter_moves("b", "c", at=700)
    tale.fires(between=(430, 510))
    tale.resolves(between=(1350, 1440))


@story("GinkgoPortfoliosUntraded", portfolios=12, length=2400)
def a_restart_of_the_exporter_and_a_short_outage_of_redis_do_not_end_the_page(tale: Story) -> None:
    tale.scheduler_stops(at=280)
    tale.crash("n1", at=300)
    tale.fires(between=(445, 480))
    tale.exporter_restarts(at=900, takes=100)
    tale.redis_hangs(at=1500, lasts=60)


@story("GinkgoPortfoliosUntraded", portfolios=12, max_listed=2, length=1800)
def portfolios_that_are_not_listed_page_too(tale: Story) -> None:
    # Two older faults take the two places of the list.
    tale.takes("n3", "p98", at=100)
    tale.takes("n3", "p99", at=100)
    tale.scheduler_stops(at=280)
    tale.crash("n1", at=300)
    tale.fires(between=(430, 490))


@story("GinkgoPortfoliosUntraded", nodes=6, portfolios=18, length=3600, exporters=("a", "b"))
def failovers_at_the_usual_pace_rolling_updates_and_faults_of_redis_page_nobody(tale: Story) -> None:
    tale.crash("n1", at=300)
    tale.start("n1", at=420)
    rolling_update(tale, at=600)
    tale.crash("n2", at=1200)
    tale.crash("n3", at=1330)
    tale.start("n2", "n3", at=1500)
    tale.redis_hangs(at=1800, lasts=200)
    tale.redis_restarts(at=2200, takes=30)
    tale.redis_refuses_writes(at=2500, lasts=300)
    tale.exporter_restarts("a", at=3000, takes=40)
    tale.exporter_loses_redis("b", at=3100, lasts=200)


@story("GinkgoPortfoliosUntraded", portfolios=12, max_listed=2, length=1800)
def failovers_are_no_page_though_faults_are_not_listed(tale: Story) -> None:
    tale.takes("n3", "p98", at=100)
    tale.takes("n3", "p99", at=100)
    tale.crash("n1", at=300)
    tale.start("n1", at=420)
    tale.crash("n2", at=600)


@story("GinkgoPortfoliosUntraded", nodes=6, portfolios=18, max_listed=5)
def a_rolling_update_is_no_page_though_the_other_installation_lists_not_all(tale: Story) -> None:
    tale.cluster = "live"
    other = tale.beside("test")
    for number in range(6):
        other.takes("n3", f"p{90 + number}", at=100)
    rolling_update(tale, at=600)


@story("GinkgoPortfoliosUntraded", portfolios=12)
def untraded_portfolios_of_one_installation_are_those_of_no_other(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.scheduler_stops(at=280)
    tale.crash("n1", at=300)
    tale.fires(between=(445, 480))


@story("GinkgoPortfolioDuplicated", portfolios=12, exporters=("a", "b"))
def a_portfolio_on_two_nodes_pages_by_name_until_one_has_unloaded_it(tale: Story) -> None:
    tale.takes("n2", "p1", at=302)
    tale.exporter_moves("b", "c", at=600)
    tale.fires(portfolio_id="p1", between=(360, 390))
    tale.reads(
        600,
        "Portfolio p1 runs on two nodes",
        "Portfolio p1 has been loaded by at least two online nodes for 1m. Each of its orders goes out more than once.",
        portfolio_id="p1",
    )
    tale.gives_up("n2", "p1", at=902)
    tale.resolves(portfolio_id="p1", between=(1050, 1090))


@story("GinkgoPortfolioDuplicated", portfolios=12)
def a_node_that_was_cut_off_comes_back_with_portfolios_that_moved(tale: Story) -> None:
    tale.cut_off("n1", at=300, lasts=200)
    tale.messages_are_lost("n1", at=300, lasts=200)
    for portfolio in ("p1", "p5", "p9"):
        tale.fires(portfolio_id=portfolio, between=(555, 600))
    tale.exporter_restarts(at=900, takes=100)


@story("GinkgoPortfolioDuplicated", portfolios=12, max_listed=2)
def a_portfolio_that_is_not_listed_pages_without_its_name(tale: Story) -> None:
    tale.takes("n3", "p98", at=100)
    tale.takes("n3", "p99", at=100)
    tale.takes("n2", "p1", at=302)
    tale.fires(between=(360, 390))
    tale.reads(
        600,
        "A portfolio runs on two nodes",
        "A portfolio has been loaded by at least two online nodes for 1m. Each of its orders goes out more than once.",
    )


@story("GinkgoPortfolioDuplicated", portfolios=12, nodes=6, length=2400)
def moves_failovers_restarts_and_other_faults_are_no_duplicates(tale: Story) -> None:
    tale.takes("n2", "p1", at=302)
    tale.gives_up("n2", "p1", at=325)
    tale.crash("n3", at=600)
    tale.start("n3", at=700)
    for number, name in enumerate(FLEET):
        tale.restart(name, at=900 + 45 * number, takes=25)
    tale.redis_refuses_writes(at=1400, lasts=200)
    tale.cut_off("n4", at=1900, lasts=20)


@story("GinkgoPortfolioDuplicated", portfolios=12, max_listed=2)
def faults_that_are_not_listed_are_no_duplicates(tale: Story) -> None:
    for portfolio in ("p97", "p98", "p99"):
        tale.takes("n3", portfolio, at=100)


@story("GinkgoPortfolioDuplicated", portfolios=12, max_listed=2)
def the_duplicate_of_one_installation_has_its_name_though_the_other_lists_not_all(tale: Story) -> None:
    tale.cluster = "live"
    other = tale.beside("test")
    for portfolio in ("p97", "p98", "p99"):
        other.takes("n3", portfolio, at=100)
    tale.takes("n2", "p1", at=302)
    tale.fires(portfolio_id="p1", between=(360, 390))


@story("GinkgoPortfoliosUnplanned", portfolios=12, exporters=("a", "b"))
def a_portfolio_that_nobody_planned_is_a_ticket_until_it_is_planned(tale: Story) -> None:
    tale.takes("n1", "p99", at=302)
    tale.exporter_moves("b", "c", at=900)
    tale.fires(between=(600, 630))
    tale.reads(
        900,
        "Portfolios that run without being planned: 1",
        "1 portfolios are loaded by a node, and the plan gives them to no node. They are traded, but if their node "
        "dies, nobody moves them.",
    )
    tale.gives_up("n1", "p99", at=1202)
    tale.resolves(between=(1200, 1230))


@story("GinkgoPortfoliosUnplanned", portfolios=12, nodes=6)
def new_portfolios_failovers_and_one_that_is_unloaded_late_are_no_ticket(tale: Story) -> None:
    tale.takes("n1", "p99", at=302)
    tale.gives_up("n1", "p99", at=590)
    tale.deploy("p31", "p32", at=700)
    tale.crash("n2", at=800)
    tale.start("n2", at=900)
    tale.takes("n2", "p3", at=1000)


@story("GinkgoPortfoliosMisplaced", portfolios=12, exporters=("a", "b"))
def a_portfolio_on_another_node_than_planned_is_a_ticket_until_it_is_where_it_belongs(tale: Story) -> None:
    tale.messages_are_lost("n1", at=300, lasts=900)
    tale.takes("n2", "p1", at=302)
    tale.gives_up("n1", "p1", at=302)
    tale.exporter_moves("b", "c", at=800)
    tale.fires(between=(600, 630))
    tale.reads(
        900,
        "Portfolios that run on another node than planned: 1",
        "1 portfolios are loaded by another node than the one that the plan gives them to. They are traded, but if "
        "their node dies, nobody moves them.",
    )
    tale.resolves(between=(1200, 1260))


@story("GinkgoPortfoliosMisplaced", portfolios=12, nodes=6)
def moves_that_take_a_while_and_rolling_updates_are_no_ticket(tale: Story) -> None:
    tale.messages_are_lost("n1", at=300, lasts=200)
    tale.takes("n2", "p1", at=302)
    tale.gives_up("n1", "p1", at=302)
    for number, name in enumerate(FLEET):
        tale.restart(name, at=700 + 45 * number, takes=25)
    tale.takes("n2", "p99", at=1100)
