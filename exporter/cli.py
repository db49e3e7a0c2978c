"""The command line: its commands and flags.

Each command imports what it needs when it runs, so that ``--help``, ``--version`` and a refused flag come at once.
"""

import argparse
import gc
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, NoReturn

from exporter import __revision__, __version__, demo, settings
from exporter.commands.argument_parser import ArgumentParser
from exporter.commands.completion import PrintCompletion
from exporter.commands.exit_codes import ExitCode
from exporter.commands.options import (
    add_explain_options,
    add_forget_options,
    add_nodes_options,
    add_portfolios_options,
    add_rules_options,
)
from exporter.commands.streams import drop_unwritable_output, nowhere
from exporter.errors import ExporterError, SettingsError
from exporter.settings import Settings

_USAGES: Final = {
    "serve": "ginkgo-exporter serve [flags]",
    "demo": "ginkgo-exporter demo [flags]",
    "check": "ginkgo-exporter check [flags]",
    "nodes": "ginkgo-exporter nodes [flags]",
    "portfolios": "ginkgo-exporter portfolios [flags]",
    "explain": "ginkgo-exporter explain [NODE|PORTFOLIO|ALERT] [flags]",
    "forget": (
        "ginkgo-exporter forget NODE… [flags]\n"
        "       ginkgo-exporter forget --rehomed | --offline-longer-than TIME [flags]"
    ),
    "rules": "ginkgo-exporter rules [--config.file FILE]",
}
_OPTIONS: Final = {
    "demo": demo.add_flags,
    "nodes": add_nodes_options,
    "portfolios": add_portfolios_options,
    "explain": add_explain_options,
    "forget": add_forget_options,
    "rules": add_rules_options,
}
_READING: Final = (
    "config",
    "redis",
    "keys",
    "heartbeat",
    "discovery",
    "nodes",
    "portfolios",
    "collector",
    "log",
)
"""The sections of the settings that the commands use that read Redis."""
_SECTIONS: Final = {
    **dict.fromkeys(("nodes", "portfolios", "forget"), (_READING,)),
    "explain": (("config", "journal", "web", "log"),),
    "rules": ((),),
}
"""The sections that a command takes flags of; all of them if it is not here."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with an ``ExitCode``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal's encoding may lack a character of a node's id
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()
    try:
        arguments, loaded = _read(argv)
        configure_logs(loaded)
        gc.enable()
        code: int = arguments.run(loaded, arguments)
        sys.stdout.flush()
        sys.exit(code)
    except SettingsError as error:
        _fail(str(error), ExitCode.USAGE)
    except ExporterError as error:
        _fail(str(error), ExitCode.FAILURE)
    except BrokenPipeError:
        sys.exit(ExitCode.FAILURE)  # the reader of the pipe has closed it, such as `head`
    except OSError as error:
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
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    errors = parser.unrecognized(unknown)
    try:
        loaded = settings.load(vars(arguments))
    except SettingsError as error:
        errors.append(str(error))
    if errors:
        raise SettingsError("\n".join(errors))
    return arguments, loaded


def configure_logs(loaded: Settings) -> None:
    """Configure the logs, whose libraries are imported now."""
    with _hidden("rich"):
        from exporter import logs
    logs.configure(loaded.log)


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Hide a package from imports in the block, unless it is loaded already.

    structlog imports rich, and tornado imports curses, to colour log lines that the exporter does not write. rich would
    take 4 MiB, and as long as Redis's client.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # an import of it now fails
    try:
        yield
    finally:
        del sys.modules[package]


def _fail(reason: str, code: int) -> NoReturn:
    with suppress(OSError):
        for line in reason.splitlines() or [""]:
            print(f"ginkgo-exporter: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="ginkgo-exporter",
        usage="%(prog)s [COMMAND] [flags]",
        description="Serve the metrics of Ginkgo's ExecutionNodes to Prometheus.",
        epilog="Every setting has an environment variable, such as GINKGO_EXPORTER_REDIS_URL."
        ' Completion for this shell: eval "$(ginkgo-exporter --print-completion bash)"',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__} ({__revision__})")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, help="print a completion script for this shell and exit"
    )
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="Commands", metavar="COMMAND", prog=parser.prog, parser_class=ArgumentParser)
    for name, run, text in (
        ("serve", _serve, "serve metrics; this is the default command"),
        ("demo", _demo, "simulate nodes on an embedded Valkey, and serve their metrics"),
        ("check", _check, "check the configuration, Redis and Alertmanager once"),
        ("nodes", _nodes, "show all nodes as a table, JSON or CSV"),
        ("portfolios", _portfolios, "show all portfolios as a table, JSON or CSV: is each of them traded?"),
        ("explain", _explain, "tell what happened to a node, a portfolio or an alert, and why it was judged so"),
        ("forget", _forget, "delete what crashed nodes left in Redis"),
        ("rules", _rules, "print the alert rules for Prometheus, with your links, labels, thresholds and selectors"),
    ):
        command = commands.add_parser(
            name, help=text, description=f"{text[:1].upper()}{text[1:]}.", usage=_USAGES[name], allow_abbrev=False
        )
        command.set_defaults(run=run)
        command.fill = partial(_fill, command, name)
    settings.add_flags(parser)
    return parser


def _fill(command: ArgumentParser, name: str) -> None:
    if add_options := _OPTIONS.get(name):
        add_options(command)
    settings.add_flags(command, *_SECTIONS.get(name, ()))


def _serve(loaded: Settings, _: argparse.Namespace) -> int:
    gc.collect()  # the parser's parts refer to each other
    gc.disable()  # until the parts are there: what is imported is no garbage
    with _hidden("curses"):
        from exporter.commands import serve

    return serve.run(loaded)


def _demo(loaded: Settings, arguments: argparse.Namespace) -> int:
    from exporter.commands.serve import serving

    return demo.run(loaded, arguments, serving)


def _check(loaded: Settings, _: argparse.Namespace) -> int:
    from exporter.commands.check import check

    return check(loaded)


def _nodes(loaded: Settings, arguments: argparse.Namespace) -> int:
    _log_only_if_asked(arguments)
    from exporter.commands import nodes

    return nodes.run(loaded, arguments)


def _portfolios(loaded: Settings, arguments: argparse.Namespace) -> int:
    _log_only_if_asked(arguments)
    from exporter.commands import portfolios

    return portfolios.run(loaded, arguments)


def _explain(loaded: Settings, arguments: argparse.Namespace) -> int:
    _log_only_if_asked(arguments)
    from exporter.commands import explain

    return explain.run(loaded, arguments)


def _forget(loaded: Settings, arguments: argparse.Namespace) -> int:
    _log_only_if_asked(arguments)
    from exporter.commands import forget

    return forget.run(loaded, arguments)


def _rules(_: Settings, arguments: argparse.Namespace) -> int:
    from exporter.commands import rules

    return rules.run(arguments)


def _log_only_if_asked(arguments: argparse.Namespace) -> None:
    # The output says all that matters. A log line would stand in the middle of a table.
    logging.disable(logging.NOTSET if "log.level" in arguments else logging.CRITICAL)
