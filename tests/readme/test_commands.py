"""The documents' commands, typed without a change by a newcomer who has read nothing else."""

import re
import signal
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
import redis
from reader import DOCUMENTS, EXPORT, INSTALL, PATIENCE, SERVE, Block, Reader, blocks, commands, get

from lab.nodes import heartbeat_key, metrics_key
from lab.servers import RedisServer, series_of, wait_for

NOT_HERE = {
    "make (test|bench|docs|site|page-pictures|dashboard-pictures)": "other tests run these parts",
    "python -m lab( |$)": "tests/benchmarks runs the short forms",
    "python -m pytest -m slow ": "tests/liveness runs a short form",
    "htpasswd ": "asks for a password; test_configurations.py takes such a hash",
    "apt-get ": "needs root; tests/install-servers installs the packages",
    "(git clone|cd|python3 -m venv) ": "the reader is in a checkout with an environment already",
    "pip install (--require-hashes|'.\\[reporter)": "fetches packages from an index",
    "ginkgo-exporter (forget|explain|rules)$": "is a command's name in a text",
    "(sudo )?systemctl |sudo ": "needs systemd and root; tests/documentation checks the unit",
    "helm ": "needs a cluster; tests/helm renders the chart",
    "redis-cli ACL SETUSER ": "other tests run as this user",
    "docker ": "needs a registry of images; tests/image builds the image",
    "prometheus-alertmanager ": "listens on a fixed port; amtool checks its file",
    "ginkgo-exporter check --page": "tests/commands posts a page to a real Alertmanager",
    r".*--alertmanager\.url": "tests/push and tests/demo post to real Alertmanagers",
}
"""Commands that are not run here, each with the reason."""
SAYS = {
    ". .venv/bin/activate": "",
    INSTALL: "Successfully installed ginkgo-exporter",
    "ginkgo-exporter check --redis.url redis://redis.example:6379/0": "^redis: good, a master with 4 nodes",
    EXPORT: "",
    "ginkgo-exporter check": "^redis: good",
    "ginkgo-exporter nodes": r"(?s)offline.*node-7.*online.*node-1",
    "ginkgo-exporter nodes --exporter.url http://localhost:19121": r"(?s)offline.*node-8.*online.*node-2",
    "ginkgo-exporter portfolios": "",
    "ginkgo-exporter explain node-7 --exporter.url http://localhost:19121": "(?s)Node node-7.*What was seen",
    "ginkgo-exporter forget --offline-longer-than 24h --exporter.url http://localhost:19121 --yes": "",
    "ginkgo-exporter forget node-7 node-8": "node-7.*would be deleted",
    "ginkgo-exporter forget node-7 node-8 --yes": "node-7.*deleted",
    "redis-cli -u redis://redis.example:6379/0 SET heartbeat:node:node-9 2026-01-06T12:30:45+00:00 EX 30": "^OK$",
    "redis-cli -u redis://redis.example:6379/0 HSET node:metrics:node-9 portfolio_count 3 queue_size 15"
    " total_events 41": "^3$",
    "redis-cli -u redis://redis.example:6379/0 DEL heartbeat:node:node-9 node:metrics:node-9": "^2$",
    'eval "$(ginkgo-exporter --print-completion bash)"': "",
    "ginkgo-exporter rules --config.file rules.yml > ginkgo.rules.yml": "",
    "promtool check rules ginkgo.rules.yml": "SUCCESS",
}
"""Commands in an order in which they work one after the other, each with what it must say."""
FROM_THE_DEMO = ".venv/bin/python -m exporter explain demo-node-2"


def test_every_command_of_the_documents_is_run_here_or_has_a_reason_not_to_be() -> None:
    tried = {*SAYS, SERVE, FROM_THE_DEMO, "make demo"}
    found = set(commands(*DOCUMENTS))
    assert [line for line in found - tried if not re.match("|".join(NOT_HERE), line)] == []
    assert tried - found == set()


@pytest.mark.timeout(400)
def test_commands_do_what_the_documents_say(reader: Reader, fleet: RedisServer) -> None:
    settings = next(block for block in blocks("docs/how-to/rules.md") if block.language == "yaml")
    (reader.folder / "rules.yml").write_text(settings.text)
    for command, pattern in SAYS.items():
        said = reader.types(command)
        assert re.search(pattern, said, re.MULTILINE), (command, said)
        if command.startswith("ginkgo-exporter forget"):
            with fleet.client() as client:
                assert bool(client.exists(metrics_key("node-7"))) != command.endswith("node-8 --yes"), command


@pytest.mark.timeout(400)
def test_servers_of_the_documents_serve_until_ctrl_c(reader: Reader, tmp_path: Path) -> None:
    for command, node in {"make demo": "demo-node-5", SERVE: "node-1"}.items():
        with reader.keeps_running(command, tmp_path / "log") as (process, url):
            up = f'ginkgo_node_up{{node_id="{node}"}} 1'
            wait_for(lambda up=up, url=url: up in get(f"{url}/metrics"), f"for {command}", PATIENCE)  # type: ignore[misc]
            assert all(get(url + path) for path in ("/", "/api/v1/nodes", "/-/healthy", "/-/ready"))
            if command == "make demo":
                # The demo serves before it says where.
                wait_for(lambda url=url, process=process: f"{url}/metrics" in process.output())  # type: ignore[misc]
                here = (
                    f"env -u GINKGO_EXPORTER_REDIS_URL GINKGO_EXPORTER_WEB_LISTEN_ADDRESS={url.removeprefix('http://')}"
                )
                assert "demo-node-2" in reader.types(f"{here} {FROM_THE_DEMO}")


ALL = list(dict.fromkeys(blocks(*DOCUMENTS)))
ACL, EXCERPT = "ACL SETUSER ", "# HELP "


def of(language: str, start: str = "") -> list[Block]:
    return [block for block in ALL if block.language == language and block.text.startswith(start)]


def test_every_kind_of_block_is_tried() -> None:
    tried = [*of("sh"), *of("yaml"), *of("ini"), *of("text"), *of("python"), *of("", ACL), *of("", EXCERPT)]
    assert Counter(tried) == Counter(ALL)
    assert [len(of("python")), len(of("", ACL)), len(of("", EXCERPT))] == [1, 2, 1]


def test_reporter_beats_as_long_as_its_block_lasts(client: "redis.Redis") -> None:
    (program,) = of("python", "from exporter.reporter")

    def run_the_node() -> None:
        wait_for(lambda: client.hget(metrics_key("node-7"), "total_events") == b"41")
        assert cast("int", client.pttl(heartbeat_key("node-7"))) > 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        exec(program.text, {"redis": client, "taken": 41, "run_the_node": run_the_node})  # noqa: S102 - the page's
        assert signal.getsignal(signal.SIGTERM) != before
    finally:
        signal.signal(signal.SIGTERM, before)
    assert client.keys() == [b"portfolio:p1:state"]  # a portfolio's state outlives its node


def test_excerpt_matches_the_served_metrics(reader: Reader) -> None:
    """Names, types, help and labels must be the exporter's own; the values are only examples."""
    (excerpt,) = of("", EXCERPT)
    served = wait_for(lambda: get(f"http://{reader.places['localhost:19121']}/metrics"), "for the exporter")
    for line in excerpt.text.splitlines():
        assert line.split("{")[0] in served
    assert set(series_of(excerpt.text.encode())) <= set(series_of(served.encode()))
