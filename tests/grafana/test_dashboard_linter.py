"""The rules of grafana/dashboard-linter, applied more strictly: to every kind of panel."""

import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from promql_trees import matchers, parse, selectors, walk

from grafana.proof.expressions import read
from grafana.proof.lives import STEP

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
DASHBOARDS = [read(path) for path in sorted(FOLDER.glob("*.json"))]
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard["panels"] if panel["type"] != "row"]
TARGETS = [
    (dashboard, panel, index, target["expr"])
    for dashboard, panel in PANELS
    for index, target in enumerate(panel["targets"])
]
EXCLUSIONS = yaml.safe_load((FOLDER / ".lint").read_text(encoding="utf-8"))["exclusions"]
UNITS = {"none", "short", "percentunit", "s", "bytes", "cps", "locale", "dateTimeAsIsoNoDateIfToday"}
SINCE = re.compile(r"time:\[[\w ]+ since\] HH:mm")  # a time with words around it

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])
every_panel = pytest.mark.parametrize(
    ("dashboard", "panel"),
    PANELS,
    ids=[f"{dashboard['uid']}: {panel['title']}" for dashboard, panel in PANELS],
)
every_target = pytest.mark.parametrize(
    ("dashboard", "panel", "index", "expression"),
    TARGETS,
    ids=[f"{dashboard['uid']}: {panel['title']} {index}" for dashboard, panel, index, _ in TARGETS],
)


def excluded(rule: str, dashboard: dict[str, Any], panel: dict[str, Any], index: int) -> bool:
    entry = {"dashboard": dashboard["title"], "panel": panel["title"], "targetIdx": index}
    return entry in EXCLUSIONS.get(rule, {}).get("entries", [])


def lacks_matcher(expression: str, label: str) -> bool:
    return any(matchers(selector).get(label) != (True, f"${label}") for selector, _ in selectors(expression))


def variable(dashboard: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in dashboard["templating"]["list"] if entry["name"] == name]
    return found


@every_dashboard
def test_datasource_is_a_variable(dashboard: dict[str, Any]) -> None:
    source = variable(dashboard, "datasource")
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize(
    ("uid", "name"),
    [(one["uid"], name) for one in DASHBOARDS for name in ("cluster", "job", "instance")] + [("ginkgo-node", "node")],
)
def test_label_variable_takes_several_values(uid: str, name: str) -> None:
    (dashboard,) = [one for one in DASHBOARDS if one["uid"] == uid]
    entry = variable(dashboard, name)
    assert entry["type"] == "query"
    assert entry["label"] == {"cluster": "Installation"}.get(name, name.title())
    assert entry["datasource"]["uid"] == "${datasource}"
    assert entry["multi"] is True
    assert entry["includeAll"] is True
    assert entry["allValue"] == (".*" if name == "cluster" else ".+"), "a series without the label must be chosen"


@every_dashboard
def test_variables_reload_when_the_time_changes(dashboard: dict[str, Any]) -> None:
    queried = [entry for entry in dashboard["templating"]["list"] if entry["type"] == "query"]
    assert [entry["refresh"] for entry in queried] == [2] * len(queried)


@every_dashboard
def test_variables_ask_for_label_values_of_valid_promql(dashboard: dict[str, Any]) -> None:
    for entry in dashboard["templating"]["list"]:
        if entry["type"] == "query":
            function, _, rest = entry["query"].partition("(")
            assert function == "label_values"
            assert parse(rest.rpartition(",")[0])


@every_dashboard
def test_dashboard_cannot_be_edited_in_place(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False


@every_panel
def test_panel_uses_the_variable_datasource(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}, dashboard["uid"]


@every_panel
def test_panel_has_a_title_and_a_description(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    assert panel["title"], dashboard["uid"]
    assert panel["description"].endswith("."), dashboard["uid"]


@every_panel
def test_panel_has_valid_units(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    units = [panel["fieldConfig"]["defaults"]["unit"]]
    for override in panel["fieldConfig"].get("overrides", ()):
        units += [entry["value"] for entry in override["properties"] if entry["id"] == "unit"]
    assert {unit for unit in units if not SINCE.fullmatch(unit)} <= UNITS, dashboard["uid"]


@every_panel
def test_panel_has_targets(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    assert panel["targets"], dashboard["uid"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@every_panel
def test_panel_says_what_missing_data_means(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    absent = panel["fieldConfig"]["defaults"]["noValue"]
    assert absent.strip("0 "), dashboard["uid"]


@every_panel
def test_unknown_value_has_no_colour_of_well_or_bad(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    first = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]
    assert first["value"] is None
    assert first["color"] in {"#6E6E6E", "transparent"}, dashboard["uid"]


@every_target
def test_target_is_promql(dashboard: dict[str, Any], panel: dict[str, Any], index: int, expression: str) -> None:
    assert parse(expression), (dashboard["uid"], panel["title"], index)


@every_target
def test_rates_use_the_rate_interval(
    dashboard: dict[str, Any], panel: dict[str, Any], index: int, expression: str
) -> None:
    rates = [
        str(node)
        for node, _ in walk(parse(expression))
        if isinstance(node, promql.Call) and node.func.name in {"rate", "irate"}
    ]
    assert len(rates) == expression.count("[$__rate_interval]"), (dashboard["uid"], panel["title"], index)


@every_target
def test_ranges_hold_at_least_four_scrapes(
    dashboard: dict[str, Any], panel: dict[str, Any], index: int, expression: str
) -> None:
    for node, _ in walk(parse(expression)):
        if isinstance(node, promql.MatrixSelector | promql.SubqueryExpr):
            assert node.range.total_seconds() >= 4 * STEP, (dashboard["uid"], panel["title"], index)


@every_target
@pytest.mark.parametrize("label", ["job", "instance"])
def test_selectors_match_the_chosen_job_and_instance(
    dashboard: dict[str, Any], panel: dict[str, Any], index: int, expression: str, label: str
) -> None:
    exception = excluded(f"target-{label}-rule", dashboard, panel, index)
    assert lacks_matcher(expression, label) is exception, "an exception must be needed, and .lint must name it"


@every_target
def test_counters_are_never_shown_raw(
    dashboard: dict[str, Any], panel: dict[str, Any], index: int, expression: str
) -> None:
    for selector, parents in selectors(expression):
        if (selector.name or "").endswith(("_total", "_total:max")):
            calls = {parent.func.name for parent in parents if isinstance(parent, promql.Call)}
            assert calls & {"rate", "irate", "increase"}, (dashboard["uid"], panel["title"], index)


def test_every_exception_has_a_reason_and_names_a_target() -> None:
    known = [
        {"dashboard": dashboard["title"], "panel": panel["title"], "targetIdx": index}
        for dashboard, panel, index, _ in TARGETS
    ]
    for rule in EXCLUSIONS.values():
        assert rule["reason"]
        for entry in rule["entries"]:
            assert entry in known
