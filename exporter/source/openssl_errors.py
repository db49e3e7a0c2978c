"""OpenSSL's errors belong to a thread and not to a connection, and Python does not always take them away.

Since 3.13 the ``ssl`` module raises the reset of a write as an ``OSError``, and leaves OpenSSL's own record of it in
the thread's queue. OpenSSL looks there first when a read has to wait. So each later read of this thread that has to
wait seems to be reset too, on every connection. A handshake would empty the queue, but the exporter's handshakes have
threads of their own. Without this module one reset could make Redis unreadable over TLS for good.
"""

import socket
import ssl
from contextlib import suppress


def forget_errors(sock: socket.socket | None) -> None:
    """Empty the thread's queue of errors after an error on this socket; a socket without TLS has no such queue."""
    if isinstance(sock, ssl.SSLSocket):
        with suppress(ssl.SSLError):  # Python empties the queue when it refuses a cipher
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("no such cipher")
