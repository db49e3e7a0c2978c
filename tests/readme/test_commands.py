"""The README's commands, typed without a change by a newcomer who has read nothing else."""

import re
import shlex
from collections.abc import Callable
from typing import Any

import helm_python
import pytest
import yaml
from conftest import EXPORT, INSTALL, SERVE
from reader import PATIENCE, Reader, commands, get

from nodes import metrics_key
from servers import RedisServer, wait_for

Promise = Callable[[Reader, str, pytest.FixtureRequest], None]

NOT_HERE = {
    "make test": "runs this test",
    "make bench": "takes an hour; tests/benchmarks runs its parts",
    "make dashboard-pictures": "fetches Grafana's components from a package index",
    "apt-get install prometheus prometheus-alertmanager": "needs root; tests/install-servers installs them",
    "pip install 'ginkgo-exporter[reporter]'": "is the installation below with psutil, from a package index",
    "docker compose up --build": "needs a registry of images; tests/image runs its services as processes",
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


PROMISES: list[tuple[str, Promise]] = [
    ("make demo", serves(r'(?s)(^ginkgo_node_up\{node_id="demo-node-\d"\} 1\n){5}')),
    (INSTALL, says("Requirement already satisfied: ginkgo-exporter")),
    ("ginkgo-exporter check --redis.url redis://redis.example:6379/0", says("^redis: good, a master with 4 nodes")),
    (SERVE, serves(r'^ginkgo_node_up\{node_id="node-1"\} 1')),
    (EXPORT, says("")),
    ("ginkgo-exporter nodes", says(r"(?s)offline.*node-7.*online.*node-1")),
    ("ginkgo-exporter nodes --exporter.url http://localhost:19121", says(r"(?s)offline.*node-8.*online.*node-2")),
    ("ginkgo-exporter portfolios", says("")),
    ("ginkgo-exporter forget node-7 node-8", forgets({"node-7", "node-8"}, r"node-7.*would be deleted")),
    ("ginkgo-exporter forget node-7 node-8 --yes", forgets(set(), r"node-7.*deleted")),
    (
        "ginkgo-exporter forget --offline-longer-than 24h --exporter.url http://localhost:19121 --yes",
        forgets(set(), ""),
    ),
    ('eval "$(ginkgo-exporter --print-completion bash)"', says("")),
    (
        "ginkgo-exporter explain node-7 --exporter.url http://localhost:19121",
        says(r"(?s)Node node-7.*What was seen, the oldest first:.*Its page:\n  No"),
    ),
    (f"{SERVE} --alertmanager.url http://alertmanager-0:9093 --alertmanager.url http://alertmanager-1:9093", pushes),
    ("helm install ginkgo-exporter helm/ginkgo-exporter --set redis.url=redis://redis:6379/0", renders),
]
"""The README's commands in its order, each with a check of its effect."""


def test_every_command_of_the_readme_is_run_here_or_has_a_reason_not_to_be() -> None:
    assert [command for command in commands("README.md") if command not in NOT_HERE] == [line for line, _ in PROMISES]
    assert set(NOT_HERE) <= set(commands("README.md"))


@pytest.mark.parametrize(("command", "promise"), PROMISES, ids=[line.replace("/", "|") for line, _ in PROMISES])
def test_command_does_what_the_readme_says(
    command: str, promise: Promise, reader: Reader, request: pytest.FixtureRequest
) -> None:
    promise(reader, command, request)
