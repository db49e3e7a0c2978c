"""docs/reference/openapi.yaml describes what a running exporter answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from texts import ROOT

from exporter.journal.event import EventKind
from exporter.portfolios.ledger import PortfolioState, Reason
from exporter.snapshot.portfolio_rows import KEYS
from exporter.snapshot.snapshot import EXPORTED
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, running_redis, wait_for
from portfolio_example import PLAN, RAW_LISTS

SPEC: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "reference" / "openapi.yaml").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = SPEC["components"]["schemas"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def exporter(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter over the example of the ledger, with online and offline nodes."""
    with server.client() as client:
        for name, listed in RAW_LISTS.items():
            beat(client, name, 600, loaded_portfolio_ids=listed)
        client.hset("schedule:plan", mapping=dict(PLAN))
        client.persist("heartbeat:node:gamma")
    with running_exporter(
        tmp_path_factory.mktemp("exporter"), "--redis.url", server.url, "--heartbeat.ttl", "10m"
    ) as exporter:
        exporter.scrape()
        yield exporter


def valid(exporter: Exporter, path: str, schema: str) -> Any:
    """Return an answer that fits its schema."""
    answer = json.loads(exporter.get(path).body)
    root = {"$ref": f"#/components/schemas/{schema}", "components": SPEC["components"]}
    jsonschema.validate(answer, root, cls=jsonschema.Draft202012Validator)
    return answer


def test_schemas_are_valid() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_names_are_those_of_the_code() -> None:
    assert SCHEMAS["NodeState"]["enum"] == [str(state) for state in EXPORTED]
    assert SCHEMAS["PortfolioState"]["enum"] == [str(state) for state in PortfolioState]
    assert SCHEMAS["Reason"]["enum"] == [str(reason) for reason in Reason]
    assert SCHEMAS["EventKind"]["enum"] == [str(kind) for kind in EventKind]
    assert SCHEMAS["Portfolio"]["required"] == list(KEYS)


def test_every_route_is_described_and_on_the_page_of_endpoints() -> None:
    source = (ROOT / "exporter" / "web" / "app.py").read_text(encoding="utf-8")
    routes = re.findall(r'^ +\("(/[^"]*)", \w+, ', source, re.MULTILINE)
    routes = [route.replace("([A-Za-z0-9]+)", "{alertname}") for route in routes]
    page = (ROOT / "docs" / "reference" / "endpoints.md").read_text(encoding="utf-8")
    assert set(SPEC["paths"]) == {"/metrics", *routes}
    assert [route for route in routes if not re.search(rf"^\| `{re.escape(route)}[`?]", page, re.MULTILINE)] == []


def test_every_kind_of_event_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert [kind for kind in EventKind if f"| `{kind}` |" not in page] == []


def test_nodes_are_as_described(exporter: Exporter) -> None:
    nodes = valid(exporter, "/api/v1/nodes", "Nodes")["nodes"]
    assert {node["state"] for node in nodes} == {"online", "offline"}
    assert valid(exporter, "/api/v1/nodes?limit=2&sort=-portfolios", "Nodes")["next"]


def test_portfolios_are_as_described(exporter: Exporter) -> None:
    portfolios = valid(exporter, "/api/v1/portfolios", "Portfolios")["portfolios"]
    assert {"traded", "untraded", "misplaced", "duplicated"} <= {portfolio["state"] for portfolio in portfolios}
    assert valid(exporter, "/api/v1/portfolios?limit=2", "Portfolios")["next"]


def test_events_are_as_described(exporter: Exporter) -> None:
    events = valid(exporter, "/api/v1/events", "Events")["events"]
    assert {"exporter", "node"} <= {event["kind"] for event in events}


def test_answers_without_redis_are_as_described(tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", "redis://127.0.0.1:1/0", ready=False) as exporter:
        wait_for(lambda: "serving" in exporter.output())
        for path, name, key in (("nodes", "Nodes", "nodes"), ("portfolios", "Portfolios", "portfolios")):
            answer = valid(exporter, f"/api/v1/{path}", name)
            assert answer.pop("trouble").startswith("Redis cannot be read")
            assert answer == {"redis_up": False, key: []}
