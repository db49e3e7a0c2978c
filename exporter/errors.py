"""The errors that ginkgo-exporter raises, each meant to be shown as one line.

ExporterError
├── SettingsError      a flag, variable, file or value that cannot be used: exit 2
└── SourceError        Redis could not be read in full
    └── SourceTimeoutError  it did not answer within its time
"""


class ExporterError(Exception):
    """Base of all errors that end in one line for the user."""


class SettingsError(ExporterError):
    """A setting that cannot be used; the text says which and why."""


class SourceError(ExporterError):
    """Redis could not be read in full; the text names the cause and no secret."""


class SourceTimeoutError(SourceError):
    """Redis did not answer within ``--redis.timeout``."""
