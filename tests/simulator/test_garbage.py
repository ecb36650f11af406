"""What has ended is freed at once: under load nobody looks for garbage."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest

from bench.simulator.behaviour import Behaviour, SimulatedSession
from bench.simulator.serving.handshake import Accepted, Authenticator
from bench.simulator.serving.server import Offer, Server, ServerWorker, listen
from tests.simulator.builders import CREATE, LATER_NS, REPLY, VAD, build_profile, drain, listening, sound, talk
from tests.simulator_process import GUARD_S
from tests.system.simulator.talk import CREATE_FRAME, UPGRADE

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
def test_a_behaviour_that_has_ended_is_freed(play: Callable[[], Behaviour]) -> None:
    behaviour = play()
    behind = (behaviour, behaviour._responses, behaviour._conversation)
    parts: list[Callable[[], object]] = [weakref.ref(part) for part in behind]

    behaviour.end()
    del behaviour, behind

    assert [part() for part in parts] == [None] * len(parts)


class _Watched(Server):
    """Keeps weak references to what it served."""

    served: Sequence[Callable[[], object]] = ()

    def _new_session(self, accepted: Accepted) -> SimulatedSession:
        behaviour = super()._new_session(accepted)
        (connection,) = self._connections
        self.served = [weakref.ref(part) for part in (behaviour, connection._protocol, connection._stream)]
        return behaviour


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("last", [CLOSE_FRAME, b""])
def test_a_connection_that_has_ended_is_freed(last: bytes) -> None:
    async def play() -> _Watched:
        loop = asyncio.get_running_loop()
        listener = listen("127.0.0.1", 0)
        server = _Watched(Offer(build_profile(), [REPLY], 1, Authenticator()), listener, loop, ServerWorker(0, 1, 0))
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, UPGRADE + CREATE_FRAME)
            await loop.sock_recv(client, 1000)
            await loop.sock_sendall(client, last)
        while not server.idle:
            await asyncio.sleep(0.001)
        await server.stop()
        return server

    server = asyncio.run(asyncio.wait_for(play(), GUARD_S))

    assert [part() for part in server.served] == [None, None, None]
