"""Tells listeners what the judge has decided."""

from collections.abc import Callable, Sequence

from exporter.liveness.evidence import Finding
from exporter.liveness.faults import Kind
from exporter.liveness.states import Change

OnChanges = Callable[[Sequence[Change]], None]
"""Called with the changes of one judgement, in the thread that judged, after the judge has released its lock."""
OnFindings = Callable[[Sequence[Finding]], None]
"""Called with the changes of one judgement and their evidence, in the same way."""


class Announcer:
    """Keeps the listeners. They are added before any thread judges."""

    def __init__(self) -> None:
        self._on_changes: list[OnChanges] = []
        self._on_findings: list[OnFindings] = []
        self._on_faults: list[Callable[[Kind], None]] = []

    def on_changes(self, listener: OnChanges) -> None:
        """Call ``listener`` with every change of a node's state from now on."""
        self._on_changes.append(listener)

    def on_findings(self, listener: OnFindings) -> None:
        """Call ``listener`` with every change from now on and its evidence, also with new nodes and nodes that stop."""
        self._on_findings.append(listener)

    def on_faults(self, listener: Callable[[Kind], None]) -> None:
        """Call ``listener`` once with every fault of Redis from now on."""
        self._on_faults.append(listener)

    @property
    def wants_findings(self) -> bool:
        """Whether anybody listens to changes with their evidence."""
        return bool(self._on_findings)

    def _notify(self, changes: Sequence[Change], found: Sequence[Finding], faults: Sequence[Kind]) -> None:
        for on_changes in self._on_changes if changes else ():
            on_changes(changes)
        for on_findings in self._on_findings if found else ():
            on_findings(found)
        for on_fault in self._on_faults:
            for fault in faults:
                on_fault(fault)
