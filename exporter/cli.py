"""The command line: its commands and flags.

Each command imports what it needs when it runs, so that ``--help``, ``--version`` and a refused flag come at once.
"""

import argparse
import gc
import io
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pkgutil import resolve_name
from typing import Final, NamedTuple, NoReturn

from exporter import __revision__, __version__, demo, settings
from exporter.commands.command_line import (
    ArgumentParser,
    ExitCode,
    HelpFormatter,
    add_completion,
    add_options,
    drop_unwritable_output,
    nowhere,
    say,
)
from exporter.errors import ExporterError, SettingsError
from exporter.settings import Settings

_READING: Final = ("config", "redis", "keys", "heartbeat", "discovery", "nodes", "portfolios", "collector", "log")
"""The sections of the settings that the commands use that read Redis."""


class _Command(NamedTuple):
    """A command.

    Attributes:
        run: The place of its function, which takes the settings and the parsed flags, and returns an exit code.
        meaning: What it does, in the words of ``--help``.
        sections: The sections of the settings whose flags it takes.
        usage: What stands behind its name.
    """

    run: str
    meaning: str
    sections: Sequence[str] = Settings._fields
    usage: str = "[flags]"


_COMMANDS: Final = {
    "serve": _Command(
        "exporter.commands.serve:run",
        "serve the metrics of Ginkgo's ExecutionNodes to Prometheus; this is the default command",
    ),
    "demo": _Command("exporter.cli:run_demo", "simulate nodes on an embedded Valkey, and serve their metrics"),
    "check": _Command("exporter.commands.check:run", "check the configuration, Redis and Alertmanager once"),
    "nodes": _Command("exporter.commands.listing:run", "show all nodes as a table, JSON or CSV", _READING),
    "portfolios": _Command(
        "exporter.commands.listing:run",
        "show all portfolios as a table, JSON or CSV: is each of them traded?",
        _READING,
    ),
    "explain": _Command(
        "exporter.commands.explain:run",
        "tell what happened to a node, a portfolio or an alert, and why it was judged so",
        _READING,
        "[NODE|PORTFOLIO|ALERT] [flags]",
    ),
    "forget": _Command(
        "exporter.commands.forget:run",
        "delete what crashed nodes left in Redis",
        _READING,
        "[NODE…] [flags]",
    ),
    "rules": _Command(
        "exporter.cli:run_rules",
        "print the alert rules for Prometheus, with your links, labels, thresholds and selectors",
        (),
        "[--config.file FILE]",
    ),
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with an ``ExitCode``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal's encoding may lack a character of a node's id
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()
    try:
        arguments, loaded = _read(argv)
        sys.exit(_run(arguments, loaded))
    except SettingsError as error:
        _fail(str(error), ExitCode.USAGE)
    except BrokenPipeError:
        sys.exit(ExitCode.FAILURE)  # the reader of the pipe has closed it, such as `head`
    except (ExporterError, OSError) as error:
        _fail(str(error), ExitCode.FAILURE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        drop_unwritable_output()


def _read(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    """Return the arguments and the settings.

    Raises:
        SettingsError: Flags are unknown, or settings are invalid; a line for each.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words.pop(0) if words and words[0] in _COMMANDS else "", words)
    arguments, unknown = parser.parse_known_args(words)
    errors = parser.unrecognized(unknown, _COMMANDS)
    try:
        loaded = settings.load(vars(arguments))
    except SettingsError as error:
        errors.append(str(error))
    if errors:
        raise SettingsError("\n".join(errors))
    return arguments, loaded


def _run(arguments: argparse.Namespace, loaded: Settings) -> int:
    command = _COMMANDS[arguments.command]
    configure_logs(loaded)
    # A log line would stand in the middle of a table, so commands that read Redis log only if a flag asks for it.
    is_quiet = command.sections is _READING and "log.level" not in arguments
    logging.disable(logging.CRITICAL if is_quiet else logging.NOTSET)
    run = resolve_name(command.run)
    if arguments.command != "serve":
        gc.enable()  # `serve` enables it when its parts are there: what is imported is no garbage
    code: int = run(loaded, arguments)
    sys.stdout.flush()
    return code


def configure_logs(loaded: Settings) -> None:
    """Configure the logs, whose libraries are imported now.

    structlog imports rich to colour log lines that the exporter does not write. That would take 4 MiB, and as long as
    Redis's client, so rich is hidden meanwhile.
    """
    hides = "rich" not in sys.modules
    if hides:
        sys.modules["rich"] = None  # type: ignore[assignment] # an import of it now fails
    from exporter import logs

    if hides:
        del sys.modules["rich"]
    logs.configure(loaded.log)


def _fail(reason: str, code: int) -> NoReturn:
    with suppress(OSError):
        for line in reason.splitlines() or [""]:
            say(f"ginkgo-exporter: {line}", file=sys.stderr)
    sys.exit(code)


def _parser(name: str, words: Sequence[str]) -> ArgumentParser:
    """Return the parser of a command; of the program, which serves, if there is no name.

    Only the program's help and its completion know the other commands: a start does not wait for their flags.
    """
    command = _COMMANDS[name or "serve"]
    parser = ArgumentParser(
        prog=f"ginkgo-exporter {name}".rstrip(),
        usage=f"%(prog)s {command.usage if name else '[COMMAND] [flags]'}",
        description=f"{command.meaning[:1].upper()}{command.meaning[1:]}.",
        epilog="Every setting has an environment variable, such as GINKGO_EXPORTER_REDIS_URL."
        ' Completion for this shell: eval "$(ginkgo-exporter --print-completion bash)"',
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name or "serve")
    if not name:
        parser.add_argument("--version", action="version", version=f"%(prog)s {__version__} ({__revision__})")
        add_completion(parser)
    if not name and any(word.startswith(("-h", "--help", "--print-completion")) for word in words):
        commands = parser.add_subparsers(title="Commands", metavar="COMMAND", parser_class=ArgumentParser)
        for each, other in _COMMANDS.items():
            _add_flags(commands.add_parser(each, help=other.meaning), each)
    _add_flags(parser, name or "serve")
    return parser


def _add_flags(parser: ArgumentParser, name: str) -> None:
    if name == "demo":
        demo.add_flags(parser)
    add_options(parser, name)
    settings.add_flags(parser, _COMMANDS[name].sections)


def run_demo(loaded: Settings, arguments: argparse.Namespace) -> int:
    """Run the demo around the exporter that ``serve`` makes; return an exit code."""
    from exporter.commands.serve import serving

    return demo.run(loaded, arguments, serving)


def run_rules(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the alert rules with the settings of an operator; return an exit code."""
    from exporter.alerting_rules.rules import rules_text

    sys.stdout.write(rules_text(arguments.rules_config))
    return ExitCode.SUCCESS
