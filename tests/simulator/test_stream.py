"""Bytes go out at once, or wait in order; bytes come in with an instant."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from bench.clock import enable_stamps, monotonic_ns
from bench.simulator.serving import stream
from bench.simulator.serving.stream import ServerStream
from bench.simulator.wire import ArrivalSpan
from tests.simulator_process import GUARD_S


@dataclass
class Pair:
    """A stream and its peer. `ended` is set when the stream's socket is gone."""

    stream: ServerStream
    peer: socket.socket
    received: list[tuple[bytes, ArrivalSpan]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_all(self) -> bytes:
        loop, pieces = asyncio.get_running_loop(), []
        while piece := await loop.sock_recv(self.peer, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)


def with_pair(check: Callable[[Pair], Awaitable[None]]) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            sock, _ = listener.accept()
        peer.setblocking(False)
        sock.setblocking(False)
        enable_stamps(sock)
        loop = asyncio.get_running_loop()
        stream = ServerStream(loop, sock, None, lambda *read: pair.received.append(read), lambda: pair.ended.set())
        pair = Pair(stream, peer)
        with peer:
            await check(pair)
            stream.end()

    asyncio.run(asyncio.wait_for(run(), GUARD_S))


def test_what_has_no_room_waits_its_turn_and_says_so() -> None:
    big, small = bytes(range(256)) * 100_000, b"the end"  # 25 MB: no socket buffer holds that

    async def check(pair: Pair) -> None:
        assert pair.stream.write(small) is True
        assert pair.stream.write(big) is False
        assert pair.stream.write(small) is False
        pair.stream.finish()
        assert await pair.read_all() == small + big + small

    with_pair(check)


def test_a_finished_stream_ends_when_the_peer_closes() -> None:
    async def check(pair: Pair) -> None:
        pair.stream.finish()
        assert await pair.read_all() == b""
        assert not pair.ended.is_set()
        pair.peer.close()
        await pair.ended.wait()

    with_pair(check)


def test_a_peer_that_resets_ends_the_stream_once() -> None:
    async def check(pair: Pair) -> None:
        pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        pair.peer.close()
        await pair.ended.wait()
        assert pair.stream.write(b"too late") is False

    with_pair(check)


@pytest.mark.parametrize("pieces", [[b"a"], [b"a", b"bc"]])
def test_what_comes_carries_the_instant_of_its_arrival(pieces: list[bytes]) -> None:
    async def check(pair: Pair) -> None:
        before_ns = monotonic_ns()
        for piece in pieces:
            pair.peer.send(piece)
        while b"".join(data for data, _ in pair.received) != b"".join(pieces):
            await asyncio.sleep(0)
        assert all(before_ns - 1_000_000 <= came.at_ns <= monotonic_ns() for _, came in pair.received)
        assert all(came.since_ns <= came.at_ns for _, came in pair.received)

    with_pair(check)


def test_a_peer_that_does_not_read_is_cut_before_it_takes_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_BACKLOG", 10_000_000)

    async def check(pair: Pair) -> None:
        for _ in range(20):
            pair.stream.write(bytes(5_000_000))
        await pair.ended.wait()

    with_pair(check)
