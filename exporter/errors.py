"""The errors that ginkgo-exporter raises. Each is shown as one line; several invalid settings have a line each.

ExporterError
├── SettingsError      a flag, variable, file or value that cannot be used: exit 2
└── SourceError        Redis could not be read
    ├── SourceTimeoutError  Redis did not answer in time
    └── SourceTooLargeError  a reply of Redis is larger than the exporter takes
"""


class ExporterError(Exception):
    """Base class of all errors that are shown to the user as one line."""


class SettingsError(ExporterError):
    """Settings that cannot be used; a line of the text for each error names the setting and the reason."""


class SourceError(ExporterError):
    """Redis could not be read; the text names the cause and contains no secret."""


class SourceTimeoutError(SourceError):
    """Redis did not answer within ``--redis.timeout``."""


class SourceTooLargeError(SourceError):
    """A reply of Redis is larger than the exporter takes."""
