"""A client that is stopped (SIGSTOP) from its request on, and goes on after the end of a limit."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from bench.clock import monotonic_ns
from bench.metrics import STARVED
from bench.protocol.openai_ga import GA
from tests.helpers import MS, created, delta, done, reply, session_created, session_updated
from tests.simulator_process import GUARD_S, ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")
WHOLE = reply(GA, "r1")
REPLIES: dict[str, tuple[Sequence[bytes], Sequence[bytes], str]] = {
    # (what is said within the limit, what is said after it, the turn's outcome)
    "all of it came within the limit": (WHOLE, (), "ok"),
    "its end came after the limit": ([created("r1"), delta(GA, "audio", "r1")], [done("r1")], STARVED),
    "nothing came": ((), (), "timeout:first_delta"),
}


class Service:
    """The other end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._protocol = sock, ServerProtocol()

    def accept(self) -> None:
        (asked,) = self._came()
        self._protocol.send_response(self._protocol.accept(asked))
        self._sock.sendall(b"".join(self._protocol.data_to_send()))

    def say(self, messages: Sequence[bytes]) -> None:
        self._sock.sendall(b"".join(Frame(Opcode.TEXT, data).serialize(mask=False) for data in messages))

    def wait_for(self, kind: str) -> None:
        """Wait until the client has said this."""
        while all(json.loads(frame.data)["type"] != kind for frame in self._came()):
            pass

    def _came(self) -> list[Any]:
        while not (came := self._protocol.events_received()):
            data = self._sock.recv(65_536)
            assert data, "the client has gone"
            self._protocol.receive_data(data)
        return came


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(GUARD_S)
        yield server


@pytest.mark.parametrize(("early", "late", "outcome"), REPLIES.values(), ids=REPLIES)
def test_a_client_that_was_stopped_while_its_limit_ended_blames_the_service_for_what_it_knows(
    early: Sequence[bytes], late: Sequence[bytes], outcome: str, listening: socket.socket
) -> None:
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/realtime"
    command = [sys.executable, "-m", "tests.system.transport.stopped", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as client:
        try:
            sock, _ = listening.accept()
            with sock:
                sock.settimeout(GUARD_S)
                service = Service(sock)
                service.accept()
                service.say([session_created(), session_updated()])
                service.wait_for("response.create")
                os.waitpid(client.pid, os.WUNTRACED)  # it has stopped itself
                service.say(early)
                ends_ns = monotonic_ns() + 50 * MS
                while (left_ns := ends_ns + 50 * MS - monotonic_ns()) > 0:
                    time.sleep(left_ns / 1e9)
                service.say(late)
                client.send_signal(signal.SIGCONT)
                out, _ = client.communicate(b"%d\n" % ends_ns, GUARD_S)
        finally:
            client.kill()

    session, turn, source = json.loads(out)
    assert (session, turn) == ("ok" if outcome == STARVED else outcome, outcome), source
