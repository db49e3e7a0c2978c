"""``--version`` and ``ginkgo_exporter_build_info`` name the commit, of a build and of a checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __revision__, __version__, revision_of

ROOT = Path(__file__).parent.parent


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package of a small checkout with one commit."""
    for folder in ("exporter", "helm/ginkgo-exporter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    git("init", "-q", cwd=tmp_path)
    git("add", ".", cwd=tmp_path)
    git("commit", "-qm", "one", cwd=tmp_path)
    return tmp_path / "exporter"


def test_build_names_the_commit_in_its_file(package: Path) -> None:
    (package / "REVISION").write_text("0123abc\n")
    assert revision_of(package) == "0123abc"


def test_checkout_names_its_commit_on_a_branch_packed_and_detached(package: Path) -> None:
    commit = git("rev-parse", "HEAD", cwd=package)
    assert revision_of(package) == f"{commit}+checkout"
    git("pack-refs", "--all", cwd=package)
    assert revision_of(package) == f"{commit}+checkout"
    git("checkout", "-q", "--detach", cwd=package)
    assert revision_of(package) == f"{commit}+checkout"


def test_worktree_names_its_own_commit(package: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git("worktree", "add", "-q", "-b", "other", str(tree), cwd=package)
    git("commit", "-q", "--allow-empty", "-m", "two", cwd=tree)
    for folder in ("exporter", "helm/ginkgo-exporter"):
        (tree / folder).mkdir(parents=True)
    assert revision_of(tree / "exporter") == f"{git('rev-parse', 'HEAD', cwd=tree)}+checkout"


def test_checkout_of_another_project_and_no_checkout_are_unknown(package: Path) -> None:
    (package.parent / "helm" / "ginkgo-exporter").rmdir()
    assert revision_of(package) == "unknown"
    (package.parent / "helm" / "ginkgo-exporter").mkdir()
    (package.parent / ".git" / "HEAD").unlink()
    assert revision_of(package) == "unknown"


def test_version_says_the_revision() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ginkgo-exporter {__version__} ({__revision__})\n"
