"""Names, selectors, monitors, replicas, network and dashboards of the chart's objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Object = dict[str, Any]
Render = Callable[..., list[Object]]
One = Callable[..., Object]


def test_everything_selects_the_pods(render: Render, one: One, ci_values: Object) -> None:
    made = render(ci_values, name="other")
    pod = one(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [one(made, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [one(made, "Service")["spec"]["selector"]]
    for found in made:
        if found["kind"] in ("PodMonitor", "PodDisruptionBudget"):
            selectors.append(found["spec"]["selector"]["matchLabels"])
        if found["kind"] == "NetworkPolicy":
            selectors.append(found["spec"]["podSelector"]["matchLabels"])

    assert all(selector.items() <= pod.items() for selector in selectors)


# --- monitors --------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, {"nameOverride": "nodes"}, {"fullnameOverride": "something-else"}])
@pytest.mark.parametrize("release", ["ginkgo", "prod-eu"])
def test_a_service_monitor_makes_the_job_whatever_the_release_is_called(
    render: Render, one: One, release: str, values: Object
) -> None:
    made = render(values | {"serviceMonitor": {"enabled": True, "namespace": "monitoring"}}, name=release)
    monitor, service = one(made, "ServiceMonitor"), one(made, "Service")
    (endpoint,) = monitor["spec"]["endpoints"]

    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ginkgo-exporter"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.parametrize("release", ["ginkgo", "prod-eu"])
def test_a_pod_monitor_makes_the_job_whatever_the_release_is_called(render: Render, one: One, release: str) -> None:
    made = render({"podMonitor": {"enabled": True}, "nameOverride": "nodes"}, name=release)
    monitor, pod = one(made, "PodMonitor"), one(made, "Deployment")["spec"]["template"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    assert pod["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ginkgo-exporter"
    assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]


def test_a_monitor_scrapes_where_the_exporter_serves(render: Render, one: One) -> None:
    made = render(
        {
            "config": {"web": {"telemetry-path": "/scrape"}},
            "web": {"existingSecret": "web", "scheme": "https"},
            "serviceMonitor": {"enabled": True},
        }
    )
    (endpoint,) = one(made, "ServiceMonitor")["spec"]["endpoints"]
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]

    assert (endpoint["path"], endpoint["scheme"]) == ("/scrape", "https")
    assert container["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_a_pod_that_is_not_ready_is_scraped(render: Render, one: One) -> None:
    # While Redis is down no pod is ready, and Prometheus must see its ginkgo_redis_up 0.
    assert one(render(), "Service")["spec"]["publishNotReadyAddresses"] is True


# --- replicas --------------------------------------------------------------------------------


def test_one_replica_has_no_disruption_budget_and_no_spread(render: Render, one: One) -> None:
    made = render()

    assert "PodDisruptionBudget" not in {o["kind"] for o in made}
    assert "topologySpreadConstraints" not in one(made, "Deployment")["spec"]["template"]["spec"]


def test_more_replicas_are_spread_and_disrupted_one_by_one(render: Render, one: One) -> None:
    made = render({"replicaCount": 2})
    deployment = one(made, "Deployment")["spec"]
    (constraint,) = deployment["template"]["spec"]["topologySpreadConstraints"]

    assert one(made, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert constraint["labelSelector"] == deployment["selector"]
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_constraint_without_a_selector_gets_that_of_the_pods(render: Render, one: One) -> None:
    own = {"matchLabels": {"a": "b"}}
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    values = {"topologySpreadConstraints": [constraint, constraint | {"labelSelector": own}]}
    deployment = one(render(values), "Deployment")["spec"]
    selectors = [c["labelSelector"] for c in deployment["template"]["spec"]["topologySpreadConstraints"]]

    assert selectors == [deployment["selector"], own]


def test_two_exporters_never_resolve_each_other_s_alerts(render: Render, one: One) -> None:
    """Several exporters never resolve an alert. An exporter that resolves alerts is alone, also in a rollout."""
    several = one(render({"replicaCount": 2, "alertmanager": {"urls": ["http://a"]}}), "Deployment")
    alone = one(render({"alertmanager": {"urls": ["http://a"], "soleWriter": True}}), "Deployment")

    assert several["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert alone["spec"]["strategy"] == {"type": "Recreate"}


# --- network ---------------------------------------------------------------------------------


def allowed(rules: list[Object], side: str) -> set[tuple[str, object]]:
    return {
        (json.dumps(peer, sort_keys=True), port["port"])
        for rule in rules
        for peer in rule.get(side, ["anywhere"])
        for port in rule["ports"]
    }


def test_the_network_policy_allows_only_the_connections_that_are_needed(render: Render, one: One) -> None:
    data, monitoring = ({"podSelector": {"matchLabels": {"app": app}}} for app in ("redis", "monitoring"))
    values = {
        "redis": {"url": "redis://redis:6390/0"},
        "alertmanager": {"urls": ["http://a:9093", "http://b:9094", "https://c"]},
        "networkPolicy": {
            "enabled": True,
            "scrapers": [monitoring],
            "redis": {"to": [data]},
            "alertmanager": {"to": [monitoring]},
        },
    }
    policy = one(render(values), "NetworkPolicy")["spec"]
    to_redis, to_alertmanager = (json.dumps(peer, sort_keys=True) for peer in (data, monitoring))

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    helm_test = {"app.kubernetes.io/name": "ginkgo-exporter-test", "app.kubernetes.io/instance": "ginkgo"}
    tester = json.dumps({"podSelector": {"matchLabels": helm_test}}, sort_keys=True)
    assert allowed(policy["ingress"], "from") == {(to_alertmanager, "http"), (tester, "http")}
    assert allowed(policy["egress"], "to") == {
        ('"anywhere"', 53),
        (to_redis, 6390),
        (to_alertmanager, 9093),
        (to_alertmanager, 9094),
        (to_alertmanager, 443),
    }


def test_without_push_the_network_policy_has_no_rule_for_alertmanager(render: Render, one: One) -> None:
    policy = one(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]

    assert allowed(policy["egress"], "to") == {('"anywhere"', 53), ('"anywhere"', 6379)}


def test_ports_can_be_given_if_the_address_does_not_name_them(render: Render, one: One) -> None:
    values = {
        "redis": {"existingSecret": "mine", "existingSecretUrlKey": "url"},
        "networkPolicy": {"enabled": True, "redis": {"ports": [7000, 7001]}},
    }
    policy = one(render(values), "NetworkPolicy")["spec"]

    assert allowed(policy["egress"], "to") == {('"anywhere"', port) for port in (53, 7000, 7001)}


@pytest.mark.parametrize(
    ("redis", "given", "ports"),
    [
        ({"url": ["redis://s:26379"], "mode": "sentinel", "sentinelMaster": "m"}, {}, {26379, 6379}),
        (
            {"url": ["redis://s:26379"], "mode": "sentinel", "sentinelMaster": "m"},
            {"memberPorts": [6380]},
            {26379, 6380},
        ),
        ({"url": ["redis://c:7000"], "mode": "cluster"}, {"memberPorts": [7001, 7002]}, {7000, 7001, 7002}),
        ({"url": ["redis://c:7000"], "mode": "cluster"}, {}, {7000}),
        (
            {"existingSecret": "s", "existingSecretUrlKey": "u", "mode": "sentinel", "sentinelMaster": "m"},
            {},
            {26379, 6379},
        ),
        ({"url": ["redis://c:7000"], "mode": "cluster"}, {"ports": [1], "memberPorts": [2]}, {1, 2}),
    ],
)
def test_the_network_policy_opens_the_servers_that_sentinel_and_cluster_name(
    valid: Render, one: One, redis: Object, given: Object, ports: set[int]
) -> None:
    policy = one(valid({"redis": redis, "networkPolicy": {"enabled": True, "redis": given}}), "NetworkPolicy")["spec"]

    assert allowed(policy["egress"], "to") == {('"anywhere"', port) for port in (53, *ports)}


# --- the rest --------------------------------------------------------------------------------


def test_the_chart_has_the_dashboards_of_the_project(render: Render, root: Path) -> None:
    sources = {path.name: path for path in (root / "grafana" / "dashboards").glob("*.json")}
    made = [o for o in render({"dashboards": {"enabled": True}}) if o["kind"] == "ConfigMap"]
    texts = {name: text for o in made for name, text in o["data"].items()}

    assert sources
    assert {name: text.strip() for name, text in texts.items()} == {
        name: path.read_text(encoding="utf-8").strip() for name, path in sources.items()
    }
    assert all(o["metadata"]["labels"]["grafana_dashboard"] == "1" for o in made)


def test_dashboards_link_to_the_address_of_the_exporter(render: Render) -> None:
    values = {"dashboards": {"enabled": True}, "externalUrl": "https://ginkgo.example.org/"}
    texts = [text for o in render(values) if o["kind"] == "ConfigMap" for text in o["data"].values()]
    for dashboard in map(json.loads, (text for text in texts if '"schemaVersion"' in text)):
        (address,) = [one for one in dashboard["templating"]["list"] if one["name"] == "exporter"]
        assert address["query"] == address["current"]["value"] == "https://ginkgo.example.org"
    assert not any("localhost:19121" in text for text in texts if '"schemaVersion"' in text)


def test_a_digest_overrides_the_tag_of_the_image(render: Render, one: One) -> None:
    digest = f"sha256:{'0' * 64}"
    image = {"registry": "registry.example.org", "tag": "1", "digest": digest}
    (container,) = one(render({"image": image}), "Deployment")["spec"]["template"]["spec"]["containers"]

    assert container["image"] == f"registry.example.org/ginkgo-exporter@{digest}"


def test_extra_manifests_may_use_templates(render: Render) -> None:
    values = {
        "extraManifests": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a"}},
            'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ include "ginkgo-exporter.fullname" . }}-b}',
        ]
    }

    assert {"other-a", "other-ginkgo-exporter-b"} <= {o["metadata"]["name"] for o in render(values, name="other")}
