"""compose.yaml is valid, mounts existing files, and its commands and configurations work together as processes."""

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.servers import Process, binary, free_port, running_redis, wait_for

Service = dict[str, Any]


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def mounts(service: Service) -> Iterator[tuple[str, str]]:
    for volume in service.get("volumes", []):
        source, target, mode = volume.split(":")
        assert mode == "ro"
        yield source, target


def docker_compose(file: Path) -> subprocess.CompletedProcess[str]:
    command = [binary("docker-compose"), "--file", str(file), "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.server("docker-compose")
def test_docker_compose_accepts_the_file(root: Path) -> None:
    checked = docker_compose(root / "compose.yaml")

    assert checked.returncode == 0, checked.stderr
    assert set(json.loads(checked.stdout)["services"]) == {
        *("valkey", "nodes", "exporter", "pages", "prometheus", "alertmanager", "grafana"),
    }


def test_each_service_starts_when_the_services_that_it_needs_are_healthy(services: dict[str, Service]) -> None:
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    order: list[str] = []
    while left := [name for name in services if name not in order and set(needs[name]) <= set(order)]:
        order += left

    assert set(order) == set(services)  # no circle
    for needed in needs.values():
        for name, how in needed.items():
            assert how == {"condition": "service_healthy"}
            assert "test" in services[name]["healthcheck"], name
    assert order.index("pages") < order.index("alertmanager") < order.index("exporter") < order.index("nodes")


def test_the_terminal_shows_only_what_happens_and_what_arrives(services: dict[str, Service]) -> None:
    assert {name for name, service in services.items() if service.get("attach", True)} == {"nodes", "pages"}


@pytest.mark.server("docker-compose")
def test_docker_compose_notices_a_misspelt_key(root: Path, tmp_path: Path) -> None:
    text = (root / "compose.yaml").read_text(encoding="utf-8")
    (tmp_path / "compose.yaml").write_text(text.replace("depends_on", "depend_on"), encoding="utf-8")

    checked = docker_compose(tmp_path / "compose.yaml")

    assert checked.returncode != 0
    assert "depend_on" in checked.stderr


def test_all_mounted_files_exist(root: Path, services: dict[str, Service]) -> None:
    sources = [root / source for service in services.values() for source, _ in mounts(service)]

    assert len(sources) == 5
    assert all(source.exists() for source in sources)


def test_only_this_machine_reaches_the_ports(services: dict[str, Service]) -> None:
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))


def test_services_of_this_project_run_without_privileges(services: dict[str, Service]) -> None:
    built = [service for service in services.values() if "build" in service]

    assert len(built) == 3
    for service in built:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_the_nodes_image_is_built_from_locked_requirements(root: Path, services: dict[str, Service]) -> None:
    name = services["nodes"]["build"]["args"]["REQUIREMENTS"]
    lock = (root / "requirements" / f"{name}.txt").read_text(encoding="utf-8")

    assert "ARG REQUIREMENTS=" in (root / "Dockerfile").read_text(encoding="utf-8")
    assert "psutil==" in lock
    assert "--hash=sha256:" in lock


def test_grafana_finds_its_dashboards_and_prometheus(root: Path, services: dict[str, Service]) -> None:
    targets = {target: source for source, target in mounts(services["grafana"])}
    provisioning = root / targets["/etc/grafana/provisioning"]
    (providers,) = (yaml.safe_load(path.read_text()) for path in (provisioning / "dashboards").glob("*.y*ml"))
    (sources,) = (yaml.safe_load(path.read_text()) for path in (provisioning / "datasources").glob("*.y*ml"))
    (folder,) = (provider["options"]["path"] for provider in providers["providers"])

    assert list((root / targets[folder]).glob("*.json"))
    assert [source["url"] for source in sources["datasources"]] == ["http://prometheus:9090"]


def test_alertmanager_routes_as_the_example_does(root: Path) -> None:
    ours = yaml.safe_load((root / "compose" / "alertmanager.yml").read_text(encoding="utf-8"))
    example = yaml.safe_load((root / "alerts" / "alertmanager.example.yml").read_text(encoding="utf-8"))

    for route in example["route"]["routes"]:
        route.pop("mute_time_intervals", None)  # a demo shows tickets at any hour
    assert ours["route"] == example["route"]
    assert ours["inhibit_rules"] == example["inhibit_rules"]
    assert {r["name"] for r in ours["receivers"]} == {r["name"] for r in example["receivers"]}


def test_amtool_accepts_alertmanager_s_configuration(root: Path) -> None:
    amtool = shutil.which("amtool")
    assert amtool, "it comes with prometheus-alertmanager"
    command: list[str | Path] = [amtool, "check-config", root / "compose" / "alertmanager.yml"]

    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def get(url: str) -> Any:
    try:
        asked = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=5) as reply:  # noqa: S310
            return json.load(reply)
    except OSError:
        return {}


def local(text: str, addresses: dict[str, str]) -> str:
    for host, address in addresses.items():
        text = text.replace(host, address)
    return text


@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
def test_the_services_work_together_as_processes(root: Path, services: dict[str, Service], tmp_path: Path) -> None:
    hosts = ("exporter:19121", "prometheus:9090", "alertmanager:9093", "pages:8080")
    addresses = {host: f"127.0.0.1:{free_port()}" for host in hosts}
    exporter, prometheus, alertmanager, pages = addresses.values()
    shutil.copytree(root / "alerts", tmp_path / "alerts")
    for name in ("prometheus", "alertmanager"):
        text = local((root / "compose" / f"{name}.yml").read_text(encoding="utf-8"), addresses)
        # Intervals of fifteen seconds would make the test slow.
        (tmp_path / f"{name}.yml").write_text(text.replace("_interval: 15s", "_interval: 1s"), encoding="utf-8")

    def command(name: str, program: list[str], *more: str) -> list[str]:
        targets = {target: tmp_path / Path(source).name for source, target in mounts(services[name])}
        given = [local(word, addresses) for word in services[name]["command"]]
        for target, source in targets.items():
            given = [word.replace(target, str(source)) for word in given]
        return [*program, *given, *more]

    python = [sys.executable, "-m", "exporter"]
    with ExitStack() as stack:
        server = stack.enter_context(running_redis(tmp_path / "valkey"))
        addresses["valkey:6379"] = f"127.0.0.1:{server.port}"
        for name, words in {
            "pages": [sys.executable, *services["pages"]["entrypoint"][1:], f"--listen={pages}"],
            "nodes": command("nodes", python),
            "exporter": command("exporter", python, f"--web.listen-address={exporter}"),
            "alertmanager": command(
                "alertmanager",
                [binary("prometheus-alertmanager")],
                *(f"--web.listen-address={alertmanager}", f"--storage.path={tmp_path / 'am'}"),
            ),
            "prometheus": command(
                "prometheus",
                [binary("prometheus")],
                *(f"--web.listen-address={prometheus}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"),
                # Alerts that were sent before Alertmanager was discovered are sent again, by default a minute later.
                "--rules.alert.resend-delay=1s",
            ),
        }.items():
            process = Process(words, tmp_path / f"{name}.log", cwd=tmp_path)
            stack.callback(process.stop)
        query = urllib.parse.quote('sum(ginkgo_node_up{job="ginkgo-exporter"}) == 5 and sum(ginkgo_bridge_active) == 1')

        def five_nodes_and_push() -> bool:
            found = get(f"http://{prometheus}/api/v1/query?query={query}")
            return bool(found and found["data"]["result"])

        wait_for(five_nodes_and_push, f"for Prometheus to see five nodes: {tmp_path}")
        rules = get(f"http://{prometheus}/api/v1/rules?type=alert")["data"]["groups"]
        known = get(f"http://{prometheus}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        # The alert that always fires has arrived.
        shown = wait_for(lambda: get(f"http://{pages}/").get("pages"), f"for the watchdog: {tmp_path}")
        checks = [services[name]["healthcheck"]["test"][1:] for name in ("exporter", "pages")]
        for check in checks:
            asked = [local(word, {"127.0.0.1:19121": exporter, "127.0.0.1:8080": pages}) for word in check[1:]]
            subprocess.run([sys.executable, *asked], check=True, timeout=60)

    assert ("dead-mans-switch", "GinkgoWatchdog") in {(page["receiver"], page["alertname"]) for page in shown}
    assert {rule["name"] for group in rules for rule in group["rules"]} >= {"GinkgoNodeOffline", "GinkgoWatchdog"}
    assert [found["url"] for found in known] == [f"http://{alertmanager}/api/v2/alerts"]
