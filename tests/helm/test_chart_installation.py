"""Values that fit the chart into an operator's cluster: each is rendered, and its objects are valid Kubernetes."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
Render = Callable[..., list[Object]]
One = Callable[..., Object]

EVERYTHING: Object = {
    "replicaCount": 2,
    "alertmanager": {"urls": ["http://a"]},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "ingress": {"enabled": True, "hosts": [{"host": "ginkgo.example.org"}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
}
VOLUME: Object = {"enabled": True, "persistence": {"enabled": True}}


def pod_of(made: list[Object], kind: str = "Deployment") -> Object:
    (found,) = [o for o in made if o["kind"] == kind]
    pod: Object = found["spec"] if kind == "Pod" else found["spec"]["template"]["spec"]
    return pod


def container_of(made: list[Object]) -> Object:
    (found,) = [c for c in pod_of(made)["containers"] if c["name"] == "ginkgo-exporter"]
    container: Object = found
    return container


def config_of(made: list[Object], one: One) -> Any:
    return yaml.safe_load(base64.b64decode(one(made, "Secret")["data"]["config.yaml"]))


# --- image -----------------------------------------------------------------------------------

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("image", "registry", "name"),
    [
        ({}, "", "ginkgo-exporter:1.2.3"),
        ({"registry": "a.example"}, "", "a.example/ginkgo-exporter:1.2.3"),
        ({"registry": "a.example"}, "mirror.example/x/", "mirror.example/x/ginkgo-exporter:1.2.3"),
        ({"digest": DIGEST}, "mirror.example", f"mirror.example/ginkgo-exporter@{DIGEST}"),
        ({"repository": "b/c"}, "mirror.example", "mirror.example/b/c:1.2.3"),
    ],
)
def test_the_registry_of_a_parent_chart_overrides_the_image_s(
    valid: Render, image: Object, registry: str, name: str
) -> None:
    made = valid({"image": {"tag": "1.2.3"} | image, "global": {"imageRegistry": registry}})

    assert container_of(made)["image"] == name
    assert pod_of(made, "Pod")["containers"][0]["image"] == name


def test_pull_secrets_of_chart_and_parent_are_names_or_references(valid: Render) -> None:
    made = valid({"imagePullSecrets": ["a", {"name": "b"}], "global": {"imagePullSecrets": ["c", {"name": "a"}]}})

    for kind in ("Deployment", "Pod"):
        assert [s["name"] for s in pod_of(made, kind)["imagePullSecrets"]] == ["c", "a", "b"]
    assert "imagePullSecrets" not in pod_of(valid({}))


def test_a_parent_chart_may_share_more_values(valid: Render) -> None:
    assert valid({"global": {"storageClass": "fast"}})


# --- names, labels, annotations --------------------------------------------------------------


def test_another_namespace_is_used_everywhere(valid: Render, one: One) -> None:
    made = valid(EVERYTHING | {"namespaceOverride": "elsewhere"}, namespace="here")

    assert {o["metadata"]["namespace"] for o in made} == {"elsewhere"}
    assert one(made, "ServiceMonitor")["spec"]["namespaceSelector"]["matchNames"] == ["elsewhere"]
    assert "namespace=elsewhere" in config_of(made, one)["alertmanager"]["label"]
    assert all(".elsewhere.svc:" in word for word in pod_of(made, "Pod")["containers"][0]["args"][1:])


def test_the_namespace_of_one_object_overrides_the_others(valid: Render, one: One) -> None:
    made = valid({"namespaceOverride": "a", "prometheusRule": {"enabled": True, "namespace": "b"}})

    assert one(made, "PrometheusRule")["metadata"]["namespace"] == "b"


def test_every_object_has_the_common_labels_and_annotations(valid: Render) -> None:
    common = {"commonLabels": {"team": "trading"}, "commonAnnotations": {"owner": "trading"}}
    for values in (EVERYTHING, {"podMonitor": {"enabled": True}, "journal": VOLUME}):
        for found in valid(values | common):
            assert found["metadata"]["labels"]["team"] == "trading", found["kind"]
            assert found["metadata"]["annotations"]["owner"] == "trading", found["kind"]
            assert found["metadata"]["labels"]["app.kubernetes.io/name"].startswith("ginkgo-exporter")


def test_an_object_s_own_annotation_overrides_the_common_one(valid: Render, one: One) -> None:
    values = {"commonAnnotations": {"a": "common", "b": "common"}, "service": {"annotations": {"a": "own"}}}

    assert one(valid(values), "Service")["metadata"]["annotations"] == {"a": "own", "b": "common"}


@pytest.mark.parametrize("values", [{"nameOverride": "nodes"}, {"fullnameOverride": "other-nodes"}])
def test_another_name_is_used_everywhere(valid: Render, one: One, values: Object) -> None:
    made = valid(EVERYTHING | values, name="other") + valid(
        values | {"journal": VOLUME, "podMonitor": {"enabled": True}}, name="other"
    )

    assert all(o["metadata"]["name"].startswith("other-nodes") for o in made)
    backend = one(made, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
    assert backend == "other-nodes"
    assert one(made, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"] == "other-nodes"


# --- ways to the pods ------------------------------------------------------------------------


def test_an_ingress_leads_to_the_service_on_every_path(valid: Render, one: One) -> None:
    hosts = [
        {"host": "a.example"},
        {"host": "*.b.example", "paths": [{"path": "/runbooks"}, {"path": "/", "pathType": "Exact"}]},
    ]
    tls = [{"secretName": "tls", "hosts": ["a.example"]}]
    made = valid({"ingress": {"enabled": True, "className": "nginx", "hosts": hosts, "tls": tls}})
    spec, service = one(made, "Ingress")["spec"], one(made, "Service")
    paths = [
        (rule["host"], path["path"], path["pathType"], path["backend"]["service"])
        for rule in spec["rules"]
        for path in rule["http"]["paths"]
    ]
    backend = {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}

    assert paths == [
        ("a.example", "/", "Prefix", backend),
        ("*.b.example", "/runbooks", "Prefix", backend),
        ("*.b.example", "/", "Exact", backend),
    ]
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", tls)


def test_a_route_leads_to_the_service(valid: Render, one: One) -> None:
    parents = [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    matches = [{"path": {"type": "PathPrefix", "value": "/runbooks"}}]
    values = {"enabled": True, "parentRefs": parents, "hostnames": ["a.example"], "matches": matches}
    made = valid({"httpRoute": values, "service": {"port": 80}})
    spec = one(made, "HTTPRoute")["spec"]

    assert (spec["parentRefs"], spec["hostnames"]) == (parents, ["a.example"])
    assert spec["rules"] == [{"backendRefs": [{"name": "ginkgo-ginkgo-exporter", "port": 80}], "matches": matches}]


def test_pushed_alerts_link_to_the_external_address(valid: Render, one: One) -> None:
    made = valid({"externalUrl": "https://ginkgo.example.org"})

    assert config_of(made, one)["web"]["external-url"] == "https://ginkgo.example.org"
    assert "external-url" not in config_of(valid({}), one)["web"]


# --- journal ---------------------------------------------------------------------------------


def test_the_journal_is_off_by_default(valid: Render, one: One) -> None:
    made = valid({})

    assert "journal" not in config_of(made, one)
    assert "journal" not in {v["name"] for v in pod_of(made)["volumes"]}


def test_each_pod_has_a_journal_of_its_own_that_outlives_its_container(valid: Render, one: One) -> None:
    made = valid({"replicaCount": 2, "journal": {"enabled": True, "maxSize": "5MB"}})
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "journal"]
    (mount,) = [m for m in container_of(made)["volumeMounts"] if m["name"] == "journal"]

    assert volume == {"name": "journal", "emptyDir": {}}
    assert config_of(made, one)["journal"] == {"file": f"{mount['mountPath']}/journal", "max-size": "5MB"}
    assert not mount.get("readOnly")
    assert one(made, "Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"


@pytest.mark.parametrize(("given", "storage_class"), [("", None), ("fast", "fast"), ("-", "")])
def test_a_journal_on_a_persistent_volume_outlives_its_pod(
    valid: Render, one: One, given: str, storage_class: str | None
) -> None:
    made = valid({"journal": {"enabled": True, "persistence": {"enabled": True, "storageClass": given}}})
    claim = one(made, "PersistentVolumeClaim")
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "journal"]

    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"].get("storageClassName") == storage_class
    assert claim["spec"]["resources"]["requests"]["storage"] == "100Mi"
    # A volume that one host mounts would keep the new pod waiting for the old pod's end.
    assert one(made, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_a_claim_of_yours_is_used(valid: Render) -> None:
    made = valid({"journal": {"enabled": True, "persistence": {"enabled": True, "existingClaim": "mine"}}})
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "journal"]

    assert volume["persistentVolumeClaim"]["claimName"] == "mine"
    assert "PersistentVolumeClaim" not in {o["kind"] for o in made}
