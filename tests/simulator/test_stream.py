"""A stream sends bytes immediately, or queues them in order; received bytes have a timestamp."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import enable_timestamps, monotonic_ns
from rtbench_simulator.behaviour import Behaviour
from rtbench_simulator.server_events import ArrivalSpan
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving import stream
from rtbench_simulator.serving.connection import Connection
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.server import SenderTimer, Server, Timetable, listen
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    ServerConfig,
    ServerState,
    ServerWorker,
)
from rtbench_simulator.serving.stream import ServerStream
from rtbench_simulator.simulated_session import SimulatedSession
from tests.simulator.builders import (
    CREATE,
    LATER_NS,
    REPLY,
    VAD,
    build_profile,
    drain,
    listening,
    sound,
    talk,
)
from tests.simulator_process import GUARD_S
from tests.system.simulator.talk import CREATE_FRAME, UPGRADE


@dataclass
class Pair:
    """A stream and its peer. `ended` is set when the stream's socket is closed."""

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
        enable_timestamps(sock)
        loop = asyncio.get_running_loop()
        stream = ServerStream(
            loop, sock, None, lambda *read: pair.received.append(read), lambda: pair.ended.set()
        )
        pair = Pair(stream, peer)
        with peer:
            await check(pair)
            stream.end()

    asyncio.run(asyncio.wait_for(run(), GUARD_S))


def test_data_without_room_is_queued_in_order() -> None:
    big, small = bytes(range(256)) * 100_000, b"the end"  # 25 MB: more than any socket buffer

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
        pair.peer.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        pair.peer.close()
        await pair.ended.wait()
        assert pair.stream.write(b"too late") is False

    with_pair(check)


def test_a_peer_that_does_not_read_is_disconnected_at_the_backlog_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "MAX_BACKLOG", 10_000_000)

    async def check(pair: Pair) -> None:
        for _ in range(20):
            pair.stream.write(bytes(5_000_000))
        await pair.ended.wait()

    with_pair(check)


# The order of due times across all connections.


PLANS = st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20))))


def planned(*plans: tuple[str, int | None]) -> Timetable[str]:
    timetable: Timetable[str] = Timetable()
    for entry, due_ns in plans:
        timetable.plan(entry, due_ns)
    return timetable


@given(plans=PLANS, now_ns=st.integers(0, 20))
def test_due_entries_are_taken_once_at_their_last_planned_time(
    plans: list[tuple[str, int | None]], now_ns: int
) -> None:
    last = dict(plans)
    due = {
        entry: due_ns for entry, due_ns in last.items() if due_ns is not None and due_ns <= now_ns
    }

    taken = list(planned(*plans).pop(now_ns))

    assert sorted(taken) == sorted(due)
    assert [due[entry] for entry in taken] == sorted(due.values())


@given(plans=PLANS)
def test_the_next_due_time_is_never_too_late(plans: list[tuple[str, int | None]]) -> None:
    timetable = planned(*plans)
    due = [due_ns for due_ns in dict(plans).values() if due_ns is not None]

    next_ns = timetable.next_due_ns()

    assert not due or (next_ns is not None and next_ns <= min(due))


@dataclass(eq=False)
class RecordingSender:
    """A sender that records its own lateness, and the order in which all senders run."""

    called: list[RecordingSender]
    due_ns: int = 0
    late_ns: int = -1
    fails: bool = False

    def send_due(self, now_ns: int) -> None:
        self.called.append(self)
        self.late_ns = now_ns - self.due_ns
        if self.fails:
            raise ValueError("as a test wants it")


def run_senders(*delays_ms: float, fails: int | None = None) -> list[RecordingSender]:
    """Run senders with these delays; return them after all have sent."""

    async def run() -> list[RecordingSender]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        alarm, called, now_ns = SenderTimer(loop), list[RecordingSender](), monotonic_ns()
        senders = [
            RecordingSender(called, now_ns + int(ms * 1e6), fails=place == fails)
            for place, ms in enumerate(delays_ms)
        ]
        for sender in senders:
            alarm.plan(sender, sender.due_ns)
        while len(called) < len(senders):
            await asyncio.sleep(0.001)
        return senders

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


def test_each_sender_is_called_at_its_own_due_time() -> None:
    late, early = run_senders(40, 5)

    assert late.called == [early, late]
    assert early.late_ns >= 0
    assert late.late_ns >= 0


# Objects that are no longer needed are freed immediately, because the garbage collector does not
# run under load.


CLOSE_FRAME = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def idle() -> Behaviour:
    return listening()


def answering() -> Behaviour:
    behaviour = listening()
    behaviour.receive(CREATE, LATER_NS)
    next(behaviour.due(LATER_NS * 2))
    return behaviour


def waiting_for_speech() -> Behaviour:
    behaviour = listening(VAD | {"idle_timeout_ms": 5000}, model="whisper-1")
    talk(behaviour, sound(0, 300, 500, 400))
    drain(behaviour, LATER_NS)
    return behaviour


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("play", [idle, answering, waiting_for_speech])
def test_an_ended_behavior_is_freed(play: Callable[[], Behaviour]) -> None:
    behaviour = play()
    behind = (behaviour, behaviour._responses, behaviour._conversation)
    parts: list[Callable[[], object]] = [weakref.ref(part) for part in behind]

    behaviour.end()
    del behaviour, behind

    assert [part() for part in parts] == [None] * len(parts)


class _Watched(ServerState):
    """The state of a server, with weak references to the objects of its last session."""

    served: Sequence[Callable[[], object]] = ()

    def new_session(self, accepted: AcceptedUpgrade) -> SimulatedSession:
        behaviour = super().new_session(accepted)
        (connection,) = self.connections
        assert isinstance(connection, Connection)
        self.served = [
            weakref.ref(part) for part in (behaviour, connection._protocol, connection._stream)
        ]
        return behaviour


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("last", [CLOSE_FRAME, b""])
def test_an_ended_connection_is_freed(monkeypatch: pytest.MonkeyPatch, last: bytes) -> None:
    monkeypatch.setattr("rtbench_simulator.serving.server.ServerState", _Watched)

    async def play() -> ServerState:
        loop = asyncio.get_running_loop()
        listener = listen("127.0.0.1", 0)
        server = Server(
            ServerConfig(build_profile(), [REPLY], 1, Authenticator(), services=SERVICES),
            listener,
            loop,
            ServerWorker(0, 1, 0),
        )
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, UPGRADE + CREATE_FRAME)
            await loop.sock_recv(client, 1000)
            await loop.sock_sendall(client, last)
        while server.state.connections:
            await asyncio.sleep(0.001)
        await server.stop()
        return server.state

    state = asyncio.run(asyncio.wait_for(play(), GUARD_S))

    assert isinstance(state, _Watched)
    assert [part() for part in state.served] == [None, None, None]
