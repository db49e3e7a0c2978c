"""``python -m lab COMMAND``: each command runs until its end, SIGTERM or Ctrl-C, and leaves no server behind."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from lab import bench, siege, soak
from lab.servers import end_on_sigterm

COMMANDS = {
    "soak": (soak.add_flags, soak.run, soak.__doc__),
    "siege": (siege.add_flags, siege.run, siege.__doc__),
    "bench": (bench.add_flags, bench.run, bench.__doc__),
}


def main() -> None:
    """Run what the command line asks for; the exit code is 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (add_flags, run, text) in COMMANDS.items():
        command = commands.add_parser(name, help=(text or "").splitlines()[0], description=text)
        add_flags(command)
        command.set_defaults(run=run)
    arguments = parser.parse_args()
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, ExitStack() as stack:
        well = arguments.run(arguments, Path(folder), stack)
    sys.exit(not well)


if __name__ == "__main__":
    main()
