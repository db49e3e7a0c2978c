"""Helm, Kubernetes, the operator and Pod Security accept the objects of every values file of ci/."""

import importlib
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kubernetes_validate import utils

Object = dict[str, Any]
Render = Callable[..., list[Object]]

OLDEST = "1.25"
NEWEST = kubernetes_validate.latest_version()


@pytest.fixture(autouse=True, scope="module")
def _schemas_read_once() -> Iterator[None]:
    # The library reads and parses megabytes of schema for every object.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", lru_cache(utils.schema_contents))
        yield


def validate(found: Object, version: str) -> None:
    """Check one object strictly: an unknown field is an error.

    Raises:
        Exception: The object is invalid; the validators raise exceptions of their own.
    """
    api, _, number = found["apiVersion"].rpartition("/")
    if api == "monitoring.coreos.com":
        models = importlib.import_module(f"cloudcoil.models.prometheus_operator.{number}")
        getattr(models, found["kind"]).model_validate(found, extra="forbid", by_alias=True, by_name=False)
    else:
        kubernetes_validate.validate(found, version, strict=True)


def test_values_lint_strictly(chart_folder: Path, ci_values: Object) -> None:
    report = helm_python.lint(chart_folder, ci_values, strict=True)

    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid_in_the_oldest_and_the_newest_kubernetes(
    render: Render, ci_values: Object, version: str
) -> None:
    made = render(ci_values)

    assert {"Deployment", "Service", "Secret"} <= {o["kind"] for o in made}
    for found in made:
        validate(found, version)


@pytest.mark.parametrize(
    ("kind", "where", "name"),
    [
        ("Deployment", ("spec", "template", "spec"), "enableServiceLink"),
        ("Service", ("spec",), "publishNotReadyAddreses"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "scrape_timeout"),
        ("PrometheusRule", ("spec", "groups", 0), "intervall"),
    ],
)
def test_the_validators_notice_a_misspelt_field(
    render: Render, one: Callable[..., Object], kind: str, where: tuple[str | int, ...], name: str
) -> None:
    values = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    found = inner = one(render(values), kind)
    validate(found, OLDEST)
    for step in where:
        inner = inner[step]  # type: ignore[index]
    inner[name] = "10s"

    with pytest.raises(Exception, match=f"(?i){name}"):
        validate(found, OLDEST)


def test_all_objects_have_different_names(render: Render, ci_values: Object) -> None:
    names = [
        (o["apiVersion"], o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"])
        for o in render(ci_values, name="a-release-with-a-name-of-fifty-three-characters-long")
    ]

    assert len(set(names)) == len(names)
    assert max(len(name[3]) for name in names) <= 63


def test_no_object_needs_a_crd_by_default(render: Render) -> None:
    assert {o["apiVersion"] for o in render()} <= {"v1", "apps/v1"}


def test_every_object_has_the_common_labels(render: Render) -> None:
    everything = {
        "commonLabels": {"team": "trading"},
        "replicaCount": 2,
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
        "networkPolicy": {"enabled": True},
    }

    for found in render(everything):
        assert found["metadata"]["labels"]["team"] == "trading", found["kind"]
        assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "ginkgo-exporter"


def test_the_pods_pass_the_restricted_pod_security_standard(
    render: Render, one: Callable[..., Object], ci_values: Object
) -> None:
    """The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    pod = one(render(ci_values), "Deployment")["spec"]["template"]["spec"]
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    volumes |= {"projected", "secret"}

    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
    assert all(set(v) - {"name"} <= volumes for v in pod["volumes"])
    security = pod["securityContext"]
    assert not security.keys() & {"seLinuxOptions", "sysctls", "windowsOptions", "appArmorProfile"}
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security.keys() <= {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
        assert all("hostPort" not in port for port in container["ports"])


def test_the_root_is_read_only_and_no_token_is_mounted(render: Render, one: Callable[..., Object]) -> None:
    made = render()
    pod = one(made, "Deployment")["spec"]["template"]["spec"]

    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    assert one(made, "ServiceAccount")["automountServiceAccountToken"] is False


def test_service_variables_do_not_reach_the_exporter(render: Render, one: Callable[..., Object]) -> None:
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]

    assert pod["enableServiceLinks"] is False


def test_the_packaged_chart_fits_into_a_release_secret(
    chart: helm_python.Chart, render: Render, tmp_path: Path
) -> None:
    # Helm keeps chart and manifests, compressed and in base64, in one Secret of at most 1 MiB.
    archive = Path(chart.save(tmp_path)).stat().st_size
    manifests = len(json.dumps(render({"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}})))

    assert archive + manifests / 4 < 500_000
