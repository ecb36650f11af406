"""Kernel timestamps and their conversion to the monotonic clock of the process."""

from __future__ import annotations

import socket
import struct
import sys
import time

import pytest

from bench.base import clock
from bench.base.clock import (
    MAX_CLOCK_GAP_NS,
    SO_TIMESTAMPNS,
    arrival_ns,
    enable_timestamps,
    now_with_realtime,
)

S = 1_000_000_000
NOW, WALL = 50 * S, 1_700_000_000 * S
STAMP = struct.Struct("qq")


def timestamp(
    wall_ns: int, kind: int = SO_TIMESTAMPNS, level: int = socket.SOL_SOCKET
) -> tuple[int, int, bytes]:
    return level, kind, STAMP.pack(*divmod(wall_ns, S))


@pytest.fixture
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now_with_realtime", lambda: (NOW, WALL))


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(
    "ancillary",
    [
        [],
        [timestamp(WALL, kind=SO_TIMESTAMPNS + 1)],
        [timestamp(WALL, level=socket.SOL_SOCKET + 1)],
        [(socket.SOL_SOCKET, SO_TIMESTAMPNS, b"\0" * 15)],
    ],
)
def test_without_a_kernel_timestamp_there_is_no_arrival_instant(
    ancillary: list[tuple[int, int, bytes]],
) -> None:
    assert arrival_ns(ancillary) is None


def test_both_clocks_are_read_again_if_a_preemption_separates_the_two_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monotonic = iter([0, MAX_CLOCK_GAP_NS + 1, 100_000, 100_000 + MAX_CLOCK_GAP_NS])
    wall = iter([111, 222])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(monotonic))
    monkeypatch.setattr(time, "time_ns", lambda: next(wall))

    assert now_with_realtime() == (100_000 + MAX_CLOCK_GAP_NS, 222)


def test_other_platforms_have_no_kernel_timestamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert enable_timestamps(sock) is False


def test_a_socket_that_refuses_the_option_has_no_kernel_timestamps() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.close()
        assert enable_timestamps(sock) is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")
def test_a_kernel_timestamp_of_a_datagram_is_between_its_send_and_its_read() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert enable_timestamps(sock)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        for _ in range(1_000):  # the kernel enables timestamps only after a delay
            before = clock.monotonic_ns()
            sock.sendto(b"x", sock.getsockname())
            _, ancillary, _, _ = sock.recvmsg(9, clock.ANCILLARY_BYTES)
            after = clock.monotonic_ns()
            if (arrived := arrival_ns(ancillary)) is not None:
                break

    assert arrived is not None
    assert before <= arrived <= after + MAX_CLOCK_GAP_NS
