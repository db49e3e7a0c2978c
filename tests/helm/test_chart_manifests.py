"""Helm, Kubernetes, the operator and Pod Security accept the objects of every values file of ci/."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Validate = Callable[[Object, str], None]

EVERYTHING: Object = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "journal": {"enabled": True, "persistence": {"enabled": True}},
    "ingress": {"enabled": True, "hosts": [{"host": "ginkgo.example.org"}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
}
"""Values that make an object of each kind, but for a PodMonitor and a PodDisruptionBudget."""
RUNNING = ("Deployment", "Pod")
OLDEST = "1.25"


def test_values_lint_strictly(chart_folder: Path, ci_values: Object) -> None:
    report = helm_python.lint(chart_folder, ci_values, strict=True)

    assert report["errors"] == []
    assert report["messages"] == []


def test_manifests_are_valid_in_the_oldest_and_the_newest_kubernetes(valid: Render, ci_values: Object) -> None:
    made = valid(ci_values)

    assert {"Deployment", "Service", "Secret"} <= {o["kind"] for o in made}


@pytest.mark.parametrize(
    ("kind", "where", "name"),
    [
        ("Deployment", ("spec", "template", "spec"), "enableServiceLink"),
        ("Service", ("spec",), "publishNotReadyAddreses"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "scrape_timeout"),
        ("PrometheusRule", ("spec", "groups", 0), "intervall"),
        ("HTTPRoute", ("spec", "rules", 0, "backendRefs", 0), "prt"),
        ("Ingress", ("spec", "rules", 0, "http"), "path"),
        ("PersistentVolumeClaim", ("spec",), "storageClass"),
    ],
)
def test_the_validators_notice_a_misspelt_field(
    render: Render, validate: Validate, kind: str, where: tuple[str | int, ...], name: str
) -> None:
    (found,) = [o for o in render(EVERYTHING) if o["kind"] == kind]
    inner = found
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


def test_the_pods_pass_the_restricted_pod_security_standard(render: Render, ci_values: Object) -> None:
    """The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    made = render(ci_values)
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    volumes |= {"projected", "secret"}

    pods = [o["spec"] if o["kind"] == "Pod" else o["spec"]["template"]["spec"] for o in made if o["kind"] in RUNNING]
    assert pods
    for pod in pods:
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
        assert all(set(v) - {"name"} <= volumes for v in pod.get("volumes", []))
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
            assert all("hostPort" not in port for port in container.get("ports", []))


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
