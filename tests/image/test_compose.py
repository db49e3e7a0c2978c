"""compose.yaml is valid, mounts existing files, and its commands and configurations work together as processes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.servers import binary

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
