"""One read of all nodes at a time, which simultaneous callers share."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from exporter.errors import SourceTimeoutError
from exporter.snapshot.snapshot import Snapshot


class SharedRead:
    """Reads all nodes in a thread of its own, one read at a time. A request during a read shares this read.

    Args:
        read: Reads all nodes once.
        limit: Seconds that a caller waits at most.
    """

    def __init__(self, read: Callable[[], Snapshot], limit: float) -> None:
        self._read, self._limit = read, limit
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._lock = Lock()  # for the next attribute, the current read
        self._current: Future[Snapshot] | None = None

    @property
    def running(self) -> bool:
        """Whether a read runs, or has ended just now."""
        return self._current is not None

    def request(self) -> "Future[Snapshot]":
        """Return the current read, or begin one; the exception of a failed read is a SourceError."""
        with self._lock:
            current = self._current
            if current and not current.done():
                return current
            current = self._current = self._executor.submit(self._read)
        current.add_done_callback(self._let_go)
        return current

    def _let_go(self, done: "Future[Snapshot]") -> None:
        """Drop the reference to a finished read, so that its snapshot does not stay in memory during the next read."""
        with self._lock:
            if self._current is done:
                self._current = None

    def read(self, timeout: float | None) -> Snapshot:
        """Begin or share a read and return its snapshot; ``timeout`` in seconds, None for the limit.

        Raises:
            SourceError: Redis could not be read in time.
        """
        try:
            return self.request().result(self._limit if timeout is None else min(timeout, self._limit))
        except TimeoutError:
            raise SourceTimeoutError("Redis did not answer in time") from None

    def close(self) -> None:
        """Begin no more reads; a current read ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
