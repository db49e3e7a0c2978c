"""Loads the settings: flags override the environment, the environment overrides the file, the file the defaults."""

from collections.abc import Iterator, Mapping

from exporter.errors import SettingsError
from exporter.settings.checks import check, clashes
from exporter.settings.model import Settings
from exporter.settings.sources import Sources


def load(flags: Mapping[str, object] | None = None) -> Settings:
    """Return the settings from flags, environment, file and defaults.

    Args:
        flags: Values by the settings' names, as a parser with ``add_flags`` gives them. Other names are ignored.

    Raises:
        SettingsError: A value is invalid, or the file has an unknown name. The message has one line for each error. A
            line names the place of the value and the reason.
    """
    given = Sources.of(flags or {})
    checked = check(given.tree())
    errors = [given.problem] if given.problem else []
    errors += (f"{given.place(names)}: {reason}{given.line(names)}" for names, reason in checked.errors)
    errors += clashes(checked.settings, given, [names for names, _ in checked.errors])
    if errors:
        raise SettingsError("\n".join(dict.fromkeys(errors)))
    return _with_old_names(checked.settings)


def renamed(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting given under its name of version 0.1. The old names work for one release."""
    for name in ("ratio", "nodes"):
        if getattr(settings.alertmanager, f"mass_loss_{name}") is not None:
            yield f"--alertmanager.mass-loss-{name} is now --mass-loss.{name}"
    if settings.alertmanager.mass_loss_hold is not None:
        yield "--alertmanager.mass-loss-hold has no effect: deaths are held back only until it is clear what they are"


def _with_old_names(settings: Settings) -> Settings:
    """Return the settings. Values given under names of version 0.1 are moved to the new names."""
    old = {"ratio": settings.alertmanager.mass_loss_ratio, "nodes": settings.alertmanager.mass_loss_nodes}
    given = {name: value for name, value in old.items() if value is not None}
    return settings.with_values(mass_loss=settings.mass_loss.with_values(**given))
