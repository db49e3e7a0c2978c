"""Logs the outcomes of attempts: the first failure of a series, and its end."""

import logging

log = logging.getLogger(__name__)


class OutcomeLog:
    """Logs the first failure of a series of failures, and the first success after it.

    Args:
        failure: Message that stands before the error's text.
        success: Message for the first success after failures.
        expected: Errors that are logged without a traceback.
    """

    def __init__(self, failure: str, success: str, expected: tuple[type[Exception], ...] = ()) -> None:
        self._failure = failure
        self._success = success
        self._expected = expected
        self._failing = False

    def note(self, error: BaseException | None) -> None:
        """Take the outcome of one attempt; None is a success."""
        if error and not self._failing:
            trace = None if isinstance(error, self._expected) else error
            log.warning("%s: %s", self._failure, error, exc_info=trace)
        elif self._failing and not error:
            log.info("%s", self._success)
        self._failing = error is not None
