"""The product as its users get it: built from a clone, installed with what is locked and nothing else."""

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
    """Copy what git knows, and what it does not ignore, as a clone would have it; all, where nobody cloned."""
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
    """Build sdist and wheel as ``make dist`` does, the wheel from the sdist; return both."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(
        command, umask=umask, capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel


def locked(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins, whatever system they are for."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE))


def installed(name: str) -> Iterator[Distribution]:
    """Yield what a file of requirements pins, as it is installed here; what is for other systems is not."""
    for package in locked(name):
        try:
            yield distribution(package)
        except PackageNotFoundError:
            continue


def environment(folder: Path, lock: str) -> Path:
    """Make a virtual environment with pip and what is locked, and return its folder of programs.

    The packages are links into the environment of the tests: the real ones, without an index.
    """
    venv.create(folder, with_pip=True, symlinks=True)
    places = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    for package in installed(lock):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(str(package.locate_file(top)))
    return folder / "bin"
