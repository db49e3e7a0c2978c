"""Wrong values are refused with the reason, and the schema has every value."""

import json
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml
from chart import CHART, CI, Object, texts

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

PUSH = {"urls": ["http://alertmanager:9093"]}

WRONG: list[tuple[str, Object, str]] = [
    ("no address of Redis", {"redis": {}}, "redis.url is not set: say which Redis to read"),
    ("an unknown value", {"replicas": 2}, "additional properties 'replicas' not allowed"),
    ("an unknown inner value", {"redis": {"uri": "x"}}, "'/redis': additional properties 'uri' not allowed"),
    ("text for a number", {"replicaCount": "2"}, "'/replicaCount': got string, want integer"),
    ("text for a switch", {"serviceMonitor": {"enabled": "yes"}}, "'/serviceMonitor/enabled': got string"),
    ("another scheme", {"redis": {"url": "http://redis"}}, "redis.url must begin with redis://"),
    ("an Alertmanager without a scheme", {"alertmanager": {"urls": ["am:9093"]}}, "must begin with http://"),
    (
        "an unknown mode",
        {"redis": {"url": "redis://a", "mode": "ring"}},
        "'/redis/mode': value must be one of",
    ),
    (
        "Sentinel without a master",
        {"redis": {"url": "redis://a", "mode": "sentinel"}},
        "redis.sentinelMaster",
    ),
    ("two addresses of one Redis", {"redis": {"url": ["redis://a", "redis://b"]}}, "redis.mode standalone"),
    (
        "a key without a Secret",
        {"redis": {"existingSecretUrlKey": "url"}},
        "say in redis.existingSecret which Secret",
    ),
    (
        "two addresses from two places",
        {"redis": {"url": "redis://a", "existingSecret": "s", "existingSecretUrlKey": "url"}},
        "both say where Redis is",
    ),
    (
        "half a client certificate",
        {"redis": {"url": "rediss://a", "tls": {"existingSecret": "s", "certKey": "tls.crt"}}},
        "belong together",
    ),
    ("TLS without TLS", {"redis": {"url": "redis://a", "tls": {"existingSecret": "s"}}}, "rediss://"),
    (
        "a setting that has a chart value",
        {"config": {"redis": {"url": "redis://a"}}},
        "'/config/redis': additional properties 'url' not allowed",
    ),
    ("an unknown setting", {"config": {"redis": {"time-out": "5s"}}}, "'time-out' not allowed"),
    ("a duration without a unit", {"config": {"heartbeat": {"ttl": "30"}}}, "'/config/heartbeat/ttl'"),
    ("a flag of the chart", {"extraArgs": ["--redis.url=redis://b"]}, "extraArgs: --redis.url is set by"),
    ("a flag of push", {"extraArgs": ["--alertmanager.label=a=b"]}, "--alertmanager.label is set by"),
    ("a flag of mass losses", {"extraArgs": ["--mass-loss.nodes=5"]}, "--mass-loss.nodes is set by"),
    ("a share of all nodes", {"massLoss": {"ratio": 1}}, "'/massLoss/ratio'"),
    ("a mass loss of no node", {"massLoss": {"many": 0}}, "'/massLoss/many'"),
    ("an unknown part of a mass loss", {"massLoss": {"hold": "15s"}}, "'hold' not allowed"),
    ("a mass loss among the settings", {"config": {"mass-loss": {"nodes": 5}}}, "'mass-loss' not allowed"),
    ("a flag in two parts", {"extraArgs": ["--log.level debug"]}, "'/extraArgs/0'"),
    (
        "a variable of the chart",
        {"extraEnv": [{"name": "GINKGO_EXPORTER_REDIS_URL", "value": "redis://b"}]},
        "extraEnv: GINKGO_EXPORTER_REDIS_URL is set by",
    ),
    (
        "a variable of mass losses",
        {"extraEnv": [{"name": "GINKGO_EXPORTER_MASS_LOSS_NODES", "value": "5"}]},
        "GINKGO_EXPORTER_MASS_LOSS_NODES is set by",
    ),
    (
        "two monitors",
        {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
        "would scrape every exporter twice",
    ),
    (
        "a sole writer beside rules",
        {"alertmanager": PUSH | {"soleWriter": True}, "prometheusRule": {"enabled": True}},
        "prometheusRule.enabled lets Prometheus send them",
    ),
    (
        "two sole writers",
        {"alertmanager": PUSH | {"soleWriter": True}, "replicaCount": 2},
        "alertmanager.soleWriter allows one exporter",
    ),
    (
        "a budget that forbids every drain",
        {"replicaCount": 2, "podDisruptionBudget": {"minAvailable": 2}},
        "no node could ever be drained",
    ),
    (
        "an unknown alert",
        {"alerts": {"rules": {"GinkgoNodeOfline": {"enabled": False}}}},
        "alerts.rules.GinkgoNodeOfline: there is no such alert; there are",
    ),
    ("an unknown change", {"alerts": {"rules": {"GinkgoNoNodes": {"fro": "5m"}}}}, "'fro' not allowed"),
    ("an unknown severity", {"alerts": {"pushed": {"severity": "page"}}}, "'/alerts/pushed/severity'"),
    (
        "an unknown threshold",
        {"alerts": {"rules": {"GinkgoQueueGrowing": {"thresholds": {"size": 1}}}}},
        "thresholds.size: there is no such threshold; there are: predictedSize, queueSize",
    ),
    (
        "a threshold of an alert without any",
        {"alerts": {"rules": {"GinkgoNoNodes": {"thresholds": {"size": 1}}}}},
        "there are: none",
    ),
    (
        "a threshold beside an expression that has none",
        {"alerts": {"rules": {"GinkgoQueueGrowing": {"expr": "vector(1)", "thresholds": {"queueSize": 1}}}}},
        "expr replaces the whole expression",
    ),
    (
        "one severity for the rule, another for the push",
        {"alerts": {"rules": {"GinkgoNodeOffline": {"severity": "info"}}}},
        "'/alerts/rules/GinkgoNodeOffline': additional properties 'severity' not allowed",
    ),
    (
        "labels for the rule that the push does not have",
        {"alerts": {"rules": {"GinkgoMassHeartbeatLoss": {"labels": {"a": "b"}}}}},
        "additional properties 'labels' not allowed",
    ),
    (
        "a delay of an alert that is pushed at once",
        {"alertmanager": PUSH, "alerts": {"rules": {"GinkgoNodeOffline": {"for": "5m"}}}},
        "the exporter pushes this alert too",
    ),
    ("a label that tells alerts apart", {"alerts": {"labels": {"node_id": "a"}}}, "'/alerts/labels/node_id'"),
    ("another job", {"alertmanager": PUSH | {"labels": {"job": "a"}}}, "'/alertmanager/labels/job'"),
    ("no label of Prometheus", {"alerts": {"labels": {"a-b": "c"}}}, "'a-b' not allowed"),
    ("a label of the chart", {"commonLabels": {"app.kubernetes.io/name": "a"}}, "'/commonLabels/app.kuber"),
    ("an invalid digest", {"image": {"digest": "latest"}}, "'/image/digest'"),
    (
        "a persistent volume without a journal",
        {"journal": {"persistence": {"enabled": True}}},
        "but journal.enabled makes none",
    ),
    (
        "two exporters for one volume",
        {"replicaCount": 2, "journal": {"enabled": True, "persistence": {"enabled": True}}},
        "journal.persistence allows one exporter",
    ),
    ("a relative journal", {"journal": {"file": "journal"}}, "'/journal/file'"),
    ("a size without a unit", {"journal": {"maxSize": "10"}}, "'/journal/maxSize'"),
    ("a journal among the settings", {"config": {"journal": {"file": "/j/j"}}}, "'journal' not allowed"),
    ("a flag of the journal", {"extraArgs": ["--journal.file=/j/j"]}, "--journal.file is set by"),
    ("an address of people without a scheme", {"externalUrl": "ginkgo"}, "'/externalUrl'"),
    ("an ingress for no host", {"ingress": {"enabled": True}}, "say in ingress.hosts under which name"),
    ("a host that is a URL", {"ingress": {"hosts": [{"host": "https://a"}]}}, "'/ingress/hosts/0/host'"),
    ("a route of no gateway", {"httpRoute": {"enabled": True}}, "say in httpRoute.parentRefs by which gateway"),
    ("a nameless pull secret", {"global": {"imagePullSecrets": [{}]}}, "'/global/imagePullSecrets/0'"),
    ("a privileged port", {"containerPort": 80}, "'/containerPort'"),
]


def refusal(values: Object) -> str:
    """Return why the chart refuses values."""
    with pytest.raises(helm_python.HelmError) as refused:
        texts(values)
    return str(refused.value)


def test_wrong_values_are_refused_with_the_reason() -> None:
    failures = [(title, said) for title, values, reason in WRONG if reason not in (said := refusal(values))]
    assert failures == []


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


def test_values_of_every_kind_are_in_a_ci_file() -> None:
    # The templates pass these values on and do not decide by them, so no file of ci/ needs them.
    plain = {"livenessProbe", "readinessProbe", "startupProbe", "resources", "podSecurityContext"}
    plain |= {"securityContext", "fullnameOverride", "terminationGracePeriodSeconds"}
    assert set(VALUES) - set().union(*CI.values()) == plain
