"""``python -m mutants``: tests the tests; exit code 1 if a mutant survives that ``survivors.toml`` does not list."""

import argparse
import os
import signal
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from mutants.mutation import mutants_of
from mutants.run import Run
from mutants.survivors import listed, written
from mutants.targets import targets

ROOT: Final = Path(__file__).parents[1]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths or wildcards of modules [all targets]")
    parser.add_argument("--quick", action="store_true", help="only targets whose tests take a few seconds")
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, always the same ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time [one a core]")
    parser.add_argument("--list", action="store_true", help="print the mutants, and run no test")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # nothing is left behind
    chosen, skip = targets(ROOT)
    if arguments.modules:
        chosen = [target for target in chosen if any(fnmatch(target.module, each) for each in arguments.modules)]
    if arguments.quick:
        chosen = [target for target in chosen if target.quick]
    found = [
        (target, mutant)
        for target in chosen
        for mutant in mutants_of(target.module, (ROOT / target.module).read_text(encoding="utf-8"), skip)
    ]
    if arguments.sample:
        found = sorted(found, key=lambda pair: pair[1].key.draw)[: arguments.sample]
    if arguments.list:
        for _, mutant in found:
            key = mutant.key
            print(f"{key.module}:{mutant.number}: {mutant.operator}: {key.line} -> {key.becomes}")  # noqa: T201
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        run = Run(ROOT, Path(folder), arguments.jobs, listed())
        for target in chosen:
            run.module(target, [mutant for owner, mutant in found if owner == target])
    print(run.summary)  # noqa: T201
    if run.unlisted:
        print(f"Survivors that survivors.toml does not list:\n\n{written(run.unlisted)}")  # noqa: T201
    sys.exit(1 if run.unlisted else 0)


if __name__ == "__main__":
    main()
