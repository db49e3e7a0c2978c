"""The tables of flags, which are the settings and the flags of single commands; and the example of a settings file."""

import argparse
import re
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


def example(old: str) -> str:
    """Return the example of a settings file anew, below the old one's first paragraph. The file cannot name itself."""
    text = old.partition("\n\n")[0] + "\n"
    for section in Settings()[1:]:
        rows = section.rows()
        text += f"\n# {section.__doc__}\n{rows[0].name.partition('.')[0]}:\n{''.join(map(_example, rows))}"
    return text


def _example(setting: Setting[Any]) -> str:
    meaning = re.sub("^[a-z]+(?= )", lambda word: word[0].capitalize(), _meaning(setting, ""))
    value = re.sub("none|(.*[:=].*)", lambda text: f'"{text[1]}"' if text[1] else "", setting.default)
    name = setting.name.partition(".")[2].replace(".", ":\n    ")
    return f"  # {meaning}.\n  {name}: {f'[{value}]' if setting.repeatable else value}".rstrip() + "\n"


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
        lines.append(f"| `{setting.flag}` | `{setting.variable}` | {default} | {_cell(_meaning(setting, '`'))} |")
    return "\n".join(lines)


def _meaning(setting: Setting[Any], quote: str) -> str:
    choices = ", ".join(f"{quote}{choice}{quote}" for choice in setting.choices)
    return f"{setting.meaning}: {choices}" if choices else setting.meaning


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
