"""Flags, environment and file become one frozen, checked ``Settings`` object.

No other package reads the environment. Read ``model`` first: it defines every setting.
"""

from exporter.settings.addresses import ListenAddress, Secret
from exporter.settings.flags import Setting, add_flags, all_settings, section_title
from exporter.settings.loading import load, renamed
from exporter.settings.model import Alertmanager, Heartbeat, Journal, Keys, Log, Redis, Settings
from exporter.settings.section import Section
from exporter.settings.sources import unknown_variables

__all__ = [
    "Alertmanager",
    "Heartbeat",
    "Journal",
    "Keys",
    "ListenAddress",
    "Log",
    "Redis",
    "Secret",
    "Section",
    "Setting",
    "Settings",
    "add_flags",
    "all_settings",
    "load",
    "renamed",
    "section_title",
    "unknown_variables",
]
