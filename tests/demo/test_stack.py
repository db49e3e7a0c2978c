import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from demos import FAST, Demo, assert_nothing_is_left, get

from exporter.bundled import bundled
from exporter.demo.stack import ROUTES, routed_to
from lab.servers import PATIENCE, binary, wait_for


@pytest.fixture
def stack(demo: Callable[..., Demo]) -> Callable[..., Demo]:
    """Start demos with the whole stack; skipped where its programs are not installed."""
    binary("prometheus")
    binary("prometheus-alertmanager")
    return lambda *flags: demo("--stack", *flags)


def wait_for_line(running: Demo, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
    def line() -> re.Match[str] | None:
        assert running.alive, running.output()
        return re.search(pattern, running.output(), re.MULTILINE)

    return wait_for(line, f"for {pattern}", patience)


def address(running: Demo, name: str) -> str:
    return wait_for_line(running, rf"^ *{name} +(http://[0-9.:]+)/")[1]


def firing(prometheus: str) -> list[dict[str, Any]]:
    alerts = json.loads(get(f"{prometheus}/api/v1/alerts"))["data"]["alerts"]
    return [alert["labels"] for alert in alerts if alert["state"] == "firing"]


class TestRoutes:
    example = yaml.safe_load(bundled(ROUTES).read_text())

    def test_are_those_of_the_example(self) -> None:
        ours = routed_to("http://127.0.0.1:1")
        assert ours["route"] == self.example["route"]
        assert ours["inhibit_rules"] == self.example["inhibit_rules"]
        assert [one["name"] for one in ours["receivers"]] == [one["name"] for one in self.example["receivers"]]

    def test_lead_to_the_demo_alone(self) -> None:
        ours = routed_to("http://127.0.0.1:1")
        assert "example.org" not in yaml.safe_dump(ours)
        for receiver in ours["receivers"]:
            assert set(receiver) == {"name", "webhook_configs"}
            assert receiver["webhook_configs"][0]["url"] == f"http://127.0.0.1:1/{receiver['name']}"

    @pytest.mark.server("amtool")
    def test_are_a_configuration_that_alertmanager_takes(self, tmp_path: Path) -> None:
        file = tmp_path / "alertmanager.yml"
        file.write_text(yaml.safe_dump(routed_to("http://127.0.0.1:1")))
        subprocess.run([binary("amtool"), "check-config", file], check=True)


@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
def test_crash_is_notified_once_by_push_and_rule_together(stack: Callable[..., Demo]) -> None:
    running = stack(*FAST)
    wait_for_line(running, r"pager is told: FIRING GinkgoNodeOffline \(critical\): Node demo-node-2 is offline", 40)
    prometheus, alertmanager = address(running, "Prometheus"), address(running, "Alertmanager")
    wait_for(lambda: any(alert["alertname"] == "GinkgoNodeOffline" for alert in firing(prometheus)), "for the rule")
    query = urllib.parse.urlencode({"filter": 'alertname="GinkgoNodeOffline"'})
    alerts = json.loads(get(f"{alertmanager}/api/v2/alerts?{query}"))
    assert [alert["labels"]["node_id"] for alert in alerts] == ["demo-node-2"]
    wait_for_line(running, "the exporter sees demo-node-2 online")
    pushed = re.compile(r'^ginkgo_bridge_alerts\{alertname="GinkgoNodeOffline"\} 0', re.MULTILINE)
    wait_for(lambda: pushed.search(get(f"http://127.0.0.1:{running.port}/metrics")), "for the push to end")
    assert running.output().count("FIRING GinkgoNodeOffline") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
def test_crash_and_return_are_one_firing_and_one_resolved_notice(stack: Callable[..., Demo]) -> None:
    running = stack()
    fired = wait_for_line(running, r"^\[ *(\d+):(\d+)\] pager is told: FIRING GinkgoNodeOffline", 90)
    assert (int(fired[1]), int(fired[2])) < (1, 0)
    wait_for_line(running, r"pager is told: RESOLVED GinkgoNodeOffline \(critical\): Node demo-node-2", 400)
    wait_for_line(running, r"dead-mans-switch is told: FIRING GinkgoWatchdog")
    assert running.output().count("FIRING GinkgoNodeOffline") == 1


@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stack_leaves_no_process_and_no_folder(stack: Callable[..., Demo], number: signal.Signals) -> None:
    running = stack()
    address(running, "Alertmanager")
    children = running.children()
    assert len(children) == 4  # the guard, Valkey, Prometheus, Alertmanager
    assert running.stop(number) in (0, -signal.SIGKILL)
    assert_nothing_is_left(running, children)
    assert "Traceback" not in running.output()


@pytest.mark.server("prometheus")
@pytest.mark.server("prometheus-alertmanager")
def test_logs_are_kept_where_they_are_asked_for_and_a_part_that_dies_is_named(
    stack: Callable[..., Demo], tmp_path: Path
) -> None:
    logs = tmp_path / "kept" / "logs"
    running = stack("--logs", str(logs))
    address(running, "Alertmanager")
    assert str(logs) in running.output()
    next(child for child in running.children() if child.name() == "prometheus").kill()
    assert running.wait() == 1
    assert running.output().strip().split("\n")[-1].startswith("ginkgo-exporter: prometheus ended: ")
    assert {file.name for file in logs.iterdir()} == {"alertmanager.log", "prometheus.log", "valkey.log"}
    wait_for(lambda: not list(running.temporary.iterdir()))


def refusal(*flags: str, path: str = os.environ["PATH"]) -> tuple[int, str]:
    command = [sys.executable, "-m", "exporter", "demo", "--stack", *flags]
    environment = {**os.environ, "PATH": path}
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    return result.returncode, result.stderr


def test_missing_programs_are_one_line_that_says_how_to_get_them(tmp_path: Path) -> None:
    advice = "on the PATH (Debian: apt-get install"
    both = f"--stack needs prometheus and alertmanager {advice} prometheus prometheus-alertmanager)"
    assert refusal(path=str(tmp_path)) == (1, f"ginkgo-exporter: {both}\n")
    program = tmp_path / "prometheus"
    program.touch(mode=0o755)
    one = f"--stack needs alertmanager {advice} prometheus-alertmanager)"
    assert refusal(path=str(tmp_path)) == (1, f"ginkgo-exporter: {one}\n")


def test_stack_without_an_exporter_that_it_can_scrape_is_refused(tmp_path: Path) -> None:
    code, text = refusal("--no-exporter")
    assert (code, text.count("\n")) == (2, 1)
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {}\n")
    code, text = refusal("--web.config.file", str(web))
    assert (code, text.count("\n")) == (2, 1)
    assert "--web.config.file" in text
