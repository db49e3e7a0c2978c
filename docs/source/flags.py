"""The tables of flags: the settings by their sections, and the flags that only one command has."""

import argparse
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from exporter import demo
from exporter.commands.command_line import OPTIONS, add_options
from exporter.settings import Setting, Settings, all_settings, switch

COMMANDS: Final = (*OPTIONS, "demo")
"""The commands with flags of their own."""


def flags_table() -> str:
    """Return all settings as Markdown: a heading and a table for each section."""
    return "\n\n".join(_section(str(section.__doc__).rstrip("."), section.rows()) for section in Settings())


def options_table() -> str:
    """Return the flags that only one command has as a Markdown table."""
    lines = ["| command | flag | meaning; default |", "|---|---|---|"]
    for command in COMMANDS:
        lines += [f"| `{command}` | `{name}` | {_cell(text)} |" for name, text in _options(command)]
    return "\n".join(lines)


@cache
def flag_names() -> frozenset[str]:
    """Return every flag that any command takes."""
    flags = {setting.flag for setting in all_settings()}
    flags |= {setting.flag.replace("--", "--no-", 1) for setting in all_settings() if setting.parse is switch}
    flags |= {name for command in COMMANDS for name, _ in _options(command) if name.startswith("--")}
    return frozenset(flags | {"--help", "--version", "--print-completion"})


def _section(title: str, settings: list[Setting[Any]]) -> str:
    lines = [f"### {title}", "", "| flag | variable | default | meaning |", "|---|---|---|---|"]
    for setting in settings:
        default = setting.default if setting.default in ("none", "off", "on") else f"`{setting.default}`"
        text = setting.meaning
        if setting.choices:
            text += ": " + ", ".join(f"`{choice}`" for choice in setting.choices)
        lines.append(f"| `{setting.flag}` | `{setting.variable}` | {default} | {_cell(text)} |")
    return "\n".join(lines)


def _options(command: str) -> Iterator[tuple[str, str]]:
    """Yield name and help of each flag that only this command has."""
    parser = argparse.ArgumentParser(prog=command, add_help=False)
    if command == "demo":
        demo.add_flags(parser)
    add_options(parser, command)
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        if action.help and action.help != argparse.SUPPRESS:
            text = action.help.replace("%(default)s", str(action.default)).replace("%%", "%")
            yield (action.option_strings[0] if action.option_strings else str(action.metavar)), text


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
