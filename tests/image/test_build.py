"""Builds of one commit are the same everywhere, are complete, and list their dependencies."""

import ast
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exporter import __version__
from packages import OFFLINE, ROOT, clone, environment, installed, locked

sys.path.insert(0, str(ROOT / "requirements"))

from materials import licences, listed

ALERT_FILES = ("ginkgo.rules.yml", "ginkgo.rules.template.yml", "alertmanager.example.yml")
COMMITTER = {
    f"GIT_{who}_{what}": "release@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
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
    for file in (one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()):
        file.chmod(file.stat().st_mode & ~umask)
        os.utime(file, (mtime, mtime))
    environment = {**os.environ, **OFFLINE, **COMMITTER, **WHEN, "TZ": zone, "GIT_CONFIG_GLOBAL": os.devnull}
    for command in ("git init -q", "git add -A", "git commit -q -m release"):
        run(*command.split(), cwd=folder, env=environment, umask=umask)
    here = sys.prefix  # an environment that is up to date, whatever the times of its files
    run("make", "dist", f"VENV={here}", "-o", f"{here}/dev", cwd=folder, env=environment, umask=umask)
    return folder


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released(tmp_path_factory.mktemp("builds") / "here", 0o022, 1_700_000_000, "UTC")


def artefacts(build: Path) -> tuple[Path, Path, Path]:
    """Return the wheel, the sdist and the bill of materials of a build."""
    wheel, sdist = sorted((build / "dist").iterdir())
    return wheel, sdist, build / "build" / "sbom.json"


def test_build_at_another_place_time_and_time_zone_is_the_same_bytes_with_the_commits_time(
    build: Path, tmp_path: Path
) -> None:
    elsewhere = released(tmp_path / "some" / "where else", 0o077, 1_750_000_000, "Asia/Shanghai")
    assert [one.read_bytes() for one in artefacts(build)] == [one.read_bytes() for one in artefacts(elsewhere)]
    wheel, sdist, _ = artefacts(build)
    with zipfile.ZipFile(wheel) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 1, 6, 12, 30, 44)}  # zip knows even seconds
    with tarfile.open(sdist) as tar:
        assert {entry.mtime for entry in tar} == {1_767_702_645}


def test_wheel_has_the_whole_package_and_works_without_a_checkout(build: Path, tmp_path: Path) -> None:
    wheel, _, _ = artefacts(build)
    tracked = run("git", "ls-files", "exporter", "alerts/runbooks", cwd=build).split()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    bundled = {f"exporter/bundled/alerts/{name}" for name in ALERT_FILES}
    files = {name if name.startswith("exporter/") else f"exporter/bundled/{name}" for name in tracked}
    assert names == {*files, "exporter/REVISION", *bundled}
    plain = tmp_path / "plain"  # as by `pip install .`
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(plain), cwd=build)
    with zipfile.ZipFile(next(plain.iterdir())) as archive:
        assert archive.read("exporter/REVISION").decode() == run("git", "rev-parse", "HEAD", cwd=build)

    programs = environment(tmp_path / "venv", "demo")
    variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **OFFLINE}
    run(str(programs / "pip"), "install", "--no-cache-dir", f"{wheel}[demo]", cwd=tmp_path, env=variables)
    revision = run("git", "rev-parse", "HEAD", cwd=build).strip()
    said = run(str(programs / "ginkgo-exporter"), "--version", cwd=tmp_path, env=variables)
    assert said == f"ginkgo-exporter {__version__} ({revision})\n"
    program = f"from exporter.bundled import bundled; print([str(bundled('alerts/' + name)) for name in {ALERT_FILES}])"
    found = ast.literal_eval(run(str(programs / "python"), "-c", program, cwd=tmp_path, env=variables))
    assert all(file.startswith(str(programs.parent)) for file in found)


def test_bill_of_materials_names_each_package_with_its_licence_which_is_allowed(build: Path) -> None:
    bill: dict[str, Any] = json.loads(artefacts(build)[2].read_text())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    pinned = locked("runtime")
    parts = {part["purl"].removeprefix("pkg:pypi/"): part for part in bill["components"]}
    wanted = {package.metadata["Name"].lower().replace("_", "-") for package in installed("runtime")}
    assert set(parts) == {f"{name}@{pinned[name]}" for name in wanted}
    assert all(place.get("hashes") for part in parts.values() for place in part["externalReferences"][-1:])
    assert all(licence != "unknown" for _, _, licence in licences(bill))
    assert (ROOT / "requirements" / "licences.md").read_text(encoding="utf-8") == listed(bill), "make sbom writes it"
    stranger = {"name": "stranger", "version": "1", "purl": "pkg:pypi/stranger@1"}
    for declared in ([{"license": {"id": "AGPL-3.0-only"}}], [{"expression": "MIT AND SSPL-1.0"}], []):
        with pytest.raises(SystemExit, match="stranger 1 has a licence that is not allowed"):
            listed({**bill, "components": [*bill["components"], {**stranger, "licenses": declared}]})
