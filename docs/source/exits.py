"""The table of exit codes."""

from exporter.commands.exit_codes import ExitCode


def exits_table() -> str:
    """Return the exit codes as a Markdown table."""
    return "\n".join(("| code | meaning |", "|---|---|", *(f"| {code:d} | {code.meaning} |" for code in ExitCode)))
