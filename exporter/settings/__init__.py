"""Flags, environment and file become one checked ``Settings`` object.

No other package reads the environment. Read ``model`` first: it is the table of all settings.
"""

from exporter.settings.model import (
    Heartbeat,
    Journal,
    Keys,
    Log,
    MassLoss,
    Nodes,
    Redis,
    Section,
    Setting,
    Settings,
    all_settings,
    optional,
)
from exporter.settings.sources import add_flags, load, nearest, sections_of, unknown_variables, without_passwords
from exporter.settings.values import (
    ListenAddress,
    Secret,
    existing_file,
    format_duration,
    http_url,
    parse_duration,
    parse_size,
    switch,
)

__all__ = [
    "Heartbeat",
    "Journal",
    "Keys",
    "ListenAddress",
    "Log",
    "MassLoss",
    "Nodes",
    "Redis",
    "Secret",
    "Section",
    "Setting",
    "Settings",
    "add_flags",
    "all_settings",
    "existing_file",
    "format_duration",
    "http_url",
    "load",
    "nearest",
    "optional",
    "parse_duration",
    "parse_size",
    "sections_of",
    "switch",
    "unknown_variables",
    "without_passwords",
]
