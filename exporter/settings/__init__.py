"""Settings: flags, environment and file into one frozen object."""

from exporter.settings.kinds import ListenAddress
from exporter.settings.loading import Setting, add_flags, all_settings, load, renamed, section_title
from exporter.settings.model import Alertmanager, Keys, Log, Redis, Settings

__all__ = [
    "Alertmanager",
    "Keys",
    "ListenAddress",
    "Log",
    "Redis",
    "Setting",
    "Settings",
    "add_flags",
    "all_settings",
    "load",
    "renamed",
    "section_title",
]
