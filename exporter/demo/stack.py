"""The demo's Prometheus with the bundled rules, and its Alertmanager with the routes of the example."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self

import yaml

from exporter.bundled import RULES, bundled
from exporter.demo.children import Children, free_port
from exporter.errors import ExporterError
from exporter.settings import format_duration

ROUTES: Final = "alerts/alertmanager.example.yml"
_HOST: Final = "127.0.0.1"
_SCRAPE: Final = 5.0
"""Seconds between two scrapes and between two evaluations. They are shorter than usual to keep the demo quick."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths of the programs of the stack."""

    prometheus: str
    alertmanager: str

    @classmethod
    def find(cls) -> Self:
        """Find the programs on the PATH.

        Raises:
            ExporterError: A program is missing. The message says how to install it.
        """
        prometheus = shutil.which("prometheus")
        alertmanager = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")  # Debian's name
        if prometheus and alertmanager:
            return cls(prometheus, alertmanager)
        found = {"prometheus": prometheus, "prometheus-alertmanager": alertmanager}
        missing = [name for name, path in found.items() if not path]
        names = " and ".join(name.removeprefix("prometheus-") for name in missing)
        raise ExporterError(f"--stack needs {names} on the PATH (Debian: apt-get install {' '.join(missing)})")


async def start_alertmanager(children: Children, path: str, receiver: str) -> str:
    """Start an Alertmanager that notifies only the demo's receiver, and return its URL."""
    address = f"{_HOST}:{free_port(9093)}"
    config = children.folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump(routed_to(receiver), sort_keys=False), encoding="utf-8")
    child = children.start(
        "alertmanager",
        path,
        f"--config.file={config}",
        f"--storage.path={children.folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    await child.ready(_answers(f"http://{address}/-/ready"))
    return f"http://{address}"


async def start_prometheus(children: Children, path: str, exporter: str, alertmanager: str, speed: float) -> str:
    """Start a Prometheus that scrapes the exporter and evaluates the bundled rules, and return its URL.

    Args:
        children: Starts and stops the program.
        path: Path of the program.
        exporter: URL of the exporter's metrics.
        alertmanager: URL of the Alertmanager that gets the alerts.
        speed: Seconds of the demo's time in one real second.
    """
    address = f"{_HOST}:{free_port(9090)}"
    config = children.folder / "prometheus.yml"
    target, _, metrics_path = exporter.removeprefix("http://").partition("/")
    interval = format_duration(_SCRAPE / speed)
    settings = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(bundled(RULES))],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]},
        "scrape_configs": [
            {
                "job_name": "ginkgo-exporter",
                "metrics_path": f"/{metrics_path}",
                "static_configs": [{"targets": [target]}],
            }
        ],
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    child = children.start(
        "prometheus",
        path,
        f"--config.file={config}",
        f"--storage.tsdb.path={children.folder / 'prometheus'}",
        f"--web.listen-address={address}",
    )
    await child.ready(_answers(f"http://{address}/-/ready"))
    return f"http://{address}"


def routed_to(receiver: str) -> dict[str, Any]:
    """Return the example's configuration with its routes and inhibitions. All its receivers are the demo's receiver."""
    config: dict[str, Any] = yaml.safe_load(bundled(ROUTES).read_text(encoding="utf-8"))
    del config["global"]  # it has the addresses of the example's own receivers
    for one in config["receivers"]:
        kinds = [kind for kind in one if kind.endswith("_configs")]
        send_resolved = any(each["send_resolved"] for kind in kinds for each in one.pop(kind))
        one["webhook_configs"] = [{"url": f"{receiver}/{one['name']}", "send_resolved": send_resolved}]
    return config


def _answers(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - one of the two above
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, urllib.error.URLError):
            return False

    return answers
