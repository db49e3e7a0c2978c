"""The options of single commands. They stand apart: serving loads no command."""

import argparse
from typing import Final

from exporter.commands.exit_codes import ExitCode
from exporter.portfolios.ledger import PortfolioState
from exporter.settings import parse_duration

SOME_OFFLINE: Final = ExitCode.SOME_OFFLINE
"""Exit code with ``nodes --fail-offline`` when a node is offline."""
SOME_UNTRADED: Final = ExitCode.FAILURE
"""Exit code with ``portfolios --fail-untraded`` when a portfolio is untraded."""
SORT_FIELDS: Final = (
    *("state", "node", "heartbeat", "since", "portfolios", "queue", "cpu", "memory"),
    *("events/s", "events", "backpressure", "drops", "status"),
)
"""The columns of the table. They are listed here, because ``--help`` must not wait for the parts that fill them."""


def add_nodes_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``nodes``."""
    group = parser.add_argument_group("What is shown")
    group.add_argument("--output", choices=("table", "json", "csv"), default="table", help="form [table]")
    group.add_argument("--state", choices=("online", "offline", "undecided"), help="only nodes in this state")
    group.add_argument(
        "--sort",
        choices=SORT_FIELDS,
        metavar="FIELD",
        help=f"{', '.join(SORT_FIELDS)}: smallest first, unknown last [offline nodes first, then by node]",
    )
    group.add_argument("--reverse", action="store_true", help="largest first")
    group.add_argument(
        "--exporter.url", metavar="URL", help="ask this running exporter; it may know since when a node is offline"
    )
    group.add_argument("--watch", action="store_true", help="refresh the table in place until Ctrl-C")
    group.add_argument("--interval", type=_duration, default=2.0, metavar="TIME", help="between refreshes [2s]")
    group.add_argument(
        "--rate-over",
        type=_duration,
        metavar="TIME",
        help="read twice with this pause to get events/s; nodes write every 10s, so use 15s",
    )
    group.add_argument("--fail-offline", action="store_true", help=f"exit {SOME_OFFLINE} when any node is offline")


def add_portfolios_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``portfolios``."""
    group = parser.add_argument_group("What is shown")
    group.add_argument("--output", choices=("table", "json", "csv"), default="table", help="form [table]")
    group.add_argument("--state", choices=tuple(map(str, PortfolioState)), help="only portfolios in this state")
    group.add_argument(
        "--exporter.url", metavar="URL", help="ask this running exporter; it may know since when a fault lasts"
    )
    group.add_argument("--watch", action="store_true", help="refresh the table in place until Ctrl-C")
    group.add_argument("--interval", type=_duration, default=2.0, metavar="TIME", help="between refreshes [2s]")
    group.add_argument(
        "--fail-untraded", action="store_true", help=f"exit {SOME_UNTRADED} when any portfolio is untraded"
    )


def add_explain_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``explain``."""
    group = parser.add_argument_group("What is explained")
    group.add_argument(
        "subject",
        nargs="?",
        metavar="NODE|PORTFOLIO|ALERT",
        help="as the table or the page shows it, maybe after node: or portfolio: [all that happened last]",
    )
    group.add_argument("--at", metavar="TIME", help="explain this moment, such as 2026-01-06T12:30:45Z [now]")
    group.add_argument("--output", choices=("text", "json"), default="text", help="form [text]")
    group.add_argument("--exporter.url", metavar="URL", help="ask this running exporter [the one on this machine]")


def add_forget_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``forget``."""
    group = parser.add_argument_group("What is deleted")
    group.add_argument("node", nargs="*", metavar="NODE", help="an offline node, as the table shows it")
    group.add_argument(
        "--offline-longer-than",
        type=_duration,
        metavar="TIME",
        help="instead of names: every node that has certainly been offline for longer, such as 24h",
    )
    group.add_argument(
        "--rehomed",
        action="store_true",
        help="instead of names: every offline node whose portfolios all run on other nodes, by the plan",
    )
    group.add_argument(
        "--exporter.url",
        metavar="URL",
        help="ask this running exporter since when nodes are offline [the time since their hashes were last used]",
    )
    group.add_argument("--yes", action="store_true", help="delete; without this flag nothing is changed")


def add_rules_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``rules``."""
    group = parser.add_argument_group("What is printed")
    group.add_argument(
        "--config.file", dest="rules_config", metavar="FILE", help="YAML file with the settings of the rules [none]"
    )


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not seconds:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds
