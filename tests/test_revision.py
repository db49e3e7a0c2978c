"""``--version`` and ``ginkgo_exporter_build_info`` name the commit, of a build and of a checkout."""

import subprocess
import sys
from pathlib import Path

from exporter import __revision__, __version__, revision_of

ROOT = Path(__file__).parent.parent


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def checkout(folder: Path) -> Path:
    """Make the folders by which a checkout of this project is known; return its package."""
    for name in ("exporter", "helm/ginkgo-exporter"):
        (folder / name).mkdir(parents=True)
    return folder / "exporter"


def test_checkout_names_its_commit_however_git_keeps_it_and_a_build_the_commit_in_its_file(tmp_path: Path) -> None:
    package, tree = checkout(tmp_path / "main"), tmp_path / "tree"
    git("init", "-q", cwd=package.parent)
    git("commit", "-q", "--allow-empty", "-m", "one", cwd=package)
    commit = git("rev-parse", "HEAD", cwd=package)
    for change in ("status", "pack-refs --all", "checkout -q --detach"):
        git(*change.split(), cwd=package)
        assert revision_of(package) == f"{commit}+checkout", change
    git("worktree", "add", "-q", "-b", "other", str(tree), cwd=package)
    git("commit", "-q", "--allow-empty", "-m", "two", cwd=tree)
    assert revision_of(checkout(tree)) == f"{git('rev-parse', 'HEAD', cwd=tree)}+checkout"
    (package / "REVISION").write_text("0123abc\n")
    assert revision_of(package) == "0123abc"
    (package / "REVISION").unlink()
    (package.parent / ".git" / "HEAD").unlink()
    assert revision_of(package) == "unknown"
    (tree / "helm" / "ginkgo-exporter").rmdir()
    assert revision_of(tree / "exporter") == "unknown", "the checkout of another project"


def test_version_says_the_revision() -> None:
    command = [sys.executable, "-m", "exporter", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"ginkgo-exporter {__version__} ({__revision__})\n"
