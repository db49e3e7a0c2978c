"""Several real servers of one Redis, with or without TLS: a cluster, and a Sentinel with a master and a replica."""

import ssl
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme
from redis.cluster import ClusterNode, RedisCluster

from exporter.settings import Settings, load
from lab.servers import RedisServer, binary, free_port, wait_for

MASTER = "platform"
PASSWORD = "of-the-sentinels"  # noqa: S105


def trusting() -> ssl.SSLContext:
    """Return what a client uses that trusts any server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Certificates:
    """Files of the authority, of servers by their names, and of a client.

    Args:
        folder: For the files.
    """

    def __init__(self, folder: Path) -> None:
        self._authority, self._folder, self.ca = trustme.CA(), folder, folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)
        self.client_cert, self.client_key = self.pair("exporter")

    def pair(self, host: str) -> tuple[Path, Path]:
        """Return the files of a server's or a client's certificate and key."""
        issued = self._authority.issue_cert(host)
        cert, key = self._folder / f"{host}.pem", self._folder / f"{host}.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def server(self, port: int, host: str = "127.0.0.1", clients: str = "no") -> list[str]:
        """Return the options with which a Redis speaks TLS on a port, and to its primary.

        Args:
            port: The port.
            host: The name in its certificate.
            clients: Whether its clients need certificates: "yes", "no" or "optional".
        """
        cert, key = self.pair(host)
        files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(self.ca))
        return ["--tls-port", str(port), "--tls-replication", "yes", "--tls-auth-clients", clients, *files]


class _Several:
    """Several servers of one Redis.

    Attributes:
        given: The settings as a user would give them.
    """

    given: dict[str, Any]

    def _give(self, certificates: Certificates | None, addresses: Iterable[str], **more: str) -> None:
        scheme, ca = ("rediss", {"redis.tls-ca-file": str(certificates.ca)}) if certificates else ("redis", {})
        usual = {"redis.timeout": "2s", "discovery.interval": "200ms"}
        self.given = {"redis.url": [f"{scheme}://{address}" for address in addresses], **usual, **ca}
        self.given |= {f"redis.{name.replace('_', '-')}": text for name, text in more.items()}

    @property
    def settings(self) -> Settings:
        return load(self.given)


class RunningCluster(_Several):
    """Three primaries, each with the given number of replicas, made by ``redis-cli --cluster create``.

    With certificates the servers speak TLS to each other and to the exporter. The tests' own client uses no TLS.

    Attributes:
        servers: The servers by their ports.
        tls_ports: The ports on which they speak TLS, if they do, by their ports.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *arguments: str,
        replicas: int = 1,
        certificates: Certificates | None = None,
    ) -> None:
        self.tls_ports: dict[int, int] = {}
        self.servers: dict[int, RedisServer] = {}
        for number in range(3 + 3 * replicas):
            options = (
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-port",  # without this the cluster bus would listen 10,000 ports higher
                str(free_port()),
                "--repl-diskless-sync-delay",
                "0",
            )
            port, tls_port = free_port(), free_port()
            secured = ("--tls-cluster", "yes", *certificates.server(tls_port)) if certificates else ()
            server = RedisServer(folder / str(number), "redis-server", *options, *secured, *arguments, port=port)
            stack.callback(server.kill)
            self.servers[port], self.tls_ports[port] = server, tls_port if certificates else port
        addresses = [f"127.0.0.1:{port}" for port in self.tls_ports.values()]
        tls = ("--tls", "--cacert", str(certificates.ca)) if certificates else ()
        create = ("--cluster", "create", *addresses, "--cluster-replicas", str(replicas), "--cluster-yes")
        subprocess.run([binary("redis-cli"), *tls, *create], check=True, capture_output=True, timeout=60)
        self._give(certificates, addresses, mode="cluster")
        self.client = stack.enter_context(self.new_client())
        wait_for(self._whole, "for all servers to know all slots, and all replicas their primary's data")

    def new_client(self) -> RedisCluster:
        return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in self.servers])

    def _whole(self) -> bool:
        links, states = [], set()
        for server in self.servers.values():
            with server.client() as client:
                links.append(client.info("replication").get("master_link_status"))
                states.add(client.execute_command("CLUSTER INFO")["cluster_state"])
        return links.count(None) == 3 and links.count("up") == len(links) - 3 and states == {"ok"}

    def primaries(self) -> list[int]:
        self.client.nodes_manager.initialize()
        return [node.port for node in self.client.get_primaries()]

    def primary_of(self, key: bytes) -> int:
        self.client.nodes_manager.initialize()
        port: int = self.client.get_node_from_key(key).port
        return port


class Watched(_Several):
    """A master, its replica, and a Sentinel that watches them and has its own password.

    With certificates they speak TLS to each other and to the exporter.
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
        listens = ports[2] if certificates else self.sentinel.port
        self._give(certificates, [f":{PASSWORD}@127.0.0.1:{listens}"], mode="sentinel", sentinel_master=MASTER)

    def _replication(self) -> dict[str, Any]:
        with self.second.client() as client:
            return dict(client.info("replication"))
