"""Stories of exporters that fail completely or in part."""

from simulated.story import Story, story

TEXT = (
    "Exporter {0} has not fully worked for 10m: {1}. Alerts still come from another exporter, or for a part "
    "of the nodes. After one more fault they may not come."
)


@story("GinkgoExporterDown", length=5400, evaluation=30, exporters=("a", "b"))
def no_exporter_that_answers_is_a_page_until_one_does(tale: Story) -> None:
    tale.exporter_restarts("a", at=600, takes=600)
    tale.exporter_restarts("b", at=300, takes=4000)
    tale.fires(between=(645, 690))
    tale.reads(
        900,
        "No ginkgo-exporter can be scraped",
        "Prometheus reaches no exporter of this installation. Nothing is known about any node, unless an exporter "
        "that still runs pushes its alerts.",
    )
    tale.resolves(between=(1195, 1245))


@story("GinkgoExporterDown", length=5400, evaluation=30)
def an_exporter_that_vanishes_is_a_page_for_an_hour(tale: Story) -> None:
    tale.exporter_is_removed("a", at=600)
    tale.fires(between=(645, 690))


@story("GinkgoExporterDown", exporters=("a", "b"))
def one_of_two_exporters_a_restart_and_a_move_page_nobody(tale: Story) -> None:
    tale.exporter_restarts("b", at=300, takes=1500)
    tale.exporter_restarts("a", at=600, takes=40)
    tale.exporter_moves("a", "c", at=900)
    tale.redis_hangs(at=1200, lasts=300)


@story("GinkgoExporterDegraded", exporters=("a", "b"), length=2700)
def one_of_two_exporters_that_is_down_is_a_ticket(tale: Story) -> None:
    tale.exporter_restarts("b", at=300, takes=1204)
    labels = {"instance": "b:19121", "reason": "it is down"}
    tale.fires(**labels, between=(885, 920))
    tale.reads(1000, "Exporter b:19121 is degraded: it is down", TEXT.format("b:19121", "it is down"), **labels)
    tale.resolves(**labels, between=(1500, 1530))


@story("GinkgoExporterDegraded", exporters=("a", "b"), length=2700)
def one_of_two_exporters_that_cannot_read_redis_is_a_ticket(tale: Story) -> None:
    tale.exporter_loses_redis("b", at=300, lasts=1200)
    labels = {"instance": "b:19121", "reason": "it cannot read Redis"}
    tale.fires(**labels, between=(940, 985))
    tale.resolves(**labels, between=(1520, 1590))


@story("GinkgoExporterDegraded", nodes=5, max_nodes=4)
def nodes_over_the_limit_are_a_ticket(tale: Story) -> None:
    labels = {"instance": "a:19121", "reason": "it leaves out nodes"}
    tale.fires(**labels, between=(585, 615))
    tale.stop("n5", at=1000)
    tale.resolves(**labels, between=(1005, 1050))


@story("GinkgoExporterDegraded", length=2700)
def names_that_are_no_longer_discovered_are_a_ticket(tale: Story) -> None:
    tale.discovery_fails(at=300, lasts=1204)
    labels = {"instance": "a:19121", "reason": "it finds no new nodes"}
    tale.fires(**labels, between=(1185, 1230))
    tale.resolves(**labels, between=(1500, 1530))


@story("GinkgoExporterDegraded", length=2700)
def internal_errors_are_a_ticket(tale: Story) -> None:
    for at in range(302, 900, 60):
        tale.exporter_fails_inside(at=at)
    labels = {"instance": "a:19121", "reason": "it had internal errors"}
    tale.fires(**labels, between=(890, 930))
    tale.resolves(**labels, between=(1720, 1800))


@story("GinkgoExporterDegraded", length=2700)
def journal_that_cannot_be_written_is_a_ticket(tale: Story) -> None:
    tale.journal_fails(at=302, lasts=1200)
    labels = {"instance": "a:19121", "reason": "its journal is not written"}
    tale.fires(**labels, between=(890, 960))
    tale.resolves(**labels, between=(1500, 1860))


@story("GinkgoExporterDegraded", exporters=("a", "b"), length=3600)
def restarts_moves_and_faults_of_redis_are_no_degradation(tale: Story) -> None:
    tale.exporter_restarts("a", at=300, takes=400)
    tale.exporter_loses_redis("b", at=300, lasts=400)
    tale.exporter_moves("a", "c", at=900)
    tale.redis_hangs(at=1200, lasts=1500)
    tale.discovery_fails("b", at=3000, lasts=500)


@story("GinkgoExporterDegraded", length=2700)
def all_exporters_down_are_no_degradation(tale: Story) -> None:
    tale.exporter_restarts("a", at=300, takes=1500)


@story("GinkgoExporterDegraded", length=2700)
def an_exporter_that_is_down_or_blind_is_not_degraded_because_another_installation_has_one(tale: Story) -> None:
    tale.cluster = "live"
    tale.beside("test")
    tale.exporter_restarts("a", at=300, takes=900)
    tale.exporter_loses_redis("a", at=1500, lasts=900)
