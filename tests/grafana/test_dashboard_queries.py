"""Every query of every panel, variable and annotation, run on a real Prometheus."""

import re
from typing import Any

import pytest
from promql_trees import DASHBOARDS, EXPRESSIONS

from grafana.proof.expressions import Expression, fill
from grafana.proof.lives import END, LENGTH, STEP
from grafana.proof.lives import eight_nodes as lives_of_eight
from grafana.proof.tsdb import Prometheus
from grafana.source.fleet import BANDS
from grafana.source.fleet import LINES as FLEET_LINES
from grafana.source.node import LINES as NODE_LINES
from grafana.source.palette import WORST_FAULT

(FLEET,) = [board for board in DASHBOARDS if board["uid"] == "ginkgo-fleet"]
CRASHED, STOPPED, JAMMED, RESTARTED = "node-3", "node-8", "node-2", "node-5"
TOKYO = "tokyo"
INSTALLATIONS = ["hong-kong", "osaka", "seoul", "taipei", TOKYO]
OF_ALL_INSTALLATIONS = {"Ginkgo / Exporter: Alert rules A"}
"""The watchdog has no installation, so its answer is the same for all."""
IN_TROUBLE = {
    "Ginkgo / Exporter: annotation Alerts": "hong-kong",
    "annotation Mass losses": "osaka",
    "Ginkgo / Fleet: Nodes G": "osaka",
    "Ginkgo / Node: Now G": "osaka",
    "stat B": "hong-kong",
    "stat C": "taipei",
    "Ginkgo / Exporter: Exporters scraped B": "taipei",
}
"""These queries have a value in one trouble only. Each names the installation that has the trouble."""
UNHEARD = re.compile(r"Market hours|Positions at risk")
"""Panels without data in the hour of the stories: the market is closed, and the stories write no positions."""

pytestmark = [pytest.mark.server("prometheus"), pytest.mark.timeout(600)]


def named(place: str) -> Expression:
    return next(expression for expression in EXPRESSIONS if str(expression) == place)


def by_node(vector: list[dict[str, Any]]) -> dict[str, float]:
    return {sample["metric"]["node_id"]: float(sample["value"][1]) for sample in vector}


def column(dashboard: str, table: str, title: str) -> Expression:
    """Return the query of a column: its field is renamed to the column's title."""
    for found in EXPRESSIONS:
        if found.dashboard == dashboard and found.panel.get("title") == table:
            names = found.panel["transformations"][-1]["options"]["renameByName"]
            if names.get(f"Value #{found.where[-1]}") == title:
                return found
    raise LookupError(title)


def trouble_of(expression: Expression) -> str | None:
    """Return the installation in whose trouble a query has a value; None if it has one in the normal story."""
    kind = f"{expression.panel.get('type')} {expression.where[-1]}"
    found = [IN_TROUBLE.get(place) for place in (str(expression), expression.where, kind)]
    return next(filter(None, found), None)


def test_each_query_returns_data_and_needs_no_sample_at_the_left_end_of_its_ranges(
    eight_nodes: Prometheus, installations: Prometheus
) -> None:
    failures = []
    for found in (found for found in EXPRESSIONS if not UNHEARD.match(found.where)):
        trouble = trouble_of(found)
        server = installations if trouble or found.where == "variable cluster" else eight_nodes
        # Prometheus 3 leaves out such a sample. Four seconds before the usual moments no range begins at a sample.
        answers = {early: found.run(server, early=early, cluster=trouble or ".*") for early in (0, 4)}
        failures += [(str(found), early) for early, answer in answers.items() if not answer]
    assert failures == []


def test_each_query_answers_for_one_node_and_one_exporter_and_without_any_data(
    eight_nodes: Prometheus, nothing: Prometheus
) -> None:
    chosen = {"job": "ginkgo-exporter", "instance": "exporter-1:19121", "node": "node-2|node-3"}
    failures = []
    for found in EXPRESSIONS:
        answer = found.run(eight_nodes, **chosen)
        ids = {series["metric"].get("node_id") for series in answer if isinstance(series, dict)}
        if found.dashboard == "Ginkgo / Node" and found.kind != "variable" and not ids - {None} <= {"node-2", "node-3"}:
            failures.append((str(found), ids))
        if found.run(nothing) != []:
            failures.append((str(found), "says something of nothing"))
    assert failures == []


def test_a_thousand_nodes_are_answered_within_a_second_and_graphs_stay_readable(thousand_nodes: Prometheus) -> None:
    # Processor time, because on a busy machine the wall clock would measure the other processes too.
    def cost(found: Expression) -> float:
        before = thousand_nodes.cpu_seconds
        found.run(thousand_nodes)
        return thousand_nodes.cpu_seconds - before

    few = max(FLEET_LINES, NODE_LINES)
    graphs = [each for each in EXPRESSIONS if each.kind == "range" and "annotation" not in each.where]
    crowded = [
        str(each) for each in graphs if len(each.run(thousand_nodes)) > (BANDS if each.where == "Alive A" else few)
    ]
    assert crowded == []
    assert [str(each) for each in EXPRESSIONS if min(cost(each), cost(each)) >= 1.0] == []


def plain(answer: list[Any], without: str = "") -> list[Any]:
    """Return an answer in a fixed order and with six digits, as it would be without a label."""
    if any(not isinstance(series, dict) for series in answer):
        return sorted(answer)
    return sorted(
        (
            sorted((name, text) for name, text in series["metric"].items() if name != without),
            [(at, f"{float(value):.6g}") for at, value in series.get("values") or [series["value"]]],
        )
        for series in answer
    )


def test_each_installation_shows_the_same_as_if_it_were_alone_and_all_show_what_each_shows(
    installations: Prometheus, eight_nodes: Prometheus
) -> None:
    failures = []
    for found in EXPRESSIONS:
        if found.where == "variable cluster":
            assert found.run(installations) == INSTALLATIONS
            continue
        of_all = str(found) in OF_ALL_INSTALLATIONS
        shown = found.run(installations, cluster=TOKYO)
        if plain(shown, "cluster") != plain(found.run(eight_nodes), "cluster"):
            failures.append((str(found), "alone it shows something else"))
        if found.kind == "variable":
            continue
        if not of_all and not {series["metric"].get("cluster") for series in shown} <= {TOKYO}:
            failures.append((str(found), "shows another installation"))
        if "topk" in found.text:
            continue  # a ranking of all nodes is more than the rankings of each installation
        alone = [found.run(installations, cluster=cluster) for cluster in INSTALLATIONS]
        expected = alone[0] if of_all else [series for answer in alone for series in answer]
        if plain(found.run(installations)) != plain(expected):
            failures.append((str(found), "together they show something else"))
    assert failures == []


def test_first_answer_names_the_trouble_of_each(installations: Prometheus) -> None:
    (panel,) = [one for one in FLEET["panels"] if one["title"] == "Is everything all right?"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    answer = installations.instant(fill(panel["targets"][0]["expr"]))
    told = {one["metric"]["cluster"]: mapping["options"][one["value"][1]]["text"] for one in answer}
    assert told == {
        "hong-kong": "REDIS AWAY",
        "osaka": "MASS LOSS",
        "seoul": "WRITES REFUSED",
        "taipei": "EXPORTER AWAY",
        "tokyo": "NOT TRADED",
    }


def test_fleet_counts_nothing_while_redis_cannot_be_read(installations: Prometheus) -> None:
    for stat in ("Offline A", "Online A", "Undecided A"):
        assert named(f"Ginkgo / Fleet: {stat}").run(installations, cluster="hong-kong") == []


def test_fleet_says_that_redis_cannot_be_read(installations: Prometheus) -> None:
    assert named("Ginkgo / Fleet: Redis A").run(installations, cluster="hong-kong") == []
    (since,) = named("Ginkgo / Fleet: Redis B").run(installations, cluster="hong-kong")
    assert 0 <= END - 600 - float(since["value"][1]) / 1000 <= 60  # the last scrape that read it, exact to 30 s


def test_no_rate_is_shown_while_redis_cannot_be_read(installations: Prometheus) -> None:
    lost = END - 10 * 60
    for expression in EXPRESSIONS:
        if expression.kind == "range" and re.search(r"rate\(|rate5m", expression.text) and "node_" in expression.text:
            times = [at for series in expression.run(installations, cluster="hong-kong") for at, _ in series["values"]]
            assert max(times) <= lost + 3 * STEP, expression


def test_table_is_empty_while_redis_cannot_be_read(installations: Prometheus) -> None:
    for expression in EXPRESSIONS:
        if expression.panel.get("title") in {"Nodes", "Now"}:
            assert expression.run(installations, cluster="hong-kong") == [], expression


def test_fleet_counts_a_node_once_though_two_exporters_see_it(eight_nodes: Prometheus) -> None:
    (online,) = named("Ginkgo / Fleet: Online A").run(eight_nodes)
    (offline,) = named("Ginkgo / Fleet: Offline A").run(eight_nodes)
    assert (online["value"][1], offline["value"][1]) == ("6", "1")


def test_table_shows_the_crashed_node_as_offline_since_its_last_beat(eight_nodes: Prometheus) -> None:
    state = by_node(column("Ginkgo / Fleet", "Nodes", "State").run(eight_nodes))
    assert {node for node, up in state.items() if up == 0} == {CRASHED}
    crashed = next(life for life in lives_of_eight() if life.node_id == CRASHED)
    wrote = by_node(column("Ginkgo / Fleet", "Nodes", "Last heartbeat").run(eight_nodes))
    assert wrote[CRASHED] == 1000 * (END - LENGTH + crashed.last_beat(LENGTH))
    ago = by_node(column("Ginkgo / Fleet", "Nodes", "Ago").run(eight_nodes))
    assert 12 * 60 <= ago[CRASHED] <= 12 * 60 + 10


def test_table_leaves_out_the_node_that_stopped_gracefully(eight_nodes: Prometheus) -> None:
    for expression in EXPRESSIONS:
        if expression.panel.get("title") in {"Nodes", "Now"}:
            assert STOPPED not in by_node(expression.run(eight_nodes)), expression


def test_drops_are_counted_once_and_in_full(eight_nodes: Prometheus) -> None:
    (lost,) = next(found for found in EXPRESSIONS if found.where == "Events dropped A" and found.kind == "instant").run(
        eight_nodes
    )
    truth = next(life for life in lives_of_eight() if life.node_id == JAMMED).dropped(LENGTH)
    assert truth > 0
    assert float(lost["value"][1]) == pytest.approx(truth, rel=0.02)


def test_restart_is_marked_where_counters_began_anew(eight_nodes: Prometheus) -> None:
    matrix = named("Ginkgo / Node: annotation Restarts").run(eight_nodes)
    assert {series["metric"]["node_id"] for series in matrix} == {RESTARTED}
    marked = [at for series in matrix for at, _ in series["values"]]
    restarted = END - 28 * 60
    assert restarted <= min(marked)
    assert max(marked) <= restarted + 2 * 60


def test_table_of_faults_shows_since_when_and_on_which_node(eight_nodes: Prometheus) -> None:
    found = {
        (sample["metric"]["portfolio_id"], sample["metric"]["node_id"], sample["metric"]["state"]): sample["value"][1]
        for sample in column("Ginkgo / Fleet", "Portfolios at fault", "For").run(eight_nodes)
    }
    assert found.keys() == {
        (f"{CRASHED}-p1", CRASHED, WORST_FAULT),
        ("node-1-p2", "node-1", "unplanned"),
    }
    assert 11 * 60 <= float(found[f"{CRASHED}-p1", CRASHED, WORST_FAULT]) <= 12 * 60
    assert 29 * 60 <= float(found["node-1-p2", "node-1", "unplanned"]) <= 30 * 60


def test_node_that_misses_a_planned_portfolio_is_marked(installations: Prometheus) -> None:
    missing = column("Ginkgo / Fleet", "Nodes", "Missing")
    assert by_node(missing.run(installations, cluster="tokyo")) == {}
    assert by_node(missing.run(installations, cluster="osaka")) == {"node-3": 1}


def test_offline_node_has_no_gauge_though_its_exporter_keeps_them(installations: Prometheus) -> None:
    before = END - 11 * 60  # Redis is lost one minute later
    kept = installations.instant('ginkgo_node_queue_size{cluster="hong-kong"}', at=before)
    assert CRASHED in {sample["metric"]["node_id"] for sample in kept}
    for title in ("Loaded", "Missing", "Queue"):
        query = fill(column("Ginkgo / Fleet", "Nodes", title).text, cluster="hong-kong")
        assert CRASHED not in by_node(installations.instant(query, at=before)), title
