"""The documents' programs, rights and excerpts, each tried for real. test_configurations.py has the rest."""

import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
import redis
from reader import DOCUMENTS, PATIENCE, Block, Reader, blocks, get

from lab.nodes import heartbeat_key, metrics_key
from lab.servers import Process, RedisServer, binary, free_port, series_of, wait_for
from packages import ROOT

ALL = list(dict.fromkeys(blocks(*DOCUMENTS)))
ACL, EXCERPT = "ACL SETUSER ", "# HELP "


def of(language: str, start: str = "") -> list[Block]:
    return [block for block in ALL if block.language == language and block.text.startswith(start)]


def test_every_kind_of_block_is_tried() -> None:
    tried = [*of("sh"), *of("yaml"), *of("ini"), *of("text"), *of("python"), *of("", ACL), *of("", EXCERPT)]
    assert Counter(tried) == Counter(ALL)
    assert [len(of("python")), len(of("", ACL)), len(of("", EXCERPT))] == [2, 2, 1]


@pytest.mark.server("promtool")
def test_prometheus_takes_the_configuration_and_sees_the_nodes(reader: Reader, tmp_path: Path) -> None:
    shutil.copy(ROOT / "alerts" / "ginkgo.rules.yml", tmp_path)
    config = tmp_path / "prometheus.yml"
    (block,) = (block for block in blocks("README.md") if block.language == "yaml")
    config.write_text(reader.here(block.text.replace("scrape_interval: 15s", "scrape_interval: 1s")))
    subprocess.run([binary("promtool"), "check", "config", config], check=True)

    address = f"127.0.0.1:{free_port()}"
    flags = (f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}")
    prometheus = Process([binary("prometheus"), *flags], tmp_path / "log")
    try:
        query = f"http://{address}/api/v1/query?query="
        seen = 'ginkgo_node_up{node_id="node-1"}==1'
        wait_for(lambda: '"value":' in get(query + seen), f"for a scrape: {prometheus.log}", PATIENCE)
        assert "GinkgoNodeOffline" in get(f"http://{address}/api/v1/rules")
    finally:
        prometheus.stop()


def test_collector_in_a_users_own_registry_serves_the_nodes(reader: Reader, tmp_path: Path) -> None:
    (program,) = of("python", "from prometheus_client")
    script = tmp_path / "own.py"
    script.write_text(reader.here(program.text) + "import signal\nsignal.pause()  # it has a work of its own\n")
    url = "http://127.0.0.1:" + re.findall(r"start_http_server\((\d+)\)", script.read_text())[0]
    process = Process(
        [reader.folder / ".venv/bin/python", script],
        tmp_path / "log",
        cwd=tmp_path,
        env=reader.environment,
    )
    try:

        def shown() -> bool:
            assert process.alive, process.output()
            return 'ginkgo_node_up{node_id="node-1"} 1.0' in get(f"{url}/metrics")

        wait_for(shown, "for the collector", PATIENCE)
    finally:
        process.stop()


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


@pytest.mark.parametrize("number", range(len(of("", ACL))))
def test_rights_are_enough_for_the_commands(number: int, tmp_path: Path, reader: Reader) -> None:
    line = of("", ACL)[number].text.strip()
    user = line.split()[2]
    (tmp_path / "password").write_text("s3cret\n")
    with_rights = f"--redis.username {user} --redis.password-file {tmp_path / 'password'}"
    server = RedisServer(tmp_path / "redis")
    try:
        with server.client() as client:
            client.execute_command(line.replace("PASSWORD", "s3cret"))
            client.hset(metrics_key("node-9"), mapping={"portfolio_count": "1"})
        if user == "ginkgo-forget":
            said = reader.types(f"ginkgo-exporter forget node-9 --yes --redis.url {server.url} {with_rights}")
            assert re.search("node-9.* deleted", said)
        else:
            assert "good" in reader.types(f"ginkgo-exporter check --redis.url {server.url} {with_rights}")
            assert "node-9" in reader.types(f"ginkgo-exporter nodes --redis.url {server.url} {with_rights}")
    finally:
        server.kill()


def test_excerpt_matches_the_served_metrics(reader: Reader) -> None:
    """Names, types, help and labels must be the exporter's own; the values are only examples."""
    (excerpt,) = of("", EXCERPT)
    served = get(f"http://{reader.places['localhost:19121']}/metrics")
    for line in excerpt.text.splitlines():
        assert line.split("{")[0] in served
    assert set(series_of(excerpt.text.encode())) <= set(series_of(served.encode()))
