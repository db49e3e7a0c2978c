"""The chart, rendered with given values to Kubernetes objects."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

Object = dict[str, Any]
Render = Callable[..., list[Object]]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "ginkgo-exporter"


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
