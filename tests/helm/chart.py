"""The chart, rendered with given values to Kubernetes objects, and strict checks of these objects."""

import base64
import importlib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import yaml
from kubernetes_validate import utils

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "ginkgo-exporter"
CI = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((CHART / "ci").glob("*.yaml"))}
"""The values of each file of ci/, by the file's name."""
OLDEST = "1.25"
NEWEST = kubernetes_validate.latest_version()

# The library reads and parses megabytes of schema for every object.
utils.schema_contents = lru_cache(utils.schema_contents)


@cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def texts(values: Object | None = None, *, name: str = "ginkgo", namespace: str = "trading") -> dict[str, str]:
    """Render values to texts, by template; an address of Redis is added if the values have no `redis`."""
    values = {"redis": {"url": "redis://redis:6379/0"}} | (values or {})
    made: dict[str, str] = chart().render(values, name=name, namespace=namespace)
    return made


def render(values: Object | None = None, **names: str) -> list[Object]:
    """Render values to objects."""
    made = texts(values, **names)
    found = (yaml.safe_load_all(text) for path, text in sorted(made.items()) if path.endswith(".yaml"))
    return [each for documents in found for each in documents if each]


def validate(found: Object, version: str) -> None:
    """Check one object strictly: an unknown field is an error, too. The validators raise exceptions of their own."""
    api, _, number = found["apiVersion"].rpartition("/")
    if api == "monitoring.coreos.com":
        models = importlib.import_module(f"cloudcoil.models.prometheus_operator.{number}")
        getattr(models, found["kind"]).model_validate(found, extra="forbid", by_alias=True, by_name=False)
    elif found["kind"] == "HTTPRoute":
        route = yaml.safe_load(Path(__file__).with_name("http-route.schema.yaml").read_text(encoding="utf-8"))
        jsonschema.validate(found, route)
    else:
        kubernetes_validate.validate(found, version, strict=True)


def valid(values: Object | None = None, **names: str) -> list[Object]:
    """Render values, and check the objects strictly for the oldest and the newest Kubernetes."""
    made = render(values, **names)
    for found in made:
        for version in (OLDEST, NEWEST):
            validate(found, version)
    return made


def one(objects: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


def pod_of(made: list[Object], kind: str = "Deployment") -> Object:
    """Return the pod of the only object of a kind."""
    found = one(made, kind)
    pod: Object = found["spec"] if kind == "Pod" else found["spec"]["template"]["spec"]
    return pod


def container_of(made: list[Object]) -> Object:
    """Return the exporter's container."""
    (found,) = [c for c in pod_of(made)["containers"] if c["name"] == "ginkgo-exporter"]
    container: Object = found
    return container


def secret_of(made: list[Object]) -> dict[str, bytes]:
    """Return the decoded content of the Secret."""
    return {name: base64.b64decode(text) for name, text in one(made, "Secret")["data"].items()}


def config_of(made: list[Object]) -> Any:
    """Return the exporter's configuration."""
    return yaml.safe_load(secret_of(made)["config.yaml"])
