"""Pings of the client on a silent connection, on a stream in memory with a clock of its own."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from bench.base.units import NS_PER_S
from bench.transport import websocket
from bench.transport.fast.reader import Sieve
from bench.transport.interface import PacedSender
from bench.transport.parser import SocketRead
from bench.transport.tcp import TakeRead
from bench.transport.websocket import PING_AFTER_NS, WebSocket
from bench.wire.connection import ReceivedMessage
from tests.transport.fake_stream import FakeStream, close_frame, opened, text

S = NS_PER_S


class TimedStream(FakeStream):
    """A stream on which data arrives at given instants. A wait moves the clock to its end, or to
    the next arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 100 * S
        self.active_ns = self.now_ns
        self.sieve = Sieve()
        self.arrivals: list[tuple[int, bytes]] = []
        self.sends_ns: list[int] = []
        """The instants at which the event loop sends audio while the session sleeps."""
        self.pings_ns: list[int] = []
        self.answers = True

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        while True:
            due = min([at for at, _ in self.arrivals] + self.sends_ns, default=until_ns + 1)
            if due > until_ns:
                self.now_ns = max(self.now_ns, until_ns)
                return False
            self.now_ns = self.active_ns = max(self.now_ns, due)
            if due in self.sends_ns:
                self.sends_ns.remove(due)
                continue
            _, data = self.arrivals.pop(0)
            if on_read(SocketRead(data, self.now_ns, self.now_ns - 1, True, True)):
                return True

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = 1 << 62):  # type: ignore[no-untyped-def]
        sent = super().write(data, stamped=stamped, until_ns=until_ns)
        self.active_ns = self.now_ns
        frames = [frame for frame in self.server.events_received() if isinstance(frame, Frame)]
        for frame in frames:
            if frame.opcode is Opcode.PING:
                self.pings_ns.append(self.now_ns)
        pongs = b"".join(self.server.data_to_send())
        if pongs and self.answers and frames:
            self.arrivals.insert(0, (self.now_ns + 30_000_000, pongs))
        return sent


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> tuple[WebSocket, TimedStream]:
    stream = TimedStream()
    monkeypatch.setattr(websocket, "monotonic_ns", lambda: stream.now_ns)
    socket, _ = opened(stream)
    stream.active_ns = stream.now_ns
    return socket, stream


def wait(socket: WebSocket, stream: TimedStream, seconds: float) -> list[ReceivedMessage]:
    """Wait until an instant, as the pause of a script does. Return the messages that arrived."""
    messages: list[ReceivedMessage] = []
    until_ns = stream.now_ns + int(seconds * S)
    socket.receive_until(until_ns, lambda message: messages.append(message) or False)  # type: ignore[func-returns-value]
    assert stream.now_ns == until_ns
    return messages


def after_s(stream: TimedStream, start_ns: int) -> list[float]:
    return [round((at_ns - start_ns) / S, 1) for at_ns in stream.pings_ns]


def test_a_ping_follows_twenty_seconds_without_a_byte(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    start_ns = stream.now_ns

    assert wait(socket, stream, 65) == []
    assert after_s(stream, start_ns) == [20, 40, 60.1]


def test_a_silence_that_consists_of_several_waits_has_a_ping(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    start_ns = stream.now_ns
    for _ in range(9):
        wait(socket, stream, 4)

    assert after_s(stream, start_ns) == [20]


def test_pings_continue_without_an_answer_and_end_nothing(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    stream.answers, start_ns = False, stream.now_ns
    wait(socket, stream, 70)

    assert (after_s(stream, start_ns), socket.closed) == ([20, 40, 60], None)


@pytest.mark.parametrize("received", [True, False], ids=["received", "sent"])
def test_bytes_in_either_direction_delay_the_ping(
    linked: tuple[WebSocket, TimedStream], received: bool
) -> None:
    socket, stream = linked
    start_ns = stream.now_ns
    for at_s in (12, 24, 36):
        if received:
            stream.arrivals.append((start_ns + at_s * S, text(b"{}")))
        else:
            stream.sends_ns.append(start_ns + at_s * S)

    assert len(wait(socket, stream, 57)) == 3 * received
    assert after_s(stream, start_ns) == [56]


def test_messages_after_a_ping_are_received_as_before(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    start_ns = stream.now_ns
    stream.arrivals.append((start_ns + 25 * S, text(b"first") + text(b"second")))
    messages = wait(socket, stream, 30)

    assert [message.data for message in messages] == [b"first", b"second"]
    assert messages[0].wire_bytes == len(text(b"first"))
    assert [message.arrival.at_ns - start_ns for message in messages] == [25 * S, 25 * S]


def test_a_wait_that_ends_before_the_silence_is_long_sends_nothing(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    written = len(stream.written)
    wait(socket, stream, PING_AFTER_NS / S - 0.1)

    assert len(stream.written) == written


def test_a_ping_that_cannot_be_sent_ends_the_connection(
    linked: tuple[WebSocket, TimedStream],
) -> None:
    socket, stream = linked
    stream.broken = True
    socket.receive_until(stream.now_ns + 60 * S, lambda _: False)

    assert socket.closed is not None
    assert socket.closed.code == 1006


def test_a_closed_connection_gets_no_ping(linked: tuple[WebSocket, TimedStream]) -> None:
    socket, stream = linked
    stream.arrivals.append((stream.now_ns + S, close_frame(1001, "bye")))
    socket.receive_until(stream.now_ns + 60 * S, lambda _: False)

    assert (socket.closed is not None, stream.pings_ns) == (True, [])
