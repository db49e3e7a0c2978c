"""The chart's objects: valid for Kubernetes, restricted, found by their selectors, and changed as values say."""

import json
from pathlib import Path

import helm_python
from chart import CHART, CI, ROOT, Object, chart, config_of, container_of, one, pod_of, render, valid

EVERYTHING: Object = {
    "alertmanager": {"urls": ["http://a"]},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "ingress": {"enabled": True, "hosts": [{"host": "ginkgo.example.org"}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
}
JOURNAL: Object = {"enabled": True, "persistence": {"enabled": True}}
"""With EVERYTHING, and a PodMonitor, an object of each kind."""


def test_each_values_file_lints_strictly_and_its_objects_are_valid_and_find_each_other() -> None:
    for name, values in CI.items():
        report = helm_python.lint(CHART, values, strict=True)
        assert (report["errors"], report["messages"]) == ([], []), name
        made = valid(values, name="a-release-with-a-name-of-fifty-three-characters-long")
        assert {"Deployment", "Service", "Secret"} <= {o["kind"] for o in made}
        names = [(o["apiVersion"], o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made]
        assert len(set(names)) == len(names)
        assert max(len(each[3]) for each in names) <= 63
        pod = one(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
        selectors = [
            one(made, "Deployment")["spec"]["selector"]["matchLabels"],
            one(made, "Service")["spec"]["selector"],
        ]
        for found in made:
            if found["kind"] in ("PodMonitor", "PodDisruptionBudget", "NetworkPolicy"):
                selector = found["spec"].get("selector") or found["spec"]["podSelector"]
                selectors.append(selector["matchLabels"])
        assert all(selector.items() <= pod.items() for selector in selectors), name


def test_the_pods_pass_the_restricted_pod_security_standard_and_no_crd_is_needed_by_default() -> None:
    """The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    volumes |= {"projected", "secret"}
    for name, values in CI.items():
        made = render(values)
        for pod in [pod_of(made, kind) for kind in ("Deployment", "Pod") if kind in {o["kind"] for o in made}]:
            assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"}
            assert all(set(v) - {"name"} <= volumes for v in pod.get("volumes", []))
            security = pod["securityContext"]
            assert not security.keys() & {"seLinuxOptions", "sysctls", "windowsOptions", "appArmorProfile"}
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] > 0
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                security = container["securityContext"]
                assert security["allowPrivilegeEscalation"] is False, name
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert security.keys() <= {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
                assert all("hostPort" not in port for port in container.get("ports", []))
    made = render()
    assert {o["apiVersion"] for o in made} <= {"v1", "apps/v1"}
    assert container_of(made)["securityContext"]["readOnlyRootFilesystem"] is True
    assert (pod_of(made)["automountServiceAccountToken"], pod_of(made)["enableServiceLinks"]) == (False, False)
    assert one(made, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_packaged_chart_has_its_linked_files_and_fits_into_a_release_secret(tmp_path: Path) -> None:
    # Helm keeps chart and manifests, compressed and in base64, in one Secret of at most 1 MiB.
    archive = Path(chart().save(tmp_path))
    values = {"redis": {"url": "redis://a"}, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
    with helm_python.Chart.load_archive(archive.read_bytes()) as packaged:
        made = packaged.render(values, name="ginkgo", namespace="trading")
    assert made == chart().render(values, name="ginkgo", namespace="trading")
    assert archive.stat().st_size + len(json.dumps(render(values))) / 4 < 500_000


def test_an_image_comes_from_the_parent_charts_registry_by_tag_or_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    for image, registry, name in (
        ({}, "", "ginkgo-exporter:1.2.3"),
        ({"registry": "a.example"}, "", "a.example/ginkgo-exporter:1.2.3"),
        ({"registry": "a.example"}, "mirror.example/x/", "mirror.example/x/ginkgo-exporter:1.2.3"),
        ({"digest": digest}, "mirror.example", f"mirror.example/ginkgo-exporter@{digest}"),
        ({"repository": "b/c"}, "mirror.example", "mirror.example/b/c:1.2.3"),
    ):
        made = valid({"image": {"tag": "1.2.3"} | image, "global": {"imageRegistry": registry, "storageClass": "x"}})
        assert container_of(made)["image"] == pod_of(made, "Pod")["containers"][0]["image"] == name
    made = valid({"imagePullSecrets": ["a", {"name": "b"}], "global": {"imagePullSecrets": ["c", {"name": "a"}]}})
    for kind in ("Deployment", "Pod"):
        assert [s["name"] for s in pod_of(made, kind)["imagePullSecrets"]] == ["c", "a", "b"]


def test_names_namespaces_labels_and_annotations_of_the_values_reach_every_object() -> None:
    common = {"commonLabels": {"team": "trading"}, "commonAnnotations": {"owner": "trading"}}
    more = {"podMonitor": {"enabled": True}, "journal": JOURNAL}
    for names in ({"nameOverride": "nodes"}, {"fullnameOverride": "other-nodes"}):
        changed = common | names | {"namespaceOverride": "elsewhere"}
        made = valid(EVERYTHING | {"replicaCount": 2} | changed, name="other", namespace="here")
        for found in made + valid(more | changed, name="other", namespace="here"):
            about = found["metadata"]
            assert about["labels"]["team"] == about["annotations"]["owner"] == "trading", found["kind"]
            assert (about["namespace"], about["name"][:11]) == ("elsewhere", "other-nodes")
        backend = one(made, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
        assert backend == one(made, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"] == "other-nodes"
        assert one(made, "ServiceMonitor")["spec"]["namespaceSelector"]["matchNames"] == ["elsewhere"]
        assert "namespace=elsewhere" in config_of(made)["alertmanager"]["label"]
        assert all(".elsewhere.svc:" in word for word in pod_of(made, "Pod")["containers"][0]["args"][1:])
    own = {"commonAnnotations": {"a": "common", "b": "common"}, "service": {"annotations": {"a": "own"}}}
    assert one(valid(own), "Service")["metadata"]["annotations"] == {"a": "own", "b": "common"}
    made = valid({"namespaceOverride": "a", "prometheusRule": {"enabled": True, "namespace": "b"}})
    assert one(made, "PrometheusRule")["metadata"]["namespace"] == "b"


def test_an_ingress_and_a_route_lead_to_the_service() -> None:
    hosts = [
        {"host": "a.example"},
        {"host": "*.b.example", "paths": [{"path": "/runbooks"}, {"path": "/", "pathType": "Exact"}]},
    ]
    tls = [{"secretName": "tls", "hosts": ["a.example"]}]
    made = valid({"ingress": {"enabled": True, "className": "nginx", "hosts": hosts, "tls": tls}})
    spec, service = one(made, "Ingress")["spec"], one(made, "Service")
    backend = {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    paths = [
        (rule["host"], path["path"], path["pathType"])
        for rule in spec["rules"]
        for path in rule["http"]["paths"]
        if path["backend"]["service"] == backend
    ]
    assert paths == [
        ("a.example", "/", "Prefix"),
        ("*.b.example", "/runbooks", "Prefix"),
        ("*.b.example", "/", "Exact"),
    ]
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", tls)
    parents = [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    matches = [{"path": {"type": "PathPrefix", "value": "/runbooks"}}]
    values = {"enabled": True, "parentRefs": parents, "hostnames": ["a.example"], "matches": matches}
    spec = one(valid({"httpRoute": values, "service": {"port": 80}}), "HTTPRoute")["spec"]
    assert (spec["parentRefs"], spec["hostnames"]) == (parents, ["a.example"])
    assert spec["rules"] == [{"backendRefs": [{"name": "ginkgo-ginkgo-exporter", "port": 80}], "matches": matches}]


def test_a_journal_outlives_its_container_and_on_a_persistent_volume_its_pod() -> None:
    made = valid({})
    assert "journal" not in {*config_of(made), *(v["name"] for v in pod_of(made)["volumes"])}
    made = valid({"replicaCount": 2, "journal": {"enabled": True, "maxSize": "5MB"}})
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "journal"]
    (mount,) = [m for m in container_of(made)["volumeMounts"] if m["name"] == "journal"]
    assert (volume["emptyDir"], mount.get("readOnly")) == ({}, None)
    assert config_of(made)["journal"] == {"file": f"{mount['mountPath']}/journal", "max-size": "5MB"}
    assert one(made, "Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    for given, storage_class in (("", None), ("fast", "fast"), ("-", "")):
        made = valid({"journal": {"enabled": True, "persistence": {"enabled": True, "storageClass": given}}})
        claim = one(made, "PersistentVolumeClaim")
        (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "journal"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert claim["spec"].get("storageClassName") == storage_class
        assert claim["spec"]["resources"]["requests"]["storage"] == "100Mi"
        # A volume that one host mounts would keep the new pod waiting for the old pod's end.
        assert one(made, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    made = valid({"journal": {"enabled": True, "persistence": {"enabled": True, "existingClaim": "mine"}}})
    assert "mine" in json.dumps(pod_of(made)["volumes"])
    assert "PersistentVolumeClaim" not in {o["kind"] for o in made}


def test_values_of_the_pods_and_the_container_are_passed_on() -> None:
    volume, mount = {"name": "scratch", "emptyDir": {}}, {"name": "scratch", "mountPath": "/scratch"}
    beside = {"name": "beside", "image": "beside:1", "volumeMounts": [mount]}
    pod = {
        "hostAliases": [{"ip": "10.0.0.5", "hostnames": ["redis"]}],
        "dnsPolicy": "ClusterFirst",
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "trading", "operator": "Exists"}],
        "affinity": {"podAffinity": {}},
    }
    container = {
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-c", "pass"]}}},
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    }
    more = {"extraContainers": [beside], "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    made = valid(pod | container | more | {"extraArgs": ["--log.level=debug"]})
    assert {name: pod_of(made)[name] for name in pod} == pod
    assert {name: container_of(made)[name] for name in container} == container
    assert container_of(made)["args"] == ["--log.level=debug"]
    assert pod_of(made)["containers"] == [container_of(made), beside]
    assert volume in pod_of(made)["volumes"]
    assert mount in container_of(made)["volumeMounts"]


def test_helm_test_asks_the_exporter_and_no_service_selects_it() -> None:
    made = valid({"config": {"web": {"telemetry-path": "/scrape"}}, "web": {"existingSecret": "w", "scheme": "https"}})
    test, service = one(made, "Pod"), one(made, "Service")
    (container,) = test["spec"]["containers"]
    address = "https://ginkgo-ginkgo-exporter.trading.svc:19121"
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert container["command"] == ["python", "-m", "exporter.commands.healthcheck"]
    assert container["args"] == ["--seconds=60", f"{address}/-/ready"]
    assert test["spec"]["restartPolicy"] == "Never"
    assert not service["spec"]["selector"].items() <= test["metadata"]["labels"].items()
    made = valid({"tests": {"enabled": False}, "networkPolicy": {"enabled": True}})
    assert "Pod" not in {o["kind"] for o in made}
    assert len(one(made, "NetworkPolicy")["spec"]["ingress"]) == 1


def test_monitors_make_the_job_and_scrape_where_the_exporter_serves_whatever_the_release_is_called() -> None:
    web = {"config": {"web": {"telemetry-path": "/scrape"}}, "web": {"existingSecret": "web", "scheme": "https"}}
    for release, names in (("ginkgo", {}), ("prod-eu", {"nameOverride": "nodes"}), ("a", {"fullnameOverride": "else"})):
        made = render(web | names | {"serviceMonitor": {"enabled": True, "namespace": "monitoring"}}, name=release)
        monitor, service = one(made, "ServiceMonitor"), one(made, "Service")
        (endpoint,) = monitor["spec"]["endpoints"]
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ginkgo-exporter"
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
        assert monitor["metadata"]["namespace"] == "monitoring"
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        assert (endpoint["path"], endpoint["scheme"]) == ("/scrape", "https")
        assert container_of(made)["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
        made = render(web | names | {"podMonitor": {"enabled": True}}, name=release)
        monitor, pod = one(made, "PodMonitor"), one(made, "Deployment")["spec"]["template"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert pod["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ginkgo-exporter"
        assert endpoint["port"] in [port["name"] for port in container_of(made)["ports"]]
    # While Redis is down no pod is ready, and Prometheus must see its ginkgo_redis_up 0.
    assert one(render(), "Service")["spec"]["publishNotReadyAddresses"] is True


def test_replicas_are_spread_disrupted_one_by_one_and_never_resolve_each_others_alerts() -> None:
    made = render()
    assert "PodDisruptionBudget" not in {o["kind"] for o in made}
    assert "topologySpreadConstraints" not in pod_of(made)
    made = render({"replicaCount": 2, "alertmanager": {"urls": ["http://a"]}})
    deployment = one(made, "Deployment")["spec"]
    (constraint,) = pod_of(made)["topologySpreadConstraints"]
    assert one(made, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert constraint["labelSelector"] == deployment["selector"]
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    alone = one(render({"alertmanager": {"urls": ["http://a"], "soleWriter": True}}), "Deployment")
    assert alone["spec"]["strategy"] == {"type": "Recreate"}
    own = {"matchLabels": {"a": "b"}}
    given = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    made = render({"topologySpreadConstraints": [given, given | {"labelSelector": own}]})
    selectors = [c["labelSelector"] for c in pod_of(made)["topologySpreadConstraints"]]
    assert selectors == [one(made, "Deployment")["spec"]["selector"], own]


def allowed(policy: Object, way: str) -> set[tuple[str, object]]:
    """Return the peers and ports that a policy allows: ``ingress`` or ``egress``."""
    side = {"ingress": "from", "egress": "to"}[way]
    return {
        (json.dumps(peer, sort_keys=True), port["port"])
        for rule in policy["spec"][way]
        for peer in rule.get(side, ["anywhere"])
        for port in rule["ports"]
    }


def test_the_network_policy_allows_only_the_connections_that_are_needed() -> None:
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
    policy = one(render(values), "NetworkPolicy")
    to_redis, to_alertmanager = (json.dumps(peer, sort_keys=True) for peer in (data, monitoring))
    helm_test = {"app.kubernetes.io/name": "ginkgo-exporter-test", "app.kubernetes.io/instance": "ginkgo"}
    tester = json.dumps({"podSelector": {"matchLabels": helm_test}}, sort_keys=True)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert allowed(policy, "ingress") == {(to_alertmanager, "http"), (tester, "http")}
    alertmanagers = {(to_alertmanager, port) for port in (9093, 9094, 443)}
    assert allowed(policy, "egress") == {('"anywhere"', 53), (to_redis, 6390)} | alertmanagers


def test_the_network_policy_finds_the_ports_of_redis() -> None:
    sentinel = {"url": ["redis://s:26379"], "mode": "sentinel", "sentinelMaster": "m"}
    cluster = {"url": ["redis://c:7000"], "mode": "cluster"}
    secret = {"existingSecret": "s", "existingSecretUrlKey": "u"}
    for redis, given, ports in (
        ({"url": "redis://redis"}, {}, {6379}),
        ({"url": "redis://:p:w@redis/0"}, {}, {6379}),
        ({"url": "rediss://u:p@ss:1/x@redis:6390/0"}, {}, {6390}),
        ({"url": "redis://[::1]:7000"}, {}, {7000}),
        ({"url": "redis://[::1]/2"}, {}, {6379}),
        ({"url": ["redis://a:26379", "redis://b:26379"], "mode": "cluster"}, {}, {26379}),
        ({"url": "unix:///run/redis.sock"}, {}, set()),
        (secret, {"ports": [7000, 7001]}, {7000, 7001}),
        (sentinel, {}, {26379, 6379}),
        (sentinel, {"memberPorts": [6380]}, {26379, 6380}),
        (secret | {"mode": "sentinel", "sentinelMaster": "m"}, {}, {26379, 6379}),
        (cluster, {"memberPorts": [7001, 7002]}, {7000, 7001, 7002}),
        (cluster, {}, {7000}),
        (cluster, {"ports": [1], "memberPorts": [2]}, {1, 2}),
    ):
        policy = one(valid({"redis": redis, "networkPolicy": {"enabled": True, "redis": given}}), "NetworkPolicy")
        assert allowed(policy, "egress") == {('"anywhere"', port) for port in (53, *ports)}, (redis, given)


def test_the_chart_has_the_dashboards_of_the_project_and_they_link_to_the_exporters_address() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "grafana/dashboards").glob("*.json")}
    made = [o for o in render({"dashboards": {"enabled": True}}) if o["kind"] == "ConfigMap"]
    texts = {name: text for o in made for name, text in o["data"].items()}
    assert sources
    assert {name: text.strip() for name, text in texts.items()} == {n: text.strip() for n, text in sources.items()}
    assert all(o["metadata"]["labels"]["grafana_dashboard"] == "1" for o in made)
    linked = render({"dashboards": {"enabled": True}, "externalUrl": "https://ginkgo.example.org/"})
    assert config_of(linked)["web"]["external-url"] == "https://ginkgo.example.org/"
    for text in (text for o in linked if o["kind"] == "ConfigMap" for text in o["data"].values()):
        (address,) = [each for each in json.loads(text)["templating"]["list"] if each["name"] == "exporter"]
        assert address["query"] == address["current"]["value"] == "https://ginkgo.example.org"
        assert "localhost:19121" not in text


def test_extra_manifests_may_use_templates() -> None:
    manifests = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a"}},
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ include "ginkgo-exporter.fullname" . }}-b}',
    ]
    made = render({"extraManifests": manifests}, name="other")
    assert {"other-a", "other-ginkgo-exporter-b"} <= {o["metadata"]["name"] for o in made}


def test_a_new_version_of_the_chart_alone_restarts_no_pod() -> None:
    assert "helm.sh/chart" not in json.dumps(one(render(EVERYTHING), "Deployment")["spec"])
    assert "helm.sh/chart" in one(render(EVERYTHING), "Deployment")["metadata"]["labels"]
