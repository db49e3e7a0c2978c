"""What the chart says: Chart.yaml, the notes after an installation, passwords, and the files that `sync.py` writes."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from chart import CHART, CI, ROOT, Object, config_of, container_of, one, pod_of, render, secret_of, texts

from lab.servers import binary

ABOUT: Object = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))


def test_artifact_hub_can_read_the_chart_and_it_agrees_with_the_project() -> None:
    home, about = ABOUT["home"], ABOUT["annotations"]
    assert [home] == ABOUT["sources"]
    (image,) = yaml.safe_load(about["artifacthub.io/images"])
    assert image["image"] == f"ghcr.io/ginkgo-trading/ginkgo-exporter:{ABOUT['appVersion']}"
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "--platform " + ",".join(image["platforms"]) in release
    for link in yaml.safe_load(about["artifacthub.io/links"]):
        place = link["url"].removeprefix(home).removeprefix("/tree/main").removeprefix("/blob/main")
        assert place == "/issues" or (ROOT / place.lstrip("/")).exists(), link


# --- notes -----------------------------------------------------------------------------------


def notes(values: Object) -> str:
    return next(text for path, text in texts(values, name="other").items() if path.endswith("NOTES.txt"))


def test_the_notes_name_objects_that_exist_and_no_value_that_is_already_set() -> None:
    for name, values in CI.items():
        objects = {f"{o['kind'].lower()}/{o['metadata']['name']}" for o in render(values, name="other")}
        named = set(re.findall(r"\b(?:deployment|service)/\S+", notes(values)))
        assert len(named) == 2, name
        assert named <= objects, name
    rules, push = {"prometheusRule": {"enabled": True}}, {"alertmanager": {"urls": ["http://a"]}}
    everything = notes({"serviceMonitor": {"enabled": True}} | rules | push)
    assert "--set" not in everything
    assert "alertmanager.urls" not in everything
    assert "prometheusRule.enabled" in notes({})
    assert "alertmanager.urls" in notes(rules)
    text = notes({"externalUrl": "https://ginkgo.example.org", "namespaceOverride": "elsewhere"})
    assert "People find the nodes on https://ginkgo.example.org/ ." in text
    # Helm looks for a release in the release's namespace, kubectl for the objects in theirs.
    assert "helm test other --namespace trading --logs" in text
    assert "kubectl -n elsewhere rollout status" in text
    assert "People" not in notes({})
    assert "helm test" not in notes({"tests": {"enabled": False}})


@pytest.mark.server("promtool")
def test_prometheus_accepts_the_scrape_that_the_notes_propose(tmp_path: Path) -> None:
    web = {"web": {"existingSecret": "web", "scheme": "https"}, "config": {"web": {"telemetry-path": "/scrape"}}}
    for values in ({}, {"replicaCount": 2}, web):
        block = re.search(r"^ +scrape_configs:\n(?: {6,}.*\n)+", notes(values), re.MULTILINE)
        assert block
        (tmp_path / "prometheus.yml").write_text(textwrap.dedent(block[0]), encoding="utf-8")
        subprocess.run([binary("promtool"), "check", "config", tmp_path / "prometheus.yml"], check=True)
        assert "job_name: ginkgo-exporter" in block[0]


# --- passwords -------------------------------------------------------------------------------


def test_passwords_are_only_in_secrets_and_files() -> None:
    url = "redis://exporter:hunter2@redis:6390/0"
    everything = {"replicaCount": 2, "alertmanager": {"urls": ["https://alertmanager"]}} | {
        name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "networkPolicy")
    }
    made = render({"redis": {"url": url}} | everything)
    assert config_of(made)["redis"]["url"] == [url]
    assert "hunter2" not in json.dumps([o for o in made if o["kind"] != "Secret"])
    assert not any("hunter2" in text for text in texts({"redis": {"url": url}} | everything).values())

    made = render({"redis": {"url": "redis://redis:6379/0", "existingSecret": "mine"}})
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "redis"]
    (mount,) = [m for m in container_of(made)["volumeMounts"] if m["name"] == "redis"]
    assert volume["secret"]["secretName"] == "mine"
    assert volume["secret"]["items"] == [{"key": "redis-password", "path": "password"}]
    assert config_of(made)["redis"]["password-file"] == f"{mount['mountPath']}/password"

    made = render({"redis": {"existingSecret": "mine", "existingSecretUrlKey": "url"}})
    reference = {"secretKeyRef": {"name": "mine", "key": "url"}}
    assert {"name": "GINKGO_EXPORTER_REDIS_URL", "valueFrom": reference} in container_of(made)["env"]
    assert "url" not in config_of(made)["redis"]


def test_a_changed_configuration_rolls_the_pods() -> None:
    def annotations(values: Object) -> Object:
        found: Object = one(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations({}) == annotations({})
    assert annotations({}) != annotations({"config": {"log": {"level": "debug"}}})
    assert annotations({}) != annotations({"alerts": {"labels": {"a": "b"}}, "alertmanager": {"urls": ["http://a"]}})
    assert secret_of(render({}))


# --- what sync.py writes ---------------------------------------------------------------------


def test_a_file_that_differs_from_its_source_is_noticed_and_repaired(tmp_path: Path) -> None:
    def sync(*arguments: str, root: Path = tmp_path) -> tuple[int, str]:
        command = [sys.executable, str(root / "helm" / "sync.py"), *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return run.returncode, run.stdout + run.stderr

    assert sync("--check", root=ROOT) == (0, "")
    for name in ("alerts", "helm", "exporter"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    version = (ROOT / "exporter" / "__init__.py").read_text(encoding="utf-8")
    for path, old, new in (
        ("alerts/ginkgo.rules.yml", "groups:", "# more\ngroups:"),
        ("alerts/ginkgo.rules.template.yml", "default: 120", "default: 130"),
        ("helm/ginkgo-exporter/values.yaml", "# -- Labels for every alert", "# -- Labels of every alert"),
        ("exporter/__init__.py", version.partition("__version__ = ")[2].splitlines()[0], '"9.9.9"'),
    ):
        text = (tmp_path / path).read_text(encoding="utf-8")
        assert old in text, path
        (tmp_path / path).write_text(text.replace(old, new), encoding="utf-8")
        assert sync("--check")[0] == 1, path
        assert "written" in sync()[1], path
        assert sync("--check") == (0, ""), path
    with (tmp_path / "helm/ginkgo-exporter/values.yaml").open("a", encoding="utf-8") as values:
        values.write("undocumented: 1\n")
    assert "undocumented has no comment" in sync("--check")[1]


SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

WRONG: list[Object] = yaml.safe_load((Path(__file__).parent / "wrong-values.yaml").read_text(encoding="utf-8"))


def refusal(values: Object) -> str:
    """Return why the chart refuses values."""
    with pytest.raises(helm_python.HelmError) as refused:
        texts(values)
    return str(refused.value)


def test_wrong_values_are_refused_with_the_reason() -> None:
    failures = [(each["title"], said) for each in WRONG if each["reason"] not in (said := refusal(each["values"]))]
    assert failures == []


def test_config_takes_off_where_the_exporter_does() -> None:
    for name in ("forget-after", "forget-rehomed-after"):
        assert texts({"config": {"nodes": {name: "off"}}}), name


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
