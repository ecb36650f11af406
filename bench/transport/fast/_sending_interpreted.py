"""The Python implementation of `_sending.pyx`. The docstrings of `_sending.pyx` have the details."""

from __future__ import annotations

import os

from bench.base.clock import monotonic_ns
from bench.transport import parser


def masked_frame(payload: bytes, mask: bytes | None = None) -> bytes:
    return parser.masked_frame(payload, os.urandom(parser.MASK_BYTES) if mask is None else mask)


def send_at_once(fd: int, data: bytes) -> tuple[int, int, int]:
    """Send by `os.write`, which needs no object of the socket. Python ignores SIGPIPE."""
    before_ns = monotonic_ns()
    try:
        count = os.write(fd, data)
    except OSError as error:
        count = -(error.errno or 0)
    return before_ns, monotonic_ns() - before_ns, count
