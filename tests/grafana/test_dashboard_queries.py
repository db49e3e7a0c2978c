"""Every query of every panel, variable and annotation, run on a real Prometheus."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.proof.expressions import Expression, expressions, fill, read
from grafana.proof.lives import END, LENGTH, STEP
from grafana.proof.lives import eight_nodes as lives_of_eight
from grafana.proof.tsdb import Prometheus
from grafana.source.fleet import BANDS
from grafana.source.fleet import LINES as FLEET_LINES
from grafana.source.node import LINES as NODE_LINES
from grafana.source.palette import WORST_FAULT

ROOT = Path(__file__).parents[2]
DASHBOARDS = {path.stem: read(path) for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))}
EXPRESSIONS = [found for dashboard in DASHBOARDS.values() for found in expressions(dashboard)]
CRASHED, STOPPED, JAMMED, RESTARTED = "node-3", "node-8", "node-2", "node-5"

# These queries have a value in one trouble only. Each names the installation that has the trouble.
IN_TROUBLE = {
    "Ginkgo / Exporter: annotation Alerts": "hong-kong",
    "annotation Mass losses": "osaka",
    "Ginkgo / Fleet: Nodes G": "osaka",
    "Ginkgo / Node: Now G": "osaka",
    "stat B": "hong-kong",
    "stat C": "taipei",
    "Ginkgo / Exporter: Exporters scraped B": "taipei",
}

every_query = pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
needs_prometheus = pytest.mark.server("prometheus")

pytestmark = [needs_prometheus, pytest.mark.timeout(300)]


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


@every_query
def test_query_returns_data(expression: Expression, eight_nodes: Prometheus, installations: Prometheus) -> None:
    trouble = trouble_of(expression)
    if trouble or expression.where == "variable cluster":
        assert expression.run(installations, cluster=trouble or ".*")
    else:
        assert expression.run(eight_nodes)


@every_query
def test_query_needs_no_sample_at_the_left_end_of_its_ranges(
    expression: Expression, eight_nodes: Prometheus, installations: Prometheus
) -> None:
    # Prometheus 3 leaves out such a sample. Four seconds before the usual moments no range begins at a sample.
    trouble = trouble_of(expression)
    if trouble or expression.where == "variable cluster":
        assert expression.run(installations, early=4, cluster=trouble or ".*")
    else:
        assert expression.run(eight_nodes, early=4)


@every_query
def test_query_of_one_node_and_one_exporter_parses_and_answers(expression: Expression, eight_nodes: Prometheus) -> None:
    chosen = {"job": "ginkgo-exporter", "instance": "exporter-1:19121", "node": "node-2|node-3"}
    answer = expression.run(eight_nodes, **chosen)
    ids = {series["metric"].get("node_id") for series in answer if isinstance(series, dict)}
    if expression.dashboard == "Ginkgo / Node" and expression.kind != "variable":
        assert ids - {None} <= {"node-2", "node-3"}


@every_query
def test_query_returns_nothing_while_nothing_is_known(expression: Expression, nothing: Prometheus) -> None:
    assert expression.run(nothing) == []


@every_query
def test_thousand_nodes_are_answered_within_a_second(expression: Expression, thousand_nodes: Prometheus) -> None:
    # Processor time, because on a busy machine the wall clock would measure the other processes too.
    def cost() -> float:
        before = thousand_nodes.cpu_seconds()
        expression.run(thousand_nodes)
        return thousand_nodes.cpu_seconds() - before

    assert min(cost() for _ in range(2)) < 1.0


@every_query
def test_graph_of_a_thousand_nodes_stays_readable(expression: Expression, thousand_nodes: Prometheus) -> None:
    if expression.kind == "range" and "annotation" not in expression.where:
        few = BANDS if expression.where == "Alive A" else max(FLEET_LINES, NODE_LINES)
        assert len(expression.run(thousand_nodes)) <= few


@pytest.mark.parametrize("stat", ["Offline A", "Online A", "Undecided A"])
def test_fleet_counts_nothing_while_redis_cannot_be_read(stat: str, installations: Prometheus) -> None:
    assert named(f"Ginkgo / Fleet: {stat}").run(installations, cluster="hong-kong") == []


def test_number_of_drops_is_unknown_while_redis_cannot_be_read(installations: Prometheus) -> None:
    number = next(one for one in EXPRESSIONS if one.where == "Events dropped A" and one.kind == "instant")
    lossless = number.text.replace("dropped_events_total{", 'dropped_events_total{node_id!="node-2", ')
    lossless = fill(lossless, cluster="hong-kong")
    assert installations.instant(lossless) == []
    assert installations.instant(lossless, at=END - 15 * 60)[0]["value"][1] == "0"


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


def test_offline_node_has_no_queue_in_the_table(eight_nodes: Prometheus) -> None:
    assert CRASHED not in by_node(column("Ginkgo / Fleet", "Nodes", "Queue").run(eight_nodes))


def test_timeline_changes_when_the_heartbeat_expires(eight_nodes: Prometheus) -> None:
    matrix = named("Ginkgo / Fleet: Alive A").run(eight_nodes)
    series = next(one for one in matrix if one["metric"]["node_id"] == CRASHED)
    first_down = min(at for at, up in series["values"] if up == "0")
    crashed = next(life for life in lives_of_eight() if life.node_id == CRASHED)
    expires = END - LENGTH + crashed.last_beat(LENGTH) + 30
    assert expires <= first_down <= expires + 2 * STEP  # when the second exporter has seen it, too
    assert all(up == "0" for at, up in series["values"] if at >= first_down)


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


def test_firing_alerts_name_the_crashed_node_and_the_time(eight_nodes: Prometheus) -> None:
    firing = {
        alert["metric"]["alertname"]: alert for alert in named("Ginkgo / Fleet: Firing alerts A").run(eight_nodes)
    }
    assert firing.keys() == {
        *("GinkgoEventsDropped", "GinkgoNodeOffline"),  # drops are told for a quarter of an hour more
        *("GinkgoNodePaused", "GinkgoPortfoliosUnplanned", "GinkgoPortfoliosUntraded"),
    }
    alert = firing["GinkgoNodeOffline"]
    assert alert["metric"]["node_id"] == CRASHED
    assert END - 12 * 60 <= float(alert["value"][1]) / 1000 <= END - 11 * 60


def test_fleet_says_first_that_not_everything_is_traded(eight_nodes: Prometheus) -> None:
    first, second = DASHBOARDS["fleet"]["panels"][:2]
    assert (first["title"], second["title"]) == ("Is everything all right?", "Is everything traded?")
    (answer,) = named("Ginkgo / Fleet: Is everything traded? A").run(eight_nodes)
    (untraded,) = named("Ginkgo / Fleet: Untraded A").run(eight_nodes)
    assert answer["value"][1] == untraded["value"][1] == "1"


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


def test_table_of_nodes_shows_planned_beside_loaded(eight_nodes: Prometheus) -> None:
    planned = by_node(column("Ginkgo / Fleet", "Nodes", "Planned").run(eight_nodes))
    loaded = by_node(column("Ginkgo / Fleet", "Nodes", "Loaded").run(eight_nodes))
    assert planned[CRASHED] == 1
    assert CRASHED not in loaded
    assert {node for node in loaded if loaded[node] != planned[node]} == {"node-1"}


def test_rate_and_range_of_every_query_come_from_the_dashboard() -> None:
    fixed = {
        str(expression): found
        for expression in EXPRESSIONS
        if (found := re.findall(r"\[(?!\$)[^\]]+\]", expression.text))
    }
    assert fixed == {
        "Ginkgo / Node: annotation Restarts": ["[1m]"],
        "Ginkgo / Exporter: Cost to Redis A": ["[5m]"],
    }


def test_every_recorded_series_is_one_of_the_rules() -> None:
    rules = yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    used = {name for found in EXPRESSIONS for name in re.findall(r"[a-z_0-9]+:[a-z_0-9]+:[a-z_0-9]+", found.text)}
    assert used
    assert used <= recorded


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
