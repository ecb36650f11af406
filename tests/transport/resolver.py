"""A resolver for tests, in place of that of the system."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from bench.transport import connect


def use_resolver(
    monkeypatch: pytest.MonkeyPatch, resolve: Callable[[str], object], *, threads: int = 500
) -> None:
    """Replace the resolver of the system. `resolve` is called for each name, and may block its
    thread.

    Every name resolves to loopback.
    """
    real = connect.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any) -> Any:
        if rest[-1:] != (socket.AI_NUMERICHOST,):
            resolve(host)
            host = "127.0.0.1"
        return real(host, port, *rest)

    monkeypatch.setattr(connect, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(connect, "MAX_LOOKUPS", threads)
    resolver = connect.Resolver()
    monkeypatch.setattr(connect.Resolver, "of_hub", lambda: resolver)
