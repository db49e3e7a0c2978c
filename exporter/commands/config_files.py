"""The files that settings name: read all of them, so that all of their errors are shown at once."""

from collections.abc import Callable
from typing import TypeVar

from exporter.commands.alert_findings import rule_findings
from exporter.commands.finding import Finding
from exporter.errors import SettingsError
from exporter.push.config import HttpConfig
from exporter.settings import Settings
from exporter.web.config import WebConfig, tls_context

T = TypeVar("T")


def read_files(settings: Settings) -> tuple[HttpConfig, list[Finding]]:
    """Return what the files say about Alertmanager, and what was found in the rules.

    Raises:
        SettingsError: Files are invalid; a line for each.
    """
    errors: list[str] = []

    def read(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except SettingsError as error:
            errors.append(str(error))
            return None

    config = read(lambda: HttpConfig.load(settings.alertmanager.config_file))
    findings = read(lambda: list(rule_findings(settings.alertmanager)))
    web = read(lambda: WebConfig.load(settings.web.config_file))
    if web and (tls := web.tls_server_config):
        read(lambda: tls_context(tls))
    if errors or config is None or findings is None:
        raise SettingsError("\n".join(errors))
    return config, findings


def all_errors(error: SettingsError, settings: Settings) -> SettingsError:
    """Return the errors of all files if the cause of an error is a file; else the error itself."""
    try:
        read_files(settings)
    except SettingsError as errors:
        return errors
    return error
