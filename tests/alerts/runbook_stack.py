"""What an engineer on call has: a shell that the runbooks prepared, and all servers behind its commands."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from runbook_files import COMMON, Block, blocks

from lab.monitoring import Alertmanager, Prometheus, beside
from lab.nodes import FIELDS, beat, metrics_key
from lab.servers import Exporter, Process, RedisServer, binary, running_exporter, running_redis, wait_for

HOSTILE = 'it\'s "7" $(touch pwned) `touch pwned`; touch pwned\n\x1b[31m~.*'
"""The dead node's id."""
PATIENCE = 60.0
PROCESSES = ("execution", "livecore", "tasktimer", "worker-data")


class OnCall:
    """An engineer's shell, and the servers that it reaches.

    Args:
        folder: The current folder of the shell; commands that write files write them here.
    """

    def __init__(
        self, folder: Path, redis: RedisServer, exporter: Exporter, prometheus: Prometheus, alertmanager: Alertmanager
    ) -> None:
        self.folder, self.redis, self.exporter = folder, redis, exporter
        self.prometheus, self.alertmanager = prometheus, alertmanager
        programs = folder.parent / "bin"
        programs.mkdir()
        program = programs / "ginkgo-exporter"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m exporter "$@"\n')
        program.chmod(0o755)
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self.environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": root, "LC_ALL": "C.UTF-8"}
        (prepared,) = (block.text for block in blocks(COMMON) if block.form == "host")
        for example, port in (
            ("6379", redis.port),
            ("19121", exporter.port),
            ("9090", prometheus.port),
            ("9093", alertmanager.port),
        ):
            assert f"localhost:{example}" in prepared
            prepared = prepared.replace(f"localhost:{example}", f"127.0.0.1:{port}")
        self.prepared = prepared

    def populate(self) -> None:
        """Write the platform's keys: a living node, a dead one with a hostile id, a plan, and a task timer."""
        with self.redis.client() as client:
            beat(client, "node-1")
            client.hset(metrics_key(HOSTILE), mapping={**FIELDS, "loaded_portfolio_ids": '["p4"]'})
            client.hset("schedule:plan", mapping={"p1": "node-1", "p2": "node-1", "p3": "node-1", "p4": HOSTILE})
            client.hset("portfolio:p1:state", mapping={"status": "RUNNING", "queue_size": "7", "node_id": "node-1"})
            timer = {"timestamp": "2026-01-06T12:30:45", "component_type": "task_timer", "host": "h", "pid": 7}
            client.set("heartbeat:task_timer:t1", json.dumps(timer), ex=3600)
            client.set("heartbeat:data_worker:w1", "{}", ex=3600)

    def pastes(self, text: str) -> subprocess.CompletedProcess[str]:
        """Paste lines into the prepared shell."""
        return subprocess.run(
            ["bash"],
            input=f"{self.prepared}\n{text}\n",
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )


@contextmanager
def on_call(folder: Path) -> Iterator[OnCall]:
    """Lend an engineer on call with servers that run until the block ends."""
    for program in ("amtool", "curl", "promtool", "ps", "redis-cli"):
        binary(program)
    place = folder / "place"
    place.mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder / "redis", "redis-server"))
        alertmanager = Alertmanager(folder, {"route": {"receiver": "a"}, "receivers": [{"name": "a"}]})
        stack.callback(alertmanager.stop)
        flags = ("--redis.url", redis.url, "--alertmanager.url", alertmanager.url)
        exporter = stack.enter_context(running_exporter(folder / "exporter", *flags))
        # Prometheus knows its Alertmanagers only some seconds after its first alerts, and then sends them again.
        prometheus = Prometheus(folder, beside([exporter], alertmanager), "--rules.alert.resend-delay=1s")
        stack.callback(prometheus.stop)
        for name in PROCESSES:
            command = ["bash", "-c", f"exec -a 'python main.py serve {name}' sleep 600"]
            stack.callback(Process(command, folder / "process.log").stop)
        engineer = OnCall(place, redis, exporter, prometheus, alertmanager)
        engineer.populate()
        wait_for(lambda: "GinkgoWatchdog" in str(alertmanager.alerts()), "for the first rule")
        engineer.populate()
        wait_for(lambda: prometheus.value(quote('ginkgo_node_up{node_id="node-1"}')) == 1, "for the first scrape")
        yield engineer


def distinct(found: Sequence[Block]) -> list[str]:
    """Return each command of blocks once, in their order."""
    return list(dict.fromkeys(command for block in found for command in block.commands))
