"""The image, built by buildah. A stand-in replaces its base, since a registry cannot be reached everywhere."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.13-slim-trixie"
PYTHON = "3.13"


class Buildah:
    """buildah with the test's own storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self._storage += ["--storage-driver", "vfs"]

    def __call__(self, *arguments: object) -> str:
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            ["buildah", *self._storage, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def build(self, tag: str) -> str:
        """Build the image without a network, from the fetched wheels, and return its id."""
        wheels, pip = self.folder / "wheels", self.folder / "pip.conf"
        pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="ascii")
        output = self(
            *("build", "--quiet", "--no-cache", "--layers=false", "--pull=never", "--network=none"),
            # Builds in a container may not have limits as high as buildah's defaults.
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
            *("--volume", f"{wheels}:/wheels:ro", "--volume", f"{pip}:/etc/pip.conf:ro"),
            *("--timestamp", "1760000000", "--build-arg", "CREATED=2025-10-09T08:53:20Z"),
            *("--build-arg", "REVISION=0123abc", "--build-arg", "VERSION=1.2.3"),
            *("--tag", tag, ROOT),
        )
        return output.splitlines()[-1]

    def config(self, image: str) -> dict[str, Any]:
        """Return the configuration with which an image is run."""
        config: dict[str, Any] = json.loads(self("inspect", "--type", "image", image))["OCIv1"]["config"]
        return config


def _fetch_wheels(folder: Path) -> None:
    """Fetch the locked packages for the image's Python; their hashes are checked here and in the build."""
    machine = platform.machine()
    platforms = [f"manylinux_2_28_{machine}", f"manylinux_2_17_{machine}", f"manylinux2014_{machine}", "any"]
    requirements = [ROOT / "requirements" / name for name in ("build.txt", "runtime.txt")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    command += ["--only-binary=:all:", "--no-deps", "--require-hashes", "--python-version", PYTHON]
    command += [x for name in platforms for x in ("--platform", name)]
    command += [x for path in requirements for x in ("--requirement", str(path))]
    subprocess.run(command, check=True, timeout=300)


def _stand_in(folder: Path) -> Path:
    """Return a root with Debian's Python at the path of the base's Python, and without a package manager."""
    archives, root = folder / "archives", folder / "root"
    (archives / "partial").mkdir(parents=True)
    root.mkdir()
    # The empty status makes apt-get fetch all needed packages, also those that this machine has.
    options = ["-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache::archives={archives}"]
    packages = ["base-files", "dash", "coreutils", f"python{PYTHON}-venv"]
    command = ["apt-get", "install", "-qq", "--yes", "--download-only", "--no-install-recommends"]
    if subprocess.run([*command, *options, *packages], check=False, capture_output=True, timeout=300).returncode:
        # The package lists are missing or old.
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True, timeout=300)
        subprocess.run([*command, *options, *packages], check=True, capture_output=True, timeout=300)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", archive, root], check=True)
    python = root / "usr" / "local" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(f"/usr/bin/python{PYTHON}")
    # Debian's pip opens this file even if it needs no network.
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copy(certificates, root / "etc/ssl/certs")
    return root


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed")
    folder = tmp_path_factory.mktemp("buildah")
    buildah = Buildah(folder)
    with ThreadPoolExecutor() as pool:  # both mostly wait for downloads
        wheels = pool.submit(_fetch_wheels, folder / "wheels")
        root = _stand_in(folder)
        wheels.result()
    base = buildah("from", "scratch")
    buildah("copy", "--quiet", base, root, "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin", base)
    buildah("commit", "--quiet", "--rm", base, BASE)
    return buildah


@pytest.fixture(scope="session")
def image(buildah: Buildah) -> str:
    return buildah.build("localhost/ginkgo-exporter:first")


@pytest.fixture(scope="session")
def container(buildah: Buildah, image: str) -> Iterator[Path]:
    """Lend the root of a container of the image, without a shell and its tools."""
    name = buildah("from", "--pull=never", image)
    root = Path(buildah("mount", name))
    for tool in (root / "usr" / "bin").iterdir():
        if not tool.name.startswith("python"):
            tool.unlink()
    yield root
    buildah("umount", name)
    buildah("rm", name)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
