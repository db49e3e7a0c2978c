"""The documents' commands, typed without a change by a newcomer who has read nothing else."""

import re
import shlex
from collections.abc import Callable
from typing import Any

import helm_python
import pytest
import yaml
from conftest import EXPORT, INSTALL, SERVE
from reader import DOCUMENTS, PATIENCE, Reader, blocks, commands, get

from lab.nodes import metrics_key
from lab.servers import RedisServer, wait_for

Promise = Callable[[Reader, str, pytest.FixtureRequest], None]

ALERTMANAGER = (
    "prometheus-alertmanager --config.file=alertmanager.yml --storage.path=build/alertmanager --cluster.listen-address="
)
HSET = (
    "redis-cli -u redis://redis.example:6379/0 HSET node:metrics:node-9 portfolio_count 3 queue_size 15 total_events 41"
)
HELM = (
    "helm install ginkgo-exporter helm/ginkgo-exporter --set redis.url=redis://redis:6379/0"
    " --set image.registry=registry.example"
)
NOT_HERE = {
    "make test": "runs this test",
    "make bench": "takes an hour; tests/benchmarks runs its parts",
    "python -m lab compare": "tests/benchmarks runs its short form",
    "make page-pictures": "needs npm and Chromium, as make dashboard-pictures does",
    "htpasswd -nBC 10 prometheus": "asks for a password; test_configurations.py takes such a hash",
    "make dashboard-pictures": "fetches Grafana's components from a package index",
    "apt-get install prometheus prometheus-alertmanager": "needs root; tests/install-servers installs them",
    "make site": "tests/documentation/test_site.py builds the site",
    "make docs": "tests/test_docs.py compares the tables that it writes",
    "git clone https://github.com/ginkgo-trading/ginkgo-exporter": "the reader's checkout is made from this tree",
    "cd ginkgo-exporter": "the reader is there already",
    "python3 -m venv .venv": "the reader's environment has the locked packages, since there is no package index",
    "pip install '.[reporter]'": "is the installation below with psutil, from a package index",
    "pip install --require-hashes -r requirements/runtime.txt": "fetches packages from an index",
    "ginkgo-exporter forget": "is a command's name in a text",
    "systemctl enable --now ginkgo-exporter": "needs systemd; tests/documentation/test_service.py checks the unit",
    "systemctl status": "is a command's name in a text",
    "systemctl reload": "is a command's name in a text",
    "helm test": "needs a cluster; tests/helm runs its pod as a process",
    "ginkgo-exporter explain": "is a command's name in a text",
    "ginkgo-exporter rules": "is a command's name in a text",
    "docker build --tag ginkgo-exporter .": "needs a registry of images; tests/image builds the image",
    "docker run --publish 19121:19121 ginkgo-exporter --redis.url redis://redis.example:6379/0": "as above",
    "docker compose up --build": "needs a registry of images; tests/image runs its services as processes",
    ALERTMANAGER: "listens on a fixed port; amtool checks its file",
}
"""Commands that are not run here, each with the reason."""


def says(pattern: str) -> Promise:
    """The command exits 0, and its output matches these patterns."""

    def kept(reader: Reader, command: str, _: pytest.FixtureRequest) -> None:
        said = reader.types(command)
        assert re.search(pattern, said, re.MULTILINE), said

    return kept


def serves(*patterns: str) -> Promise:
    """The command serves metrics with these lines, the page, the JSON and the probes, until Ctrl-C."""

    def kept(reader: Reader, command: str, request: pytest.FixtureRequest) -> None:
        with reader.keeps_running(command, request.getfixturevalue("tmp_path") / "log") as (process, url):

            def shown() -> bool:
                assert process.alive, process.output()
                text = get(f"{url}/metrics")
                return all(re.search(reader.here(pattern), text, re.MULTILINE) for pattern in patterns)

            wait_for(shown, f"for {patterns} from {command}", PATIENCE)
            assert all(get(url + path) for path in ("/", "/api/v1/nodes", "/-/healthy", "/-/ready"))
            if command.startswith("make"):
                where = f"metrics .*{url}/metrics"
                wait_for(lambda: re.search(where, process.output()), "to be told where to look", PATIENCE)

    return kept


def forgets(left: set[str], pattern: str) -> Promise:
    """The command exits 0, its output matches, and the hashes of these nodes are left."""

    def kept(reader: Reader, command: str, request: pytest.FixtureRequest) -> None:
        says(pattern)(reader, command, request)
        fleet: RedisServer = request.getfixturevalue("fleet")
        with fleet.client() as client:
            assert {name for name in ("node-7", "node-8") if client.exists(metrics_key(name))} == left

    return kept


def pushes(reader: Reader, command: str, request: pytest.FixtureRequest) -> None:
    """Both Alertmanagers accept the command's posts."""
    request.getfixturevalue("alertmanagers")
    took = r'^ginkgo_bridge_posts_total\{alertmanager="http://alertmanager-%d:9093[^}]*result="ok"\} [1-9]'
    serves("^ginkgo_bridge_active 1", took % 0, took % 1)(reader, command, request)


def renders(reader: Reader, command: str, _: pytest.FixtureRequest) -> None:
    """Helm's own engine renders the command's values; there is no cluster to install them in."""
    install, name, chart, *settings = shlex.split(command)[1:]
    assert install == "install"
    assert settings[::2] == ["--set"] * (len(settings) // 2)
    values: dict[str, Any] = {}
    for setting in settings[1::2]:
        (section, key), value = (part.split(".") if not i else part for i, part in enumerate(setting.split("=", 1)))
        values.setdefault(section, {})[key] = value
    helm_python.lint(reader.folder / chart, values=values, strict=True)
    with helm_python.Chart.load(reader.folder / chart) as loaded:
        made = loaded.render(values, name=name, namespace="default")
    texts = [text for path, text in made.items() if path.endswith(".yaml")]
    kinds = {item["kind"] for text in texts for item in yaml.safe_load_all(text) if item}
    assert {"Deployment", "Service", "Secret"} <= kinds


def explains(reader: Reader, command: str, request: pytest.FixtureRequest) -> None:
    """The command tells of a node of the demo that runs on this machine."""
    folder = request.getfixturevalue("tmp_path")
    with reader.keeps_running("make demo", folder / "log") as (_, url):
        here = f"GINKGO_EXPORTER_WEB_LISTEN_ADDRESS={url.removeprefix('http://')} {command}"
        told = r"(?s)Now it is online.*demo-node-2.*is seen for the first time: online.*PTTL"
        wait_for(lambda: get(f"{url}/-/ready"), "for the demo", PATIENCE)
        wait_for(lambda: re.search(told, reader.types(here)), "for the node", PATIENCE)


def pushes_from_the_demo(reader: Reader, command: str, request: pytest.FixtureRequest) -> None:
    """The demo posts to the Alertmanager that the command names."""
    request.getfixturevalue("alertmanagers")
    address = reader.places["alertmanager-0:9093"]
    with reader.keeps_running(
        command.replace("localhost:9093", address), request.getfixturevalue("tmp_path") / "log"
    ) as (_, url):
        took = r'ginkgo_bridge_posts_total\{.*result="ok"\} [1-9]'
        wait_for(lambda: re.search(took, get(f"{url}/metrics")), "for a post", PATIENCE)


def prints_rules(reader: Reader, command: str, _: pytest.FixtureRequest) -> None:
    """The command reads the first settings of the page on rules, and prints what they say."""
    settings = next(block for block in blocks("docs/how-to/rules.md") if block.language == "yaml")
    (reader.folder / "rules.yml").write_text(settings.text)
    assert reader.types(command) == ""
    printed = (reader.folder / command.rpartition("> ")[2]).read_text()
    assert "https://ginkgo-exporter.example.org/runbooks/" in printed or 'team="trading"' in printed


PROMISES: list[tuple[str, Promise]] = [
    ("make demo", serves(r'(?s)(^ginkgo_node_up\{node_id="demo-node-\d"\} 1\n){5}')),
    (".venv/bin/python -m exporter explain demo-node-2", explains),
    (".venv/bin/python -m exporter demo --alertmanager.url http://localhost:9093", pushes_from_the_demo),
    (". .venv/bin/activate", says("")),
    (INSTALL, says("Successfully installed ginkgo-exporter")),
    ("ginkgo-exporter check --redis.url redis://redis.example:6379/0", says("^redis: good, a master with 4 nodes")),
    (SERVE, serves(r'^ginkgo_node_up\{node_id="node-1"\} 1')),
    (f"{SERVE} --alertmanager.url http://alertmanager-0:9093 --alertmanager.url http://alertmanager-1:9093", pushes),
    (EXPORT, says("")),
    ("ginkgo-exporter check", says("^redis: good")),
    ("ginkgo-exporter nodes", says(r"(?s)offline.*node-7.*online.*node-1")),
    ("ginkgo-exporter nodes --exporter.url http://localhost:19121", says(r"(?s)offline.*node-8.*online.*node-2")),
    ("ginkgo-exporter portfolios", says("")),
    (
        "ginkgo-exporter explain node-7 --exporter.url http://localhost:19121",
        says(r"(?s)Node node-7.*What was seen, the oldest first:.*Its page:\n  No"),
    ),
    ("ginkgo-exporter forget node-7 node-8", forgets({"node-7", "node-8"}, r"node-7.*would be deleted")),
    ("ginkgo-exporter forget node-7 node-8 --yes", forgets(set(), r"node-7.*deleted")),
    (
        "ginkgo-exporter forget --offline-longer-than 24h --exporter.url http://localhost:19121 --yes",
        forgets(set(), ""),
    ),
    (
        "redis-cli -u redis://redis.example:6379/0 SET heartbeat:node:node-9 2026-01-06T12:30:45+00:00 EX 30",
        says("^OK$"),
    ),
    (HSET, says("^3$")),
    (
        "redis-cli -u redis://redis.example:6379/0 DEL heartbeat:node:node-9 node:metrics:node-9",
        says("^2$"),
    ),
    ('eval "$(ginkgo-exporter --print-completion bash)"', says("")),
    (HELM, renders),
    ("ginkgo-exporter rules --config.file rules.yml > ginkgo.rules.yml", prints_rules),
    ("ginkgo-exporter rules --config.file rules.yml --tests > ginkgo.test.yml", prints_rules),
    ("promtool test rules ginkgo.test.yml", says("SUCCESS")),
]
"""The documents' commands in an order in which they work one after the other, each with a check of its effect."""


def test_every_command_of_the_documents_is_run_here_or_has_a_reason_not_to_be() -> None:
    assert sorted(commands(*DOCUMENTS)) == sorted([*NOT_HERE, *(line for line, _ in PROMISES)])


@pytest.mark.parametrize(("command", "promise"), PROMISES, ids=[line.replace("/", "|") for line, _ in PROMISES])
def test_command_does_what_the_documents_say(
    command: str, promise: Promise, reader: Reader, request: pytest.FixtureRequest
) -> None:
    promise(reader, command, request)
