"""``python -m lab.soak``: an hour of faults, and a report; exit code 1 if the exporter was wrong once."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from lab.bench.servers import end_on_sigterm
from lab.soak.run import Soak


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m lab.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long [60]")
    seed = random.SystemRandom().randrange(10**6)
    parser.add_argument("--seed", type=int, default=seed, help="decides what happens [random]")
    parser.add_argument("--server", help="program of the Redis to use [one that is installed, or the embedded one]")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep the machine busy [0]")
    parser.add_argument("--beside-rules", action="store_true", help="push without --alertmanager.sole-writer")
    arguments = parser.parse_args()
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(
            Path(folder),
            arguments.minutes * 60,
            arguments.seed,
            server=arguments.server,
            busy=arguments.busy,
            sole_writer=not arguments.beside_rules,
        )
        try:
            soak.run()
        finally:
            soak.close()
            print(soak.report.text(), flush=True)  # noqa: T201
    sys.exit(1 if soak.report.wrong else 0)


if __name__ == "__main__":
    main()
