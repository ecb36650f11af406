"""A line of this tool that waits for a call."""

from __future__ import annotations

import socket

from bench.base.units import NS_PER_MS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip.answering import IncomingCall, open_answer
from tests.transport.sip.phone_line import ENOUGH, LOOPBACK

ANSWERED = "answered"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def answered(port: int, limits: Timeouts = ENOUGH, **path: object) -> IncomingCall:
    url = f"sip:callee@{LOOPBACK}:{port}"
    changes = {"ring_ns": 20 * NS_PER_MS} | path
    where = NetworkPath(**changes)  # type: ignore[arg-type]
    return open_answer(ConnectRequest(url, (), None, limits, ConnectTimings(), where))


def result(port: int, limits: Timeouts = ENOUGH, **path: object) -> str:
    """Return how a line's wait for a call ends. Hang up an answered call."""
    try:
        call = answered(port, limits, **path)
    except ConnectError as error:
        return error.outcome
    call.close()
    return ANSWERED
