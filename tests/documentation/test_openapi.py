"""docs/reference/openapi.yaml describes what a running exporter answers."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from exporter.journal.event import EventKind
from exporter.portfolios.ledger import PortfolioState, Reason
from lab.nodes import beat
from lab.servers import running_exporter, running_redis, wait_for
from portfolio_example import PLAN, RAW_LISTS

ROOT = Path(__file__).parents[2]
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "reference" / "openapi.yaml").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = SPEC["components"]["schemas"]


def valid(body: bytes, schema: str) -> Any:
    """Return an answer that fits its schema."""
    answer = json.loads(body)
    root = {"$ref": f"#/components/schemas/{schema}", "components": SPEC["components"]}
    jsonschema.validate(answer, root, cls=jsonschema.Draft202012Validator)
    return answer


def test_schemas_are_valid_and_names_are_those_of_the_code_and_of_the_pages() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name, kind in {"PortfolioState": PortfolioState, "Reason": Reason, "EventKind": EventKind}.items():
        assert SCHEMAS[name]["enum"] == [str(value) for value in kind]
    events = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert [kind for kind in EventKind if f"| `{kind}` |" not in events] == []
    endpoints = (ROOT / "docs" / "reference" / "endpoints.md").read_text(encoding="utf-8")
    assert [path for path in SPEC["paths"] if f"| `{path}" not in endpoints and path != "/metrics"] == []


def test_answers_are_as_described_with_redis_and_without(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        with server.client() as client:
            for name, listed in RAW_LISTS.items():
                beat(client, name, 600, loaded_portfolio_ids=listed)
            client.hset("schedule:plan", mapping=dict(PLAN))
            client.persist("heartbeat:node:gamma")
        flags = ("--redis.url", server.url, "--heartbeat.ttl", "10m")
        with running_exporter(tmp_path / "exporter", *flags) as exporter:
            exporter.scrape()
            nodes = valid(exporter.get("/api/v1/nodes").body, "Nodes")["nodes"]
            assert {node["state"] for node in nodes} == {"online", "offline"}
            assert valid(exporter.get("/api/v1/nodes?limit=2&sort=-portfolios").body, "Nodes")["next"]
            portfolios = valid(exporter.get("/api/v1/portfolios").body, "Portfolios")["portfolios"]
            assert {"traded", "untraded", "misplaced", "duplicated"} <= {each["state"] for each in portfolios}
            assert valid(exporter.get("/api/v1/portfolios?limit=2").body, "Portfolios")["next"]
            events = valid(exporter.get("/api/v1/events").body, "Events")["events"]
            assert {"exporter", "node"} <= {event["kind"] for event in events}
    with running_exporter(tmp_path / "alone", "--redis.url", "redis://127.0.0.1:1/0", ready=False) as exporter:
        wait_for(lambda: "serving" in exporter.output())
        for path, name in (("nodes", "Nodes"), ("portfolios", "Portfolios")):
            answer = valid(exporter.get(f"/api/v1/{path}").body, name)
            assert answer.pop("trouble").startswith("Redis cannot be read")
            assert answer == {"redis_up": False, path: []}
