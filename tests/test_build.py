"""Builds of one commit are the same everywhere, are complete, and list their dependencies."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exporter import __version__
from lab.servers import Process, free_port, wait_for
from packages import OFFLINE, ROOT, clone, environment, installed, locked

sys.path.insert(0, str(ROOT / "requirements"))

from materials import licences, listed

ALERT_FILES = ("ginkgo.rules.yml", "ginkgo.rules.template.yml", "alertmanager.example.yml")
COMMITTER = {
    f"GIT_{who}_{what}": "release@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
RUNBOOKS = {path.stem for path in (ROOT / "alerts" / "runbooks").glob("Ginkgo*.md")}
WHEN = {"GIT_AUTHOR_DATE": "2026-01-06T12:30:45+00:00", "GIT_COMMITTER_DATE": "2026-01-06T12:30:45+00:00"}


def run(*command: str, cwd: Path, **options: Any) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def released(folder: Path, umask: int, mtime: int, zone: str) -> Path:
    """Commit the present files to a new repository, and build them there by ``make dist``."""
    folder.mkdir(parents=True)
    before = os.umask(umask)
    try:
        clone(folder)
    finally:
        os.umask(before)
    for file in (one for one in folder.rglob("*") if one.is_file()):
        file.chmod(file.stat().st_mode & ~umask)
        os.utime(file, (mtime, mtime))
    environment = {**os.environ, **OFFLINE, **COMMITTER, **WHEN, "TZ": zone, "GIT_CONFIG_GLOBAL": os.devnull}
    for command in ("git init -q", "git add -A", "git commit -q -m release"):
        run(*command.split(), cwd=folder, env=environment, umask=umask)
    here = sys.prefix  # an environment that is up to date, whatever the times of its files
    run("make", "dist", f"VENV={here}", "-o", f"{here}/dev", cwd=folder, env=environment, umask=umask)
    return folder


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("builds")
    return (
        released(folder / "here", 0o022, 1_700_000_000, "UTC"),
        released(folder / "some" / "where else", 0o077, 1_750_000_000, "Asia/Shanghai"),
    )


@pytest.fixture
def bill(builds: tuple[Path, Path]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((builds[0] / "build" / "sbom.json").read_text())
    return made


def quiet(programs: Path) -> dict[str, str]:
    """Return the variables of a user who has an environment, and no package index."""
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **OFFLINE}


def artefacts(build: Path) -> Iterator[Path]:
    yield from sorted((build / "dist").iterdir())
    yield build / "build" / "sbom.json"


def test_two_builds_at_different_places_times_and_time_zones_are_the_same_bytes(builds: tuple[Path, Path]) -> None:
    here, elsewhere = ({one.name: one.read_bytes() for one in artefacts(build)} for build in builds)
    assert len(here) == 3
    assert {name for name in here if here[name] != elsewhere[name]} == set()


def test_times_in_the_archives_are_the_commits_time(builds: tuple[Path, Path]) -> None:
    wheel, sdist, _ = artefacts(builds[0])
    with zipfile.ZipFile(wheel) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 1, 6, 12, 30, 44)}  # zip knows even seconds
    with tarfile.open(sdist) as tar:
        assert {entry.mtime for entry in tar} == {1_767_702_645}


def test_wheel_has_the_whole_package_and_nothing_else(builds: tuple[Path, Path]) -> None:
    tracked = run("git", "ls-files", "exporter", cwd=builds[0]).split()
    with zipfile.ZipFile(next(artefacts(builds[0]))) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    bundled = {f"exporter/bundled/alerts/{name}" for name in ALERT_FILES}
    bundled |= {f"exporter/bundled/{path}" for path in run("git", "ls-files", "alerts/runbooks", cwd=builds[0]).split()}
    assert names == {*tracked, "exporter/REVISION", *bundled}


@pytest.fixture(scope="module")
def from_wheel(builds: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has only the wheel and the packages of a user."""
    folder = tmp_path_factory.mktemp("user")
    programs = environment(folder / "venv", "demo")
    wheel = f"{next(artefacts(builds[0]))}[demo]"
    run(str(programs / "pip"), "install", "--no-cache-dir", wheel, cwd=folder, env=quiet(programs))
    return programs


def test_wheel_works_without_a_checkout(builds: tuple[Path, Path], from_wheel: Path, tmp_path: Path) -> None:
    revision = run("git", "rev-parse", "HEAD", cwd=builds[0]).strip()
    said = run(str(from_wheel / "ginkgo-exporter"), "--version", cwd=tmp_path, env=quiet(from_wheel))
    assert said == f"ginkgo-exporter {__version__} ({revision})\n"
    program = (
        "from exporter.bundled import bundled; from exporter.web import page, app;"
        "print([str(bundled('alerts/' + name)) for name in ('ginkgo.rules.yml', 'alertmanager.example.yml')])"
    )
    found = ast.literal_eval(run(str(from_wheel / "python"), "-c", program, cwd=tmp_path, env=quiet(from_wheel)))
    assert all(file.startswith(str(from_wheel.parent)) for file in found)


def assert_demo_runs(programs: Path, folder: Path, environment: dict[str, str]) -> None:
    """Check that the installed demo serves metrics of its nodes, the page, and every bundled runbook."""
    address = f"127.0.0.1:{free_port()}"
    command = [programs / "ginkgo-exporter", "demo", "--fast", "--web.listen-address", address]
    demo = Process(command, folder / "demo.log", cwd=folder, env=environment)

    def get(path: str) -> str:
        assert demo.alive, demo.output()
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    try:
        wait_for(lambda: len(re.findall(r"^ginkgo_node_up\{.*\} 1$", get("/metrics"), re.MULTILINE)) == 5, "for nodes")
        assert "demo-node-1" in get("/")
        assert "demo-node-1" in get("/runbooks/GinkgoNodeOffline?node_id=demo-node-1")
        assert set(re.findall(r'href="\./(\w+)"', get("/runbooks/"))) >= RUNBOOKS
    finally:
        code = demo.stop()
    assert code == 0, demo.output()
    assert "Traceback" not in demo.output()


def test_demo_runs_from_the_wheel_alone(from_wheel: Path, tmp_path: Path) -> None:
    assert_demo_runs(from_wheel, tmp_path, quiet(from_wheel))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13", "python3.14"])
def test_wheel_is_installed_from_an_index_on_each_python(
    python: str, builds: tuple[Path, Path], tmp_path: Path
) -> None:
    """This test needs a package index, and takes all packages in their newest versions, as a user does."""
    program = shutil.which(f"/usr/bin/{python}") or shutil.which(python)
    if not program or subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} is not installed")
    run(program, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    programs = tmp_path / "venv" / "bin"
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run(str(programs / "pip"), "install", f"{next(artefacts(builds[0]))}[demo]", cwd=tmp_path, env=own)
    run(str(programs / "pip"), "check", cwd=tmp_path, env=own)
    said = run(str(programs / "ginkgo-exporter"), "--version", cwd=tmp_path, env=own)
    assert said.startswith(f"ginkgo-exporter {__version__} (")
    assert_demo_runs(programs, tmp_path, own)


def test_bill_of_materials_is_valid(bill: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_bill_of_materials_names_each_installed_package_with_version_licence_and_hashes(bill: dict[str, Any]) -> None:
    pinned = locked("runtime")
    parts = {part["purl"].removeprefix("pkg:pypi/"): part for part in bill["components"]}
    wanted = {package.metadata["Name"].lower().replace("_", "-") for package in installed("runtime")}
    assert set(parts) == {f"{name}@{pinned[name]}" for name in wanted}
    assert all(place.get("hashes") for part in parts.values() for place in part["externalReferences"][-1:])
    assert all(licence != "unknown" for _, _, licence in licences(bill))


def test_licences_are_listed_and_allowed(bill: dict[str, Any]) -> None:
    assert (ROOT / "requirements" / "licences.md").read_text(encoding="utf-8") == listed(bill), "make sbom writes it"


def test_licence_that_is_not_allowed_is_refused(bill: dict[str, Any]) -> None:
    stranger = {"name": "stranger", "version": "1", "purl": "pkg:pypi/stranger@1"}
    for declared in ([{"license": {"id": "AGPL-3.0-only"}}], [{"expression": "MIT AND SSPL-1.0"}], []):
        with pytest.raises(SystemExit, match="stranger 1 has a licence that is not allowed"):
            listed({**bill, "components": [*bill["components"], {**stranger, "licenses": declared}]})
