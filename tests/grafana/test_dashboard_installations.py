"""Two installations with nodes of the same names are told apart by every query and every link."""

import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
from promql_trees import matchers, selectors, walk

from grafana.proof.expressions import Expression, expressions, fill, read
from grafana.proof.tsdb import Prometheus
from grafana.source.__main__ import files, main

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
DASHBOARDS = [read(path) for path in sorted(FOLDER.glob("*.json"))]
EXPRESSIONS = [found for dashboard in DASHBOARDS for found in expressions(dashboard)]
TOKYO = "tokyo"
INSTALLATIONS = ["hong-kong", "osaka", "seoul", "taipei", TOKYO]

# The watchdog has no installation, so its answer is the same for all.
OF_ALL_INSTALLATIONS = {"Ginkgo / Exporter: Alert rules A"}

every_query = pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])
needs_prometheus = [pytest.mark.server("prometheus"), pytest.mark.timeout(300)]


def promql_of(expression: Expression) -> str:
    """Return the PromQL of an expression: a variable's query has it inside of `label_values()`."""
    inside = re.fullmatch(r"label_values\((.+), \w+\)", expression.text)
    return inside[1] if inside else expression.text


def links_of(dashboard: dict[str, Any]) -> dict[str, list[str]]:
    """Return the addresses that each panel's columns link to, by panel and column."""
    found: dict[str, list[str]] = {}
    for panel in dashboard["panels"]:
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            for entry in override["properties"]:
                if entry["id"] == "links":
                    place = f"{panel['title']}: {override['matcher']['options']}"
                    found[place] = [link["url"] for link in entry["value"]]
    return found


def without_rounding(answer: list[Any]) -> list[Any]:
    """Return an answer in a fixed order and with six digits."""
    return without_installation([{**series, "metric": {"of": str(series["metric"])}} for series in answer])


def without_installation(answer: list[Any]) -> list[Any]:
    """Return an answer as it would be without the label, in a fixed order and with six digits."""
    plain = []
    for series in answer:
        if not isinstance(series, dict):
            return sorted(answer)
        labels = {name: text for name, text in series["metric"].items() if name != "cluster"}
        samples = series["values"] if "values" in series else [series["value"]]
        plain.append((sorted(labels.items()), [(at, f"{float(value):.6g}") for at, value in samples]))
    return sorted(plain)


@every_query
def test_every_selector_chooses_installation_and_job(expression: Expression) -> None:
    for selector, _ in selectors(promql_of(expression)):
        found = matchers(selector)
        if expression.where == "variable cluster":
            continue  # it finds the installations
        assert found.get("cluster") in {(True, "$cluster"), (True, "$cluster|")}
        if expression.where != "variable job":
            assert found.get("job") in {(True, "$job"), (True, "$job|")}


@every_query
def test_no_aggregation_and_no_match_mixes_installations(expression: Expression) -> None:
    for node, _ in walk(promql.parse(fill(promql_of(expression), cluster="$cluster"))):
        if isinstance(node, promql.AggregateExpr) and "topk" not in str(node.op):
            assert node.modifier is not None, node
            by = "By" in str(node.modifier.type)
            assert ("cluster" in node.modifier.labels) is by, node
        if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            matching = node.modifier.matching
            on = "On" in str(matching.type)
            assert ("cluster" in matching.labels) is on, node


@every_dashboard
def test_links_between_dashboards_keep_installation_job_data_source_and_time(dashboard: dict[str, Any]) -> None:
    for place, addresses in links_of(dashboard).items():
        for address in addresses:
            if address.startswith("/d/"):
                assert "${__url_time_range}" in address, place
                assert "${datasource:queryparam}" in address, place
                assert "var-cluster=" in address, place
            else:
                assert address.startswith("${exporter}/"), place


@every_dashboard
def test_link_to_the_other_dashboards_keeps_all_choices(dashboard: dict[str, Any]) -> None:
    (link,) = [link for link in dashboard["links"] if link["type"] == "dashboards"]
    assert link["includeVars"] is True
    assert link["keepTime"] is True


def test_name_of_a_node_links_to_this_node_of_this_installation() -> None:
    fleet = next(dashboard for dashboard in DASHBOARDS if dashboard["uid"] == "ginkgo-fleet")
    links = links_of(fleet)
    for table in ("Nodes", "Portfolios at fault", "Firing alerts"):
        address = links[f"{table}: Node"][0]
        assert "var-cluster=${__data.fields.Installation:percentencode}" in address
        assert "var-node=${__value.raw:percentencode}" in address
    assert links["Nodes: Node"][1].startswith("${exporter}/api/v1/events?subject=${__value.raw:percentencode}&since=")
    assert links["Firing alerts: Alert"][0].endswith("?node_id=${__data.fields.Node:percentencode}")


@every_dashboard
def test_tables_name_the_installation_of_each_row(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if panel["type"] == "table":
            renamed = panel["transformations"][-1]["options"]["renameByName"]
            assert renamed["cluster"] == "Installation", panel["title"]


@every_dashboard
def test_legends_name_the_installation(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            if target.get("format") != "table":
                assert "{{cluster}}" in target["legendFormat"], panel["title"]


def test_another_label_can_tell_installations_apart(tmp_path: Path) -> None:
    assert main(["--installation-label", "environment", "--output", str(tmp_path)]) == 0
    for path in tmp_path.glob("*.json"):
        for found in expressions(read(path)):
            if found.where != "variable cluster":
                assert 'environment=~"$cluster' in found.text
            assert "cluster" not in found.text.replace("$cluster", "")
    assert len(list(tmp_path.glob("*.json"))) == len(DASHBOARDS)


@pytest.mark.parametrize("label", ["job", "node_id", "1st", "a-b"])
def test_label_that_cannot_tell_installations_apart_is_refused(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--check", "--installation-label", label])
    assert "cannot be the label of an installation" in capsys.readouterr().err


def test_each_installation_can_have_an_exporter_of_its_own() -> None:
    texts = files(address="https://ginkgo.{installation}.example.com").values()
    assert all("https://ginkgo.${cluster}.example.com/runbooks" in text for text in texts)
    assert not any("${exporter" in text for text in texts)


class TestInOnePrometheus:
    pytestmark = needs_prometheus

    @every_query
    def test_chosen_installation_shows_the_same_as_if_it_were_alone(
        self, expression: Expression, installations: Prometheus, eight_nodes: Prometheus
    ) -> None:
        if expression.where == "variable cluster":
            assert expression.run(installations) == INSTALLATIONS
            return
        shown = expression.run(installations, cluster=TOKYO)
        assert without_installation(shown) == without_installation(expression.run(eight_nodes))
        if expression.kind != "variable" and str(expression) not in OF_ALL_INSTALLATIONS:
            assert {series["metric"].get("cluster") for series in shown} <= {TOKYO}

    @every_query
    def test_all_installations_show_what_each_shows(self, expression: Expression, installations: Prometheus) -> None:
        if expression.kind == "variable" or "topk" in expression.text:
            return  # a ranking of all nodes is more than the rankings of each installation
        alone = [expression.run(installations, cluster=cluster) for cluster in INSTALLATIONS]
        together = expression.run(installations)
        if str(expression) in OF_ALL_INSTALLATIONS:
            assert all(answer == together for answer in alone)
        else:
            assert without_rounding(together) == without_rounding([series for answer in alone for series in answer])

    def test_first_answer_names_the_trouble_of_each(self, installations: Prometheus) -> None:
        (panel,) = [one for one in DASHBOARDS[1]["panels"] if one["title"] == "Is everything all right?"]
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
