"""Tells a graceful stop from a crash by the exception, and makes SIGTERM a graceful stop."""

import signal
from asyncio import CancelledError
from types import FrameType
from typing import Final

_REQUESTS: Final = (KeyboardInterrupt, SystemExit, CancelledError, GeneratorExit)
"""Exceptions by which a program or a task is asked to end."""


def is_graceful(error: BaseException | None) -> bool:
    """Return whether an exception that leaves a block asks the program to end; None means no exception."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(_REQUESTS)[1] is None
    return error is None or isinstance(error, _REQUESTS)


def stop_on_sigterm() -> None:
    """Make SIGTERM raise ``SystemExit(0)`` in the main thread, so that a reporter's block ends gracefully.

    Without a handler, SIGTERM kills Python at once. If Python is process 1 of a container, SIGTERM
    does nothing. A second SIGTERM is ignored: it would interrupt the shutdown that is under way.

    Raises:
        ValueError: The caller is not the main thread.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by programs that the shutdown starts
    raise SystemExit(0)
