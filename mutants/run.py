"""Runs mutants, several at a time, and counts what comes of them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from mutants.mutation import Key, Mutant
from mutants.targets import Target
from mutants.tree import Outcome, Tree

_TIMES: Final = 4  # a mutant is stopped after so many times what the tests take by themselves,
_FLOOR: Final = 20.0  # and this many seconds
_PATIENCE: Final = 300.0
_BROKEN: Final = 'raise RuntimeError("a mutant of all")\n'


class Run:
    """One run over some modules.

    Args:
        root: The working tree.
        folder: An empty folder for copies of the tree.
        jobs: How many mutants are tested at a time.
        reasons: The survivors that are known, with their reasons.

    Attributes:
        unlisted: Survivors without a reason.
        outcomes: How many mutants were caught, stopped or survived.
    """

    def __init__(self, root: Path, folder: Path, jobs: int, reasons: Mapping[Key, str]) -> None:
        self.unlisted: set[Key] = set()
        self.outcomes: Counter[Outcome] = Counter()
        self._root, self._reasons, self._jobs = root, reasons, jobs
        self._trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(jobs):
            self._trees.put(Tree(root, folder / str(number)))
        self._start = time.monotonic()

    @property
    def summary(self) -> str:
        """All counts in one line."""
        counts = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(self.outcomes.items(), key=str))
        seconds = time.monotonic() - self._start
        total = f"{self.outcomes.total()} mutants in {seconds:.0f} s"
        return f"{total}: {counts or 'nothing'}; {len(self.unlisted)} not listed"

    def module(self, target: Target, mutants: Sequence[Mutant]) -> None:
        """Test the mutants of one module, and print what comes of them.

        Raises:
            SystemExit: The module's tests fail without a fault, or do not notice a module that cannot be imported.
        """
        if not mutants:
            return
        limit = self._limit(target)

        def test(mutant: Mutant) -> tuple[Mutant, Outcome]:
            return mutant, self._test(target, mutant.text, limit)

        counts: Counter[Outcome] = Counter()
        with ThreadPoolExecutor(self._jobs) as pool:
            for mutant, outcome in pool.map(test, mutants):
                counts[outcome] += 1
                key = mutant.key
                if outcome is Outcome.SURVIVED and key not in self._reasons:
                    self.unlisted.add(key)
                    print(f"{key.module}:{mutant.number}: {key.line}  ->  {key.becomes}", flush=True)  # noqa: T201
                if outcome is not Outcome.SURVIVED and key in self._reasons:
                    print(f"{key.module}:{mutant.number}: listed, and caught: {key.becomes}", flush=True)  # noqa: T201
        self.outcomes += counts
        survived = counts[Outcome.SURVIVED]
        print(f"{target.module}: {len(mutants)} mutants, {survived} survived", flush=True)  # noqa: T201

    def _limit(self, target: Target) -> float:
        """Return after how many seconds the module's mutants are stopped, having checked that its tests work."""
        own = (self._root / target.module).read_text(encoding="utf-8")
        start = time.monotonic()
        if self._test(target, own, _PATIENCE) is not Outcome.SURVIVED:
            raise SystemExit(f"{target.module}: its tests fail without a mutant: {' '.join(target.tests)}")
        seconds = time.monotonic() - start
        if self._test(target, _BROKEN, _PATIENCE) is not Outcome.CAUGHT:
            raise SystemExit(f"{target.module}: its tests do not even import it: {' '.join(target.tests)}")
        return _FLOOR + _TIMES * seconds

    def _test(self, target: Target, text: str, timeout: float) -> Outcome:
        tree = self._trees.get()
        try:
            return tree.run(target.module, text, target.tests, timeout)
        finally:
            self._trees.put(tree)
