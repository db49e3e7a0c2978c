"""Values of the pods are passed on, their time to end is enough, and `helm test` asks the exporter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Object = dict[str, Any]
Render = Callable[..., list[Object]]
One = Callable[..., Object]


def pod_of(made: list[Object]) -> Object:
    (found,) = [o for o in made if o["kind"] == "Deployment"]
    pod: Object = found["spec"]["template"]["spec"]
    return pod


def container_of(made: list[Object]) -> Object:
    (found,) = [c for c in pod_of(made)["containers"] if c["name"] == "ginkgo-exporter"]
    container: Object = found
    return container


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostAliases", [{"ip": "10.0.0.5", "hostnames": ["redis"]}]),
        ("dnsPolicy", "ClusterFirst"),
        ("dnsConfig", {"options": [{"name": "ndots", "value": "2"}]}),
        ("priorityClassName", "system-cluster-critical"),
        ("terminationGracePeriodSeconds", 30),
        ("nodeSelector", {"kubernetes.io/os": "linux"}),
        ("tolerations", [{"key": "trading", "operator": "Exists"}]),
        ("affinity", {"podAffinity": {}}),
    ],
)
def test_a_value_of_the_pods_is_passed_on(valid: Render, name: str, value: Object) -> None:
    assert pod_of(valid({name: value}))[name] == value


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("lifecycle", {"preStop": {"exec": {"command": ["python", "-c", "pass"]}}}, "lifecycle"),
        ("resources", {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, "resources"),
        ("extraArgs", ["--log.level=debug"], "args"),
    ],
)
def test_a_value_of_the_container_is_passed_on(valid: Render, name: str, value: Object, field: str) -> None:
    assert container_of(valid({name: value}))[field] == value


def test_more_containers_volumes_and_mounts_are_added(valid: Render) -> None:
    volume, mount = {"name": "scratch", "emptyDir": {}}, {"name": "scratch", "mountPath": "/scratch"}
    beside = {"name": "beside", "image": "beside:1", "volumeMounts": [mount]}
    made = valid({"extraContainers": [beside], "extraVolumes": [volume], "extraVolumeMounts": [mount]})

    assert pod_of(made)["containers"] == [container_of(made), beside]
    assert volume in pod_of(made)["volumes"]
    assert mount in container_of(made)["volumeMounts"]


def test_the_defaults_suffice_for_the_first_rows_of_the_table_of_memory(valid: Render, chart_folder: Path) -> None:
    readme = (chart_folder / "README.md").read_text(encoding="utf-8")
    _, _, *lines = readme.partition("<!-- memory -->\n")[2].partition("<!-- /memory -->")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    resources = container_of(valid({}))["resources"]

    assert [row[2:] for row in rows[:2]] == [[resources["requests"]["memory"], resources["limits"]["memory"]]] * 2
    assert all(float(row[1].split()[0]) < float(row[2].removesuffix("Mi")) for row in rows)


# --- helm test -------------------------------------------------------------------------------


def test_helm_test_asks_the_exporter_and_no_service_selects_it(valid: Render, one: One) -> None:
    made = valid({"config": {"web": {"telemetry-path": "/scrape"}}, "web": {"existingSecret": "w", "scheme": "https"}})
    test, service = one(made, "Pod"), one(made, "Service")
    (container,) = test["spec"]["containers"]
    address = "https://ginkgo-ginkgo-exporter.trading.svc:19121"

    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert container["command"] == ["python", "-m", "exporter.commands.healthcheck"]
    assert container["args"] == ["--seconds=60", f"{address}/-/ready", f"{address}/scrape"]
    assert test["spec"]["restartPolicy"] == "Never"
    assert not service["spec"]["selector"].items() <= test["metadata"]["labels"].items()


def test_helm_test_can_be_left_out(valid: Render, one: One) -> None:
    made = valid({"tests": {"enabled": False}, "networkPolicy": {"enabled": True}})

    assert "Pod" not in {o["kind"] for o in made}
    assert len(one(made, "NetworkPolicy")["spec"]["ingress"]) == 1
