"""``check`` against an Alertmanager that is well, one that is not there, and one that wants another password."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import bcrypt
import pytest
from push_stack import Stack

from lab.proxy import Fault
from lab.servers import free_port

pytestmark = pytest.mark.server("prometheus-alertmanager")


def check(stack: Stack, *flags: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "exporter", "check", "--redis.url", stack.redis().url, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def guarded(tmp_path: Path) -> str:
    """A web configuration that wants a password."""
    password = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    path = tmp_path / "web.yml"
    path.write_text(json.dumps({"basic_auth_users": {"bridge": password}}))
    return f"--web.config.file={path}"


def test_check_says_that_alertmanager_takes_posts(stack: Stack) -> None:
    alertmanager = stack.alertmanager(stack.webhook())
    code, text = check(stack, "--alertmanager.url", alertmanager.url)
    assert f"alertmanager {alertmanager.url}: good, it took an empty post\n" in text
    assert code == 0


def test_check_fails_where_no_alertmanager_listens(stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    good = stack.alertmanager(stack.webhook())
    code, text = check(stack, "--alertmanager.url", url, "--alertmanager.url", good.url)
    assert f"alertmanager {url}: " in text
    assert "refused" in text
    assert "Date" not in text
    assert f"alertmanager {good.url}: good" in text
    assert code == 1


def test_check_compares_the_labels_that_prometheus_adds_with_those_of_pushed_alerts(stack: Stack) -> None:
    """Prometheus adds external labels to all of its alerts; GinkgoWatchdog shows them."""
    alertmanager = stack.alertmanager(stack.webhook())
    code, text = check(stack, "--alertmanager.url", alertmanager.url)
    assert (code, f"alertmanager {alertmanager.url}: note: it has no alert GinkgoWatchdog" in text) == (0, True)
    labels = {"alertname": "GinkgoWatchdog", "severity": "none", "cluster": "tokyo", "env": "prod"}
    body = json.dumps([{"labels": labels}]).encode()
    request = Request(f"{alertmanager.url}/api/v2/alerts", body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request) as answer:  # noqa: S310
        assert answer.status == 200
    flags = ("--alertmanager.url", alertmanager.url, "--alertmanager.label", "env=prod")
    code, text = check(stack, *flags)
    assert code == 1
    assert "must be changed: Prometheus writes its alerts there with cluster=tokyo, and" in text
    assert "Give --alertmanager.label=cluster=tokyo." in text
    code, text = check(stack, *flags, "--alertmanager.label", "cluster=tokyo")
    assert (code, "must be" in text or "GinkgoWatchdog" in text) == (0, False)


def test_check_names_a_label_that_replaces_one_of_the_rules(stack: Stack) -> None:
    _, text = check(stack, "--alertmanager.url", "http://127.0.0.1:9", "--alertmanager.label", "severity=page")
    assert "configuration: note: --alertmanager.label severity=page replaces severity=critical of the rules" in text


@pytest.mark.parametrize(
    ("date", "said"),
    [
        (b"Wed, 25 Nov 2020 12:00:00 GMT", r"good, it took an empty post; but the Date of its answers is \d+ s behind"),
        (None, "good, it took an empty post; but its answers have no readable Date"),
    ],
)
def test_check_says_that_a_clock_is_wrong(stack: Stack, date: bytes | None, said: str) -> None:
    proxy = stack.proxy(stack.alertmanager(stack.webhook()).port)
    proxy.fault = Fault(turn=lambda reply: re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: " + date if date else b"", reply))
    code, text = check(stack, "--alertmanager.url", f"http://127.0.0.1:{proxy.port}")
    assert re.search(said, text)
    assert "so alerts end by its resolve_timeout" in text
    assert code == 0


@pytest.mark.parametrize(("password", "expected"), [("right", 0), ("wrong", 1)])
def test_check_fails_with_a_wrong_password(
    stack: Stack, guarded: str, tmp_path: Path, password: str, expected: int
) -> None:
    alertmanager = stack.alertmanager(stack.webhook(), flags=(guarded,))
    config = tmp_path / "http.yml"
    config.write_text(json.dumps({"basic_auth": {"username": "bridge", "password": password}}))
    code, text = check(stack, "--alertmanager.url", alertmanager.url, "--alertmanager.config-file", str(config))
    assert code == expected
    assert ("good" if expected == 0 else "HTTP 401") in text.split(alertmanager.url)[1]
    assert password not in text.replace(str(tmp_path), "")
