"""Graceful stop or crash: which exceptions ask a node to end, and SIGTERM as one of them."""

import signal
from asyncio import CancelledError
from types import FrameType
from typing import Final

_REQUESTS: Final = (KeyboardInterrupt, SystemExit, CancelledError, GeneratorExit)
"""Exceptions by which a program or a task is asked to end."""


def is_graceful(error: BaseException | None) -> bool:
    """Return whether a block that this exception leaves was asked to end; None means no exception."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(_REQUESTS)[1] is None
    return error is None or isinstance(error, _REQUESTS)


def stop_on_sigterm() -> None:
    """Make SIGTERM raise ``SystemExit(0)`` in the main thread, so that a reporter's block ends gracefully.

    Without a handler SIGTERM kills Python at once, or does nothing where Python is process 1
    of a container. A second SIGTERM is ignored: it would interrupt the shutdown that the first
    one has begun.

    Raises:
        ValueError: The caller is not the main thread.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by programs that the shutdown starts
    raise SystemExit(0)
