"""The type of the fixture that opens sources. Only pytest imports a ``conftest``: each folder may have one."""

from collections.abc import Callable

from exporter.source import Source

Open = Callable[..., Source]
"""Opens a source of an address, with further settings by name; ``told`` takes what is told of spent budgets."""
