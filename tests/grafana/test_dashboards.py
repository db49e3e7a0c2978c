"""The written dashboards: up to date, linted, and telling installations apart.

The rules are those of grafana/dashboard-linter, applied more strictly: to every kind of panel.
"""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from promql_trees import DASHBOARDS, EXPRESSIONS, FOLDER, matchers, parse, promql_of, selectors, walk

from exporter.settings import Heartbeat
from grafana.pictures.__main__ import STATES
from grafana.proof.expressions import Expression, expressions, fill, read
from grafana.proof.lives import STEP
from grafana.source import limits
from grafana.source.__main__ import files, main
from grafana.source.palette import STATE_COLOURS

ROOT = FOLDER.parents[1]
EXCLUSIONS = yaml.safe_load((FOLDER / ".lint").read_text(encoding="utf-8"))["exclusions"]
UNITS = {"none", "short", "percentunit", "s", "bytes", "cps", "locale", "dateTimeAsIsoNoDateIfToday"}
SINCE = re.compile(r"time:\[[\w ]+ since\] HH:mm")  # a time with words around it
LONGEST = 600
"""Characters of a panel's query; nobody reads a longer one."""
PANELS = [(board, panel) for board in DASHBOARDS for panel in board["panels"] if panel["type"] != "row"]


def test_written_dashboards_are_up_to_date_and_a_check_finds_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--check"]) == 0
    assert files() == files()
    monkeypatch.setattr("grafana.source.__main__.FOLDER", tmp_path)
    assert [main(["--check"]), main([]), main(["--check"])] == [1, 0, 0]
    (tmp_path / "node.json").write_text("{}", encoding="utf-8")
    assert main(["--check"]) == 1


def test_limits_are_those_of_the_rules() -> None:
    assert (limits.QUEUE_FILLING, limits.QUEUE_FULL, limits.HEARTBEAT_LATE, limits.STALLED) == (700, 950, 15, 120)
    assert (limits.BACKPRESSURE_FLOOR, limits.BACKPRESSURE_SHARE, limits.BACKPRESSURE_SPIKE) == (0.1, 0.1, 3)
    assert Heartbeat().ttl == limits.HEARTBEAT_TTL
    with pytest.raises(LookupError, match="GinkgoQueueGrowing"):
        limits.limit("GinkgoQueueGrowing", "< {}")


def dashboard_faults(board: dict[str, Any]) -> Iterator[str]:
    variables = {entry["name"]: entry for entry in board["templating"]["list"]}
    source = variables["datasource"]
    if (source["type"], source["query"], source["label"]) != ("datasource", "prometheus", "Data source"):
        yield "its data source is no variable"
    for name in ("cluster", "job", "instance", *(["node"] if board["uid"] == "ginkgo-node" else [])):
        entry, label = variables[name], {"cluster": "Installation"}.get(name, name.title())
        # A series without the label must be chosen.
        wanted = ("query", label, True, True, ".*" if name == "cluster" else ".+", 2, "${datasource}")
        given = tuple(entry[key] for key in ("type", "label", "multi", "includeAll", "allValue", "refresh"))
        if (*given, entry["datasource"]["uid"]) != wanted:
            yield f"variable {name}"
        if not parse(re.fullmatch(r"label_values\((.+), \w+\)", entry["query"])[1]):  # type: ignore[index]
            yield f"the query of {name}"
    (link,) = [link for link in board["links"] if link["type"] == "dashboards"]
    if not (link["includeVars"] and link["keepTime"]):
        yield "its link to the other dashboards"
    text = json.dumps(board)
    if board["editable"] or "lastNotNull" in text or "palette-classic" in text:
        yield "it is editable, shows old values, or has the classic palette"
    yield from grid_faults(board["panels"])


def grid_faults(panels: list[dict[str, Any]]) -> Iterator[str]:
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        covered = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        if max(x for x, _ in covered) >= 24 or covered & cells:
            yield f"{panel['title']} overlaps"
        cells |= covered
    if set(itertools.product(range(24), range(1 + max(y for _, y in cells)))) - cells:
        yield "the grid has holes"
    ids = [panel["id"] for panel in panels]
    if ids != sorted(set(ids)):
        yield "its panels are not numbered once"


def panel_faults(panel: dict[str, Any]) -> Iterator[str]:
    config, targets = panel["fieldConfig"], panel["targets"]
    overrides = [entry for override in config.get("overrides", ()) for entry in override["properties"]]
    units = {config["defaults"]["unit"], *(entry["value"] for entry in overrides if entry["id"] == "unit")}
    if {source["datasource"]["uid"] for source in (panel, *targets)} != {"${datasource}"}:
        yield "another data source"
    if not panel["title"] or not panel["description"].endswith("."):
        yield "no title or no sentence"
    if not {unit for unit in units if not SINCE.fullmatch(unit)} <= UNITS:
        yield f"units {units}"
    if not targets or len({target["refId"] for target in targets}) != len(targets):
        yield "its targets"
    if not config["defaults"]["noValue"].strip("0 "):
        yield "it does not say what missing data means"
    first = config["defaults"]["thresholds"]["steps"][0]
    if first["value"] is not None or first["color"] not in {"#6E6E6E", "transparent"}:
        yield "an unknown value has a colour of well or bad"
    if (
        panel["type"] == "table"
        and panel["transformations"][-1]["options"]["renameByName"]["cluster"] != "Installation"
    ):
        yield "its rows do not name the installation"
    if any(t.get("format") != "table" and "{{cluster}}" not in t["legendFormat"] for t in targets):
        yield "a legend does not name the installation"
    yield from colour_faults(config)


def colour_faults(config: dict[str, Any]) -> Iterator[str]:
    maps = list(config["defaults"].get("mappings", ()))
    for override in config.get("overrides", ()):
        shown = {entry["id"]: entry["value"] for entry in override["properties"]}
        maps += shown.get("mappings", ())
        name = re.sub(r"\W", "", override["matcher"]["options"].removesuffix(r"\b/"))
        if name in STATE_COLOURS and shown["color"]["fixedColor"] != STATE_COLOURS[name]:
            yield f"the colour of {name}"
    for meaning in itertools.chain.from_iterable(each["options"].values() for each in maps):
        if meaning["color"] != STATE_COLOURS.get(meaning["text"].lower(), meaning["color"]):
            yield f"the colour of {meaning['text']}"


def query_faults(found: Expression) -> Iterator[str]:
    text, tree = promql_of(found), parse(promql_of(found))
    calls = [
        str(node) for node, _ in walk(tree) if isinstance(node, promql.Call) and node.func.name in {"rate", "irate"}
    ]
    is_panel = "targets" in found.panel
    if is_panel and len(text) > LONGEST:
        yield f"{len(text)} characters"
    if is_panel and len(calls) != text.count("[$__rate_interval]"):
        yield "a rate without the rate interval"
    ranges = [node for node, _ in walk(tree) if isinstance(node, promql.MatrixSelector | promql.SubqueryExpr)]
    if is_panel and any(each.range.total_seconds() < 4 * STEP for each in ranges):
        yield "a range of fewer than four scrapes"
    yield from selector_faults(found, text)
    yield from mixed(fill(text, cluster="$cluster"))
    for label in ("job", "instance") if is_panel else ():
        lacks = any(matchers(selector).get(label) != (True, f"${label}") for selector, _ in selectors(text))
        index = [target["expr"] for target in found.panel["targets"]].index(found.text)
        entry = {"dashboard": found.dashboard, "panel": found.panel["title"], "targetIdx": index}
        if lacks is not (entry in EXCLUSIONS.get(f"target-{label}-rule", {}).get("entries", [])):
            yield f"an exception for {label} must be needed, and .lint must name it"


def selector_faults(found: Expression, text: str) -> Iterator[str]:
    for selector, parents in selectors(text):
        above = {parent.func.name for parent in parents if isinstance(parent, promql.Call)}
        raw = (selector.name or "").endswith(("_total", "_total:max")) and not above & {"rate", "irate", "increase"}
        if raw and "targets" in found.panel:
            yield f"{selector.name} is shown raw"
        chosen = matchers(selector)
        if found.where != "variable cluster" and chosen.get("cluster") not in {(True, "$cluster"), (True, "$cluster|")}:
            yield f"{selector.name} of any installation"
        free = found.where in {"variable cluster", "variable job"}
        if not free and chosen.get("job") not in {(True, "$job"), (True, "$job|")}:
            yield f"{selector.name} of any job"


def mixed(text: str) -> Iterator[str]:
    """Yield the parts of a query that mix installations."""
    for node, _ in walk(promql.parse(text)):
        if isinstance(node, promql.AggregateExpr) and "topk" not in str(node.op):
            by = node.modifier is not None and "By" in str(node.modifier.type)
            if node.modifier is None or ("cluster" in node.modifier.labels) is not by:
                yield f"{node.op} mixes installations"
        if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            matching = node.modifier.matching
            # What selects no series, such as the hours of the market, belongs to every installation.
            of_none = not any(isinstance(each, promql.VectorSelector) for each, _ in walk(node.rhs))
            if not of_none and ("cluster" in matching.labels) is not ("On" in str(matching.type)):
                yield "a match mixes installations"


def test_dashboards_panels_and_queries_keep_the_linters_rules() -> None:
    titles = {(board["uid"], board["title"]) for board in DASHBOARDS}
    assert titles == {(f"ginkgo-{name.lower()}", f"Ginkgo / {name}") for name in ("Fleet", "Node", "Exporter")}
    faults = [(board["uid"], fault) for board in DASHBOARDS for fault in dashboard_faults(board)]
    faults += [(f"{b['uid']}: {panel['title']}", fault) for b, panel in PANELS for fault in panel_faults(panel)]
    faults += [(str(found), fault) for found in EXPRESSIONS for fault in query_faults(found)]
    assert faults == []
    known = [
        {"dashboard": board["title"], "panel": panel["title"], "targetIdx": index}
        for board, panel in PANELS
        for index in range(len(panel["targets"]))
    ]
    for rule in EXCLUSIONS.values():
        assert rule["reason"]
        assert [entry for entry in rule["entries"] if entry not in known] == []


def test_rate_and_range_of_every_query_come_from_the_dashboard_and_its_recordings_are_rules() -> None:
    fixed = {str(each): found for each in EXPRESSIONS if (found := re.findall(r"\[(?!\$)[^\]]+\]", each.text))}
    spans = [title for title in fixed if "days" in title or "Market hours" in title]
    assert fixed.keys() - set(spans) == {"Ginkgo / Node: annotation Restarts", "Ginkgo / Exporter: Cost to Redis A"}
    rules = yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    used = {name for found in EXPRESSIONS for name in re.findall(r"[a-z_0-9]+:[a-z_0-9]+:[a-z_0-9]+", found.text)}
    assert set() != used <= recorded
    linked = set(re.findall(r"/d/([\w-]+)", json.dumps(rules)))
    assert linked <= {board["uid"] for board in DASHBOARDS}


def links_of(board: dict[str, Any]) -> dict[str, list[str]]:
    """Return the addresses that each panel's columns link to, by panel and column."""
    return {
        f"{panel['title']}: {override['matcher']['options']}": [link["url"] for link in entry["value"]]
        for panel in board["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", ())
        for entry in override["properties"]
        if entry["id"] == "links"
    }


def test_links_keep_installation_job_data_source_and_time_and_lead_to_the_right_node() -> None:
    kept = ("${__url_time_range}", "${datasource:queryparam}", "var-cluster=")
    for board in DASHBOARDS:
        for place, addresses in links_of(board).items():
            for address in addresses:
                if address.startswith("/d/"):
                    assert all(part in address for part in kept), place
                else:
                    assert address.startswith("${exporter}/"), place
    links = links_of(next(board for board in DASHBOARDS if board["uid"] == "ginkgo-fleet"))
    for table in ("Nodes", "Portfolios at fault", "Firing alerts"):
        address = links[f"{table}: Node"][0]
        assert "var-cluster=${__data.fields.Installation:percentencode}" in address
        assert "var-node=${__value.raw:percentencode}" in address
    assert links["Nodes: Node"][1].startswith("${exporter}/api/v1/events?subject=${__value.raw:percentencode}&since=")
    assert links["Firing alerts: Alert"][0].endswith("?node_id=${__data.fields.Node:percentencode}")


def test_another_label_can_tell_installations_apart_and_each_can_have_an_exporter_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--installation-label", "environment", "--output", str(tmp_path)]) == 0
    boards = [read(path) for path in tmp_path.glob("*.json")]
    assert len(boards) == len(DASHBOARDS)
    for found in (found for board in boards for found in expressions(board)):
        assert found.where == "variable cluster" or 'environment=~"$cluster' in found.text, found
        assert "cluster" not in found.text.replace("$cluster", ""), found
    for label in ("job", "node_id", "1st", "a-b"):
        with pytest.raises(SystemExit):
            main(["--check", "--installation-label", label])
        assert "cannot be the label of an installation" in capsys.readouterr().err
    texts = files(address="https://ginkgo.{installation}.example.com").values()
    assert all("https://ginkgo.${cluster}.example.com/runbooks" in text for text in texts)
    assert not any("${exporter" in text for text in texts)


def test_provisioning_reads_the_folder_and_each_state_has_a_small_picture() -> None:
    folder = FOLDER.parent / "provisioning"
    provider = yaml.safe_load((folder / "dashboards/ginkgo.yaml").read_text(encoding="utf-8"))
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    assert provider["providers"][0]["type"] == "file"
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", "15s")
    for name in (f"{dashboard}-{state}" for dashboard in ("fleet", "node", "exporter") for state in STATES):
        picture = (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG"), name
        assert len(picture) <= 150 * 1024, name


SCHEMA = Path(__file__).parent / "schema"
FILES = sorted((Path(__file__).parents[2] / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(scope="session")
def checker() -> Path:
    for binary in ("node", "npm"):
        if shutil.which(binary) is None:
            pytest.skip(f"{binary} is not installed")
    lock, installed = SCHEMA / "package-lock.json", SCHEMA / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=SCHEMA, check=True, capture_output=True)
    return SCHEMA / "check.mjs"


@pytest.mark.server("node")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["10.4", "11.6"])
def test_dashboards_are_valid_by_grafanas_types(version: str, checker: Path, tmp_path: Path) -> None:
    misspelt = json.loads(FILES[0].read_text(encoding="utf-8"))
    misspelt["panels"][0]["options"]["colourMode"] = "value"
    mistyped = json.loads(FILES[0].read_text(encoding="utf-8"))
    mistyped["panels"][0]["gridPos"]["w"] = "wide"
    wrong = {tmp_path / "misspelt.json": misspelt, tmp_path / "mistyped.json": mistyped}
    for path, dashboard in wrong.items():
        path.write_text(json.dumps(dashboard), encoding="utf-8")
    done = subprocess.run(
        ["node", str(checker), version, *map(str, (*FILES, *wrong))],
        capture_output=True,
        text=True,
        check=False,
    )
    found = done.stdout.splitlines()
    assert len(found) == len(wrong), done.stdout + done.stderr
    assert "colourMode" in found[0]
    assert "gridPos/w must be number" in found[1]
