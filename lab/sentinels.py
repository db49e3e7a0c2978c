"""A real Sentinel that watches a master and its replica."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from exporter.settings import Settings, load
from lab.servers import RedisServer, free_port, wait_for
from lab.tls import Certificates

MASTER = "platform"
PASSWORD = "of-the-sentinels"  # noqa: S105


class Watched:
    """A master, its replica, and a Sentinel that watches them and has its own password.

    With certificates they speak TLS to each other and to the exporter.

    Attributes:
        given: The settings as a user would give them.
    """

    def __init__(self, folder: Path, stack: ExitStack, certificates: Certificates | None = None) -> None:
        at_once = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        ports = [free_port() for _ in range(3)]
        first_tls, second_tls, tls = (certificates.server(port) if certificates else () for port in ports)
        self.first = RedisServer(folder / "first", "redis-server", *at_once, *first_tls)
        stack.callback(self.first.kill)
        first_port = ports[0] if certificates else self.first.port
        replicaof = ("--replicaof", f"127.0.0.1 {first_port}")
        self.second = RedisServer(folder / "second", "redis-server", *at_once, *replicaof, *second_tls)
        stack.callback(self.second.kill)
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {first_port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
            f"requirepass {PASSWORD}\n"
        )
        # The Sentinel writes its state into its configuration.
        config = (str(configuration), "--sentinel")
        self.sentinel = RedisServer(folder / "sentinel", "redis-server", *tls, config=config)
        stack.callback(self.sentinel.kill)
        self.asked = stack.enter_context(self.sentinel.client(password=PASSWORD, decode_responses=True))
        wait_for(lambda: self.asked.sentinel_slaves(MASTER), "for the Sentinel to see the replica")
        wait_for(lambda: self._replication().get("master_link_status") == "up", "for the replica to have the data")
        scheme, listens = ("rediss", ports[2]) if certificates else ("redis", self.sentinel.port)
        self.given: dict[str, Any] = {
            "redis.mode": "sentinel",
            "redis.url": [f"{scheme}://:{PASSWORD}@127.0.0.1:{listens}"],
            "redis.sentinel-master": MASTER,
            "redis.timeout": "2s",
            "discovery.interval": "200ms",
            **({"redis.tls-ca-file": str(certificates.ca)} if certificates else {}),
        }

    @property
    def settings(self) -> Settings:
        return load(self.given)

    def name_second_as_master(self) -> None:
        """Let the replica take over while the old master is alive, as after a network fault."""
        self.asked.execute_command("SENTINEL", "REMOVE", MASTER)
        with self.second.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        self.asked.execute_command("SENTINEL", "MONITOR", MASTER, "127.0.0.1", self.second.port, 1)

    def promoted(self) -> bool:
        """Return whether the replica has taken over, and the Sentinel names it."""
        master = self.asked.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(master[1]) == self.second.port and self._replication()["role"] == "master"

    def _replication(self) -> dict[str, Any]:
        with self.second.client() as client:
            return dict(client.info("replication"))
