"""``python -m lab COMMAND``: each command runs until its end, SIGTERM or Ctrl-C, and leaves no server behind."""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from lab import bench, siege, soak


def main() -> None:
    """Run what the command line asks for; the exit code is 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in (soak, siege, bench):
        command = commands.add_parser(
            each.__name__.removeprefix("lab."), help=f"{each.__doc__}".splitlines()[0], description=each.__doc__
        )
        each.add_flags(command)
        command.set_defaults(run=each.run)
    arguments = parser.parse_args()
    # SIGTERM ends it as an exception does, so that the servers which it has started are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, ExitStack() as stack:
        well = arguments.run(arguments, Path(folder), stack)
    sys.exit(not well)


if __name__ == "__main__":
    main()
