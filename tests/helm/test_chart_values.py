"""Wrong values are refused with the reason, and the schema has every value."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from chart import CHART, Object, texts

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

WRONG: list[Object] = yaml.safe_load((Path(__file__).parent / "wrong-values.yaml").read_text(encoding="utf-8"))


def refusal(values: Object) -> str:
    """Return why the chart refuses values."""
    with pytest.raises(helm_python.HelmError) as refused:
        texts(values)
    return str(refused.value)


def test_wrong_values_are_refused_with_the_reason() -> None:
    failures = [(each["title"], said) for each in WRONG if each["reason"] not in (said := refusal(each["values"]))]
    assert failures == []


def test_config_takes_off_where_the_exporter_does() -> None:
    for name in ("forget-after", "forget-rehomed-after"):
        assert texts({"config": {"nodes": {name: "off"}}}), name


def test_a_refusal_does_not_repeat_a_password() -> None:
    for values in (
        {"redis": {"url": "redi://user:hunter2@redis"}},
        {"redis": {"url": ["redis://user:hunter2@a", "redis://user:hunter2@b"]}},
        {"redis": {"url": "redis://user:hunter2@redis", "mode": "sentinel"}},
        {"alertmanager": {"urls": ["htp://user:hunter2@am"]}},
        {"alertmanager": {"urls": ["http://user:hunter2@am"]}},
    ):
        assert "hunter2" not in refusal(values), values


def keys(values: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))


def test_schema_and_values_name_the_same_keys() -> None:
    # Values that are passed to Kubernetes as they are, and values without keys by default.
    free = {"podSecurityContext", "securityContext", "resources", "config", "labels", "rules", "annotations"}
    free |= {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "dnsConfig"}

    def schema_keys(part: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        if "$ref" in part:
            part = SCHEMA["definitions"][part["$ref"].rpartition("/")[2]]
        for key, inner in part.get("properties", {}).items():
            if inner is not False:
                yield (*path, key)
            if isinstance(inner, dict) and key not in free:
                yield from schema_keys(inner, (*path, key))

    ours = {k for k in keys(VALUES) if not free & set(k[:-1])}

    assert ours == set(schema_keys(SCHEMA))


def test_every_closed_mapping_refuses_unknown_keys() -> None:
    def open_mappings(part: Any, path: str = "") -> Iterator[str]:
        if isinstance(part, dict):
            if "properties" in part and "additionalProperties" not in part:
                yield path
            for key, inner in part.items():
                yield from open_mappings(inner, f"{path}/{key}")

    # An environment variable is an object of Kubernetes, which may have more keys.
    assert list(open_mappings(SCHEMA)) == ["/properties/extraEnv/items"]
