"""The product as its users get it: built from a clone, and installed with the locked packages alone."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def clone(folder: Path) -> Path:
    """Copy all files that git tracks or does not ignore, as in a clone; copy all files if this is no clone."""
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if known.returncode:
        return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True))
    for name in known.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build(source: Path, target: Path, *, umask: int = 0o022, **environment: str) -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel, as ``make dist`` does; return both paths."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(
        command, umask=umask, capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel


def locked(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins, for all systems."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE))


def installed(name: str) -> Iterator[Distribution]:
    """Yield the installed packages that a file of requirements pins; packages for other systems are missing here."""
    for package in locked(name):
        try:
            yield distribution(package)
        except PackageNotFoundError:
            continue


def environment(folder: Path, *locks: str) -> Path:
    """Make a virtual environment with pip and the locked packages, and return its folder of programs.

    The packages are links into the environment of the tests, so no package index is needed.
    """
    venv.create(folder, with_pip=True, symlinks=True)
    places = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    packages = {package.name: package for lock in locks for package in installed(lock)}
    for package in packages.values():
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(str(package.locate_file(top)))
    return folder / "bin"
