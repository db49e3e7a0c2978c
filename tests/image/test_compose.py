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
PAGES = """
import asyncio, sys
from exporter.demo.receiver import Receiver
async def main():
    Receiver("127.0.0.1", int(sys.argv[1]), lambda line: print(line, flush=True))
    await asyncio.Event().wait()
asyncio.run(main())
"""
"""The service `pages` on a port of the test's own."""


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def mounts(service: Service) -> Iterator[tuple[str, str]]:
    for volume in service.get("volumes", []):
        source, target, mode = volume.split(":")
        assert mode == "ro"
        yield source, target


@pytest.mark.server("docker-compose")
def test_docker_compose_accepts_the_file_whose_services_start_in_order_without_privileges(
    root: Path, services: dict[str, Service]
) -> None:
    command = [binary("docker-compose"), "--file", str(root / "compose.yaml"), "config", "--format", "json"]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    order: list[str] = []
    while left := [name for name in services if name not in order and set(needs[name]) <= set(order)]:
        order += left
    assert set(order) == set(services)  # no circle
    assert order.index("pages") < order.index("alertmanager") < order.index("exporter") < order.index("nodes")
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert all((root / source).exists() for source, _ in mounts(service))
        assert "build" not in service or (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_alertmanager_routes_as_the_example_does(root: Path) -> None:
    ours = yaml.safe_load((root / "compose" / "alertmanager.yml").read_text(encoding="utf-8"))
    example = yaml.safe_load((root / "alerts" / "alertmanager.example.yml").read_text(encoding="utf-8"))
    for route in example["route"]["routes"]:
        route.pop("mute_time_intervals", None)  # a demo shows tickets at any hour
    assert (ours["route"], ours["inhibit_rules"]) == (example["route"], example["inhibit_rules"])


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
            "pages": [sys.executable, "-c", PAGES, pages.partition(":")[2]],
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
        told = "dead-mans-switch is told: FIRING GinkgoWatchdog"
        wait_for(lambda: told in (tmp_path / "pages.log").read_text(), f"for the watchdog: {tmp_path}")
        checks = [services[name]["healthcheck"]["test"][1:] for name in ("exporter", "pages")]
        for check in checks:
            asked = [local(word, {"127.0.0.1:19121": exporter, "127.0.0.1:8080": pages}) for word in check[1:]]
            subprocess.run([sys.executable, *asked], check=True, timeout=60)

    assert {rule["name"] for group in rules for rule in group["rules"]} >= {"GinkgoNodeOffline", "GinkgoWatchdog"}
    assert [found["url"] for found in known] == [f"http://{alertmanager}/api/v2/alerts"]
