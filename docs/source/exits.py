"""The table of exit codes."""

from exporter.commands.command_line import EXITS


def exits_table() -> str:
    """Return the exit codes as a Markdown table."""
    rows = (f"| {code:d} | {meaning} |" for code, meaning in EXITS.items())
    return "\n".join(("| code | meaning |", "|---|---|", *rows))
