"""ginkgo-exporter: Prometheus metrics and alerts for Ginkgo's ExecutionNodes."""

from pathlib import Path as _Path

__version__ = "0.1.0"


def _built_revision() -> str:
    """Return the commit that the package was built from; "unknown" in a checkout."""
    file = _Path(__file__).with_name("REVISION")
    return file.read_text(encoding="ascii").strip() if file.is_file() else "unknown"


__revision__ = _built_revision()
