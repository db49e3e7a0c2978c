"""Flags, environment and file → one frozen, checked ``Settings`` object.

Nothing else reads the environment. Read ``model`` first: every setting stands there.
"""

from exporter.settings.kinds import ListenAddress
from exporter.settings.loading import Setting, add_flags, all_settings, load, renamed, section_title
from exporter.settings.model import Alertmanager, Heartbeat, Keys, Log, Redis, Settings

__all__ = [
    "Alertmanager",
    "Heartbeat",
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
