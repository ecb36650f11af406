"""Ports for programs that do not bind one that the kernel assigns, and ports that are closed."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

FIRST, BEYOND = 10_000, 32_000
"""Below the ports that the kernel assigns to sockets, of which tests open thousands: such a port
would be taken before the program binds it."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free for TCP and UDP, as the next one is, which baresip takes for TLS.

    The system draws the port, because hypothesis seeds Python's random generator equally in every
    process.
    """
    while True:
        port = random.SystemRandom().randrange(FIRST, BEYOND)
        if all(_is_free(host, candidate) for candidate in (port, port + 1)):
            return port


def _is_free(host: str, port: int) -> bool:
    with ExitStack() as sockets:
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sockets.enter_context(socket.socket(type=kind)).bind((host, port))
        except OSError:
            return False
    return True
