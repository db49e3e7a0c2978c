"""The chart, rendered with given values to Kubernetes objects, and strict checks of these objects."""

import importlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from kubernetes_validate import utils

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Validate = Callable[[Object, str], None]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "ginkgo-exporter"
OLDEST = "1.25"
NEWEST = kubernetes_validate.latest_version()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def chart_folder() -> Path:
    return CHART


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as chart:
        yield chart


@pytest.fixture(scope="session")
def render(chart: helm_python.Chart) -> Render:
    """Return a function that renders values to objects; it adds an address of Redis if the values have no `redis`."""

    def objects(values: Object | None = None, *, name: str = "ginkgo", namespace: str = "trading") -> list[Object]:
        values = {"redis": {"url": "redis://redis:6379/0"}} | (values or {})
        made = chart.render(values, name=name, namespace=namespace)
        texts = [text for path, text in sorted(made.items()) if path.endswith(".yaml")]
        return [found for text in texts for found in yaml.safe_load_all(text) if found]

    return objects


@pytest.fixture(scope="session")
def validate() -> Iterator[Validate]:
    """Return a function that checks one object strictly: an unknown field is an error, too.

    The validators raise exceptions of their own.
    """
    route = yaml.safe_load(Path(__file__).with_name("http-route.schema.yaml").read_text(encoding="utf-8"))

    def check(found: Object, version: str) -> None:
        api, _, number = found["apiVersion"].rpartition("/")
        if api == "monitoring.coreos.com":
            models = importlib.import_module(f"cloudcoil.models.prometheus_operator.{number}")
            getattr(models, found["kind"]).model_validate(found, extra="forbid", by_alias=True, by_name=False)
        elif found["kind"] == "HTTPRoute":
            jsonschema.validate(found, route)
        else:
            kubernetes_validate.validate(found, version, strict=True)

    with pytest.MonkeyPatch.context() as patch:
        # The library reads and parses megabytes of schema for every object.
        patch.setattr(utils, "schema_contents", lru_cache(utils.schema_contents))
        yield check


@pytest.fixture(scope="session")
def valid(render: Render, validate: Validate) -> Render:
    """Return `render`, which also checks the objects strictly for the oldest and the newest Kubernetes."""

    def objects(values: Object | None = None, **names: str) -> list[Object]:
        made = render(values, **names)
        for found in made:
            for version in (OLDEST, NEWEST):
                validate(found, version)
        return made

    return objects


@pytest.fixture(params=sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.name)
def ci_values(request: pytest.FixtureRequest) -> Object:
    values: Object = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    return values


@pytest.fixture(scope="session")
def one() -> Callable[[list[Object], str], Object]:
    """Return a function that finds the only object of a kind."""

    def only(objects: list[Object], kind: str) -> Object:
        (found,) = [o for o in objects if o["kind"] == kind]
        return found

    return only
