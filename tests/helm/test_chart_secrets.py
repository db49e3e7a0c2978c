"""Passwords are only in Secrets: no argument, variable, annotation or note shows a password."""

import base64
import json
from collections.abc import Callable
from typing import Any

import helm_python
import pytest
import yaml

Object = dict[str, Any]
Render = Callable[..., list[Object]]

URL = "redis://exporter:hunter2@redis:6390/0"
SECRETIVE = {
    "redis": {"url": URL},
    "alertmanager": {"urls": ["https://alertmanager"]},
    "replicaCount": 2,
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "networkPolicy": {"enabled": True},
}


def config_of(secret: Object) -> Any:
    return yaml.safe_load(base64.b64decode(secret["data"]["config.yaml"]))


def test_a_password_in_an_address_is_only_in_a_secret(
    chart: helm_python.Chart, render: Render, one: Callable[..., Object]
) -> None:
    made = render(SECRETIVE)
    secret = one(made, "Secret")

    assert config_of(secret)["redis"]["url"] == [URL]
    assert "hunter2" not in json.dumps([o for o in made if o is not secret])
    assert not any("hunter2" in text for text in chart.render(SECRETIVE).values())


def test_a_password_from_a_secret_reaches_the_exporter_as_a_file(render: Render, one: Callable[..., Object]) -> None:
    made = render({"redis": {"url": "redis://redis:6379/0", "existingSecret": "mine"}})
    pod = one(made, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "redis"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "redis"]

    assert volume["secret"]["secretName"] == "mine"
    assert volume["secret"]["items"] == [{"key": "redis-password", "path": "password"}]
    assert config_of(one(made, "Secret"))["redis"]["password-file"] == f"{mount['mountPath']}/password"


def test_an_address_from_a_secret_is_a_reference(render: Render, one: Callable[..., Object]) -> None:
    made = render({"redis": {"existingSecret": "mine", "existingSecretUrlKey": "url"}})
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]

    assert {
        "name": "GINKGO_EXPORTER_REDIS_URL",
        "valueFrom": {"secretKeyRef": {"name": "mine", "key": "url"}},
    } in container["env"]
    assert "url" not in config_of(one(made, "Secret"))["redis"]


def test_every_mounted_file_that_the_configuration_names_is_mounted(
    render: Render, one: Callable[..., Object], ci_values: Object
) -> None:
    made = render(ci_values)
    pod = one(made, "Deployment")["spec"]["template"]["spec"]
    config = config_of(one(made, "Secret"))
    named = [v for k, v in config["redis"].items() if k.endswith("-file")]
    named += [v for v in (config.get("alertmanager", {}).get("config-file"),) if v]
    named += [v for v in (config["web"].get("config", {}).get("file"),) if v]
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}

    assert {mounts[path.rpartition("/")[0]] for path in named} <= {v["name"] for v in pod["volumes"]}
    assert all(m["readOnly"] for m in pod["containers"][0]["volumeMounts"] if m["mountPath"].startswith("/etc"))


def test_a_changed_configuration_rolls_the_pods(render: Render, one: Callable[..., Object]) -> None:
    def annotations(values: Object) -> Object:
        found: Object = one(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations({}) == annotations({})
    assert annotations({}) != annotations({"config": {"log": {"level": "debug"}}})
    assert annotations({}) != annotations({"alerts": {"labels": {"a": "b"}}, "alertmanager": {"urls": ["http://a"]}})


@pytest.mark.parametrize(
    ("urls", "ports"),
    [
        ("redis://redis", [6379]),
        ("redis://:p:w@redis/0", [6379]),
        ("rediss://u:p@ss:1/x@redis:6390/0", [6390]),
        ("redis://[::1]:7000", [7000]),
        ("redis://[::1]/2", [6379]),
        (["redis://a:26379", "redis://b:26379"], [26379]),
        ("unix:///run/redis.sock", None),
    ],
)
def test_the_network_policy_finds_the_ports_of_redis(
    render: Render, one: Callable[..., Object], urls: str | list[str], ports: list[int] | None
) -> None:
    mode = "cluster" if isinstance(urls, list) else "standalone"
    made = render({"redis": {"url": urls, "mode": mode}, "networkPolicy": {"enabled": True}})
    dns, *rest = one(made, "NetworkPolicy")["spec"]["egress"]

    assert {p["port"] for p in dns["ports"]} == {53}
    assert [[p["port"] for p in rule["ports"]] for rule in rest] == ([ports] if ports else [])
