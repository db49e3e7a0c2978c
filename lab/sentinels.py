"""A real Sentinel that watches a master and its replica."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from exporter.settings import Settings, load
from lab.servers import RedisServer, free_port, wait_for
from lab.tls import Certificates

MASTER = "platform"
PASSWORD = "of-the-sentinels"  # noqa: S105


class Watched:
    """A master, its replica, and a Sentinel that watches them and has its own password.

    With certificates they speak TLS to each other and to the exporter.
    """

    def __init__(self, folder: Path, stack: ExitStack, certificates: Certificates | None = None) -> None:
        self.certificates = certificates
        at_once = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        first_tls, second_tls, tls_port = (free_port(), free_port(), free_port()) if certificates else (0, 0, 0)
        self.first = RedisServer(folder / "first", "redis-server", *at_once, *self._tls(first_tls))
        stack.callback(self.first.kill)
        replicaof = ("--replicaof", f"127.0.0.1 {first_tls or self.first.port}")
        self.second = RedisServer(folder / "second", "redis-server", *at_once, *replicaof, *self._tls(second_tls))
        stack.callback(self.second.kill)
        port = free_port()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {first_tls or self.first.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
            f"requirepass {PASSWORD}\n"
        )
        self.sentinel = _Sentinel(folder / "sentinel", configuration, port, *self._tls(tls_port))
        stack.callback(self.sentinel.kill)
        self.asked = stack.enter_context(redis.Redis(port=port, password=PASSWORD, decode_responses=True))
        wait_for(lambda: self.asked.sentinel_slaves(MASTER), "for the Sentinel to see the replica")
        wait_for(lambda: self.link() == "up", "for the replica to have the data")
        scheme, listens = ("rediss", tls_port) if certificates else ("redis", port)
        self.given: dict[str, Any] = {
            "redis.mode": "sentinel",
            "redis.url": [f"{scheme}://:{PASSWORD}@127.0.0.1:{listens}"],
            "redis.sentinel-master": MASTER,
            "redis.timeout": "2s",
            "discovery.interval": "200ms",
        }
        if certificates:
            self.given["redis.tls-ca-file"] = str(certificates.ca)

    @property
    def settings(self) -> Settings:
        return load(self.given)

    def _tls(self, port: int) -> Sequence[str]:
        if self.certificates is None:
            return ()
        options = ("--tls-port", str(port), "--tls-replication", "yes", "--tls-auth-clients", "no")
        return (*options, *self.certificates.server("127.0.0.1"))

    def name_second_as_master(self) -> None:
        """Let the replica take over while the old master is alive, as after a network fault."""
        self.asked.execute_command("SENTINEL", "REMOVE", MASTER)
        with self.second.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        self.asked.execute_command("SENTINEL", "MONITOR", MASTER, "127.0.0.1", self.second.port, 1)

    def link(self) -> str:
        with self.second.client() as client:
            return str(client.info("replication").get("master_link_status"))

    def master(self) -> int:
        return int(self.asked.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def promoted(self) -> bool:
        with self.second.client() as client:
            return self.master() == self.second.port and client.info("replication")["role"] == "master"


class _Sentinel(RedisServer):
    def __init__(self, folder: Path, configuration: Path, port: int, *arguments: str) -> None:
        # The configuration must be the first argument. The Sentinel writes its state into this file.
        self._configuration = configuration
        super().__init__(folder, "redis-server", *arguments, port=port)

    def command(self) -> list[str]:
        command = [self.program, str(self._configuration), "--sentinel", "--port", str(self.port)]
        return [*command, "--bind", "127.0.0.1", *self.arguments]
