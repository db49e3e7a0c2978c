"""ginkgo-exporter: Prometheus metrics and alerts for Ginkgo's ExecutionNodes.

A scrape begins in ``web`` and asks the ``fleet``, which shares one read among simultaneous scrapes:

    settings → source → liveness → portfolios → snapshot → journal, exposition → web, push, commands

``source`` turns Redis's replies into a reading: fields, TTL and heartbeat of each node. ``liveness``
gives each node of a reading a state, by the heartbeats that it remembers and by Redis's own faults.
``portfolios`` gives each portfolio a state, by the scheduler's plan and the nodes' loaded lists.
``snapshot`` parses the values, and joins them with the states into columns. ``journal`` keeps changes
as events with their evidence. ``exposition`` writes columns as text 0.0.4 or OpenMetrics, which ``web``
sends. ``liveness`` reports changes of state to ``push``, which posts alerts. ``commands.serve``
puts the parts together. ``reporter`` is used by nodes: it writes the keys that the exporter reads.
"""

from pathlib import Path as _Path

__version__ = "0.2.0"
__repository__ = "https://github.com/ginkgo-trading/ginkgo-exporter"


def revision_of(package: _Path) -> str:
    """Return the commit of a package: of its build, or of its checkout with ``+checkout`` behind it; else "unknown".

    Args:
        package: The folder of the package. A build writes the commit into its file ``REVISION``.
    """
    try:
        built = package / "REVISION"
        if built.is_file():
            return built.read_text(encoding="ascii").strip()
        if (package.parent / "helm" / "ginkgo-exporter").is_dir():  # no other project's checkout
            return f"{_checked_out(package.parent / '.git')}+checkout"
    except (OSError, ValueError, StopIteration):
        pass
    return "unknown"


def _checked_out(git: _Path) -> str:
    """Return the commit of ``HEAD``, without the program git, which a machine may lack.

    An old Python runs this too, before ``__main__`` can refuse it.
    """
    if git.is_file():  # a worktree: the file names its folder
        git = git.parent / git.read_text(encoding="utf-8").partition("gitdir: ")[2].strip()
    head = (git / "HEAD").read_text(encoding="ascii").strip()
    name = head.partition("ref: ")[2]
    if not name:
        return head
    shared = git / "commondir"
    common = git / shared.read_text(encoding="utf-8").strip() if shared.is_file() else git
    if (common / name).is_file():
        return (common / name).read_text(encoding="ascii").strip()
    packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next(line.partition(" ")[0] for line in packed if line.endswith(f" {name}"))


__revision__ = revision_of(_Path(__file__).parent)
