"""Ids of nodes that try to run something in a reader's shell, terminal or browser."""

HOSTILE = [
    "it's",
    '"; touch pwned #',
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned\n",
    "a\r\x1b[201~\ntouch pwned\n",
    "!!",
    "a\\'; touch pwned; '",
    "\\",
    "-rf /",
    "~",
    "*",
    "\u202eevil\u2066",
    "节点 1",
    "\x03\x04\x1a",
    "${IFS}",
]
