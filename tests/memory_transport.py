"""Transports without a network, for tests of code that runs a session. They have a peer in memory
and a virtual clock.

The clock stops while the session computes, and jumps forward when the session waits. So a test
takes no time, and every instant is known exactly. The peer of a `MemoryTransport` is a function. It
takes one client message and returns the answers of the service as pairs (delay in ns, message). The
peer of a `LiveTransport` is an object that decides what to send and when.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from websockets.frames import Frame, Opcode

from bench.base.clock import Arrival, SendTime
from bench.transport.fast.reader import MessageReader
from bench.transport.interface import DeltaListener, OnMessage, PacedSender
from bench.transport.parser import MASK_BYTES, SocketRead, frame_bytes
from bench.wire.connection import (
    Connected,
    ConnectionClosed,
    MatchedDelta,
    NetworkMeasured,
    ReceivedMessage,
    SendReceipt,
    Transmitted,
)
from bench.wire.dialect import BinaryMessage
from bench.wire.events import ServerEvent
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.simulated_session import EventReceipt, SimulatedSession

PeerAnswer = tuple[int, bytes | ConnectionClosed]
Peer = Callable[[bytes], Iterable[PeerAnswer]]


class VirtualClock:
    """A clock that advances only during waits."""

    def __init__(self, now_ns: int = 1_000_000_000_000) -> None:
        self.now_ns = now_ns


class TransmitDelays(NamedTuple):
    """Two durations from the call that sends a message: until it leaves the host, and until it
    is acknowledged.
    """

    left_ns: int = 0
    acknowledged_ns: int = 0


class MemoryTransport:
    """A `bench.transport.interface.Transport` whose peer is a function. The peer sends
    `greeting` at the start.
    """

    transmit: TransmitDelays | None = None
    """The delays of the transmit timestamps. None if there are none, as on a platform without
    such timestamps."""
    keeps_texts = False
    stalled_ns = 0
    """For how long no message is read before the first wake-up: the next read has them all."""

    def __init__(
        self, peer: Peer, greeting: Iterable[PeerAnswer] = (), clock: VirtualClock | None = None
    ) -> None:
        self._peer = peer
        self.clock = clock or VirtualClock()
        now = self.clock.now_ns
        self.fill: Callable[[bytes], bytes] | None = None
        self.handshake = Connected(
            {"connect_start": now, "dns_done": now, "tcp_done": now, "opened": now}, {}
        )
        self.closed: ConnectionClosed | None = None
        self.sent: list[tuple[int, bytes]] = []
        self.error_ns, self.kernel = 0, True
        """The uncertainty of receive timestamps, and True if they are timestamps of the kernel."""
        self._transmitted: list[Transmitted] = []
        self._due: list[tuple[int, int, bytes | ConnectionClosed]] = []
        self._number = 0
        self.schedule(greeting)

    def schedule(self, answers: Iterable[PeerAnswer]) -> None:
        """Schedule messages of the peer. Each message arrives after its delay."""
        for delay_ns, answer in answers:
            self._number += 1
            heapq.heappush(self._due, (self.clock.now_ns + delay_ns, self._number, answer))

    def now_ns(self) -> int:
        return self.clock.now_ns

    handled_ns = now_ns

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self.closed is not None:
            return None
        self.sent.append((self.clock.now_ns, message))
        self.schedule(self._peer(message))
        handed = SendTime(self.clock.now_ns, ticket=self._ticket() if stamped else 0)
        return SendReceipt(handed, frame_bytes(len(message)) + MASK_BYTES)

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        return self.send(message, stamped=stamped)

    def flush(self) -> SendReceipt | None:
        return None

    def _ticket(self) -> int:
        """Return a ticket for the last sent message, and schedule the transmit timestamps of
        this message.
        """
        if self.transmit is None:
            return 0
        now_ns, ticket = self.clock.now_ns, len(self.sent)
        self._transmitted.append(
            Transmitted(ticket, now_ns + self.transmit.left_ns, acknowledged=False)
        )
        self._transmitted.append(
            Transmitted(ticket, now_ns + self.transmit.acknowledged_ns, acknowledged=True)
        )
        return ticket

    def transmitted(self) -> list[Transmitted]:
        told = [one for one in self._transmitted if one.at_ns <= self.clock.now_ns]
        self._transmitted = [one for one in self._transmitted if one.at_ns > self.clock.now_ns]
        return told

    @property
    def watermark_ns(self) -> int:
        return min(self.clock.now_ns, self._due[0][0] - 1) if self._due else self.clock.now_ns

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        read_ns: int | None = None
        while self.closed is None:
            if read_ns is not None:
                self._come_about(read_ns)
                if not self._due or self._due[0][0] > read_ns:
                    self.clock.now_ns = max(self.clock.now_ns, read_ns)
                    return
            due_ns = (
                until_ns
                if sender is None or sender.due_ns is None
                else min(until_ns, sender.due_ns)
            )
            self._come_about(due_ns)
            if not self._due or self._due[0][0] > due_ns:
                self.clock.now_ns = max(self.clock.now_ns, due_ns)
                if due_ns == until_ns or sender is None or sender.send_due():
                    return
                continue
            at_ns, _, answer = heapq.heappop(self._due)
            self.clock.now_ns = max(self.clock.now_ns, at_ns)
            if isinstance(answer, ConnectionClosed):
                self.closed = msgspec.structs.replace(answer, at_ns=at_ns)
            elif on_message(
                ReceivedMessage(
                    answer, Arrival(at_ns, self.error_ns, self.kernel), frame_bytes(len(answer))
                )
            ):
                if read_ns is None and not self.stalled_ns:
                    return
                read_ns = read_ns or self.clock.now_ns + self.stalled_ns
                self.stalled_ns = 0

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        """Do nothing: this transport does not match deltas, but delivers each message as a
        whole.
        """

    def take_deltas(self) -> list[MatchedDelta]:
        return []

    def _come_about(self, until_ns: int) -> None:
        """Schedule the messages that the peer sends until this instant without a request."""

    def network(self) -> NetworkMeasured | None:
        return None

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self.closed is None:
            self.closed = ConnectionClosed(1000, self.clock.now_ns)


class LivePeer(Protocol):
    """A peer that decides what to send, and when."""

    def hear(self, message: bytes, at_ns: int) -> None:
        """Receive a client message."""

    def next_due_ns(self) -> int | None:
        """Return the instant of the next message that this peer currently plans; None if it
        plans none.
        """

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        """Return (instant, message) of each message that is due."""


SessionT = TypeVar("SessionT", bound=SimulatedSession)


class SimulatedPeer(Generic[SessionT]):
    """A `LivePeer` with one simulated session. `said` contains everything that it has sent."""

    def __init__(self, behaviour: SessionT) -> None:
        self.behaviour = behaviour
        self.said: list[OutgoingEvent] = []

    def hear(self, message: bytes, at_ns: int) -> None:
        self.receive(message, at_ns)

    def receive(self, message: bytes, at_ns: int) -> EventReceipt:
        if isinstance(message, BinaryMessage):
            return self.behaviour.receive_binary(message, at_ns)
        return self.behaviour.receive_text(message, at_ns)

    def next_due_ns(self) -> int | None:
        return self.behaviour.next_due_ns()

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        for sent in self.behaviour.due(now_ns):
            self.said.append(sent)
            yield sent.due_ns, sent.body


class LiveTransport(MemoryTransport):
    """A `Transport` whose peer decides when to send, for example `rtbench_simulator.behaviour`."""

    def __init__(self, peer: LivePeer, clock: VirtualClock | None = None) -> None:
        super().__init__(self._tell, clock=clock)
        self._live = peer

    def _tell(self, message: bytes) -> Iterable[PeerAnswer]:
        self._live.hear(message, self.clock.now_ns)
        return ()

    def _come_about(self, until_ns: int) -> None:
        while not self._due and self.closed is None:
            due_ns = self._live.next_due_ns()
            if due_ns is None or due_ns > until_ns:
                break
            self.clock.now_ns = max(self.clock.now_ns, due_ns)
            # empty if the planned message is no longer needed
            said = self._live.say(self.clock.now_ns)
            self.schedule((at_ns - self.clock.now_ns, message) for at_ns, message in said)


class Matching(MemoryTransport):
    """A mixin that matches the deltas of a reply, as a connection to a service does.

    In the list of base classes, it comes before the transport.
    """

    most = 1_000
    """The number of matched deltas after which they are passed on, because matching uses the
    real clock."""

    def __init__(self, *of: Any) -> None:
        self.reader = MessageReader()
        self.reader.expect(plain=True)
        self.matched = 0
        """The number of matched deltas."""
        super().__init__(*of)

    @property
    def keeps_texts(self) -> bool:  # type: ignore[override]
        return self.reader.keeps_texts

    @keeps_texts.setter
    def keeps_texts(self, keeps: bool) -> None:
        self.reader.keeps_texts = keeps

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        def read(message: ReceivedMessage) -> bool:
            at_ns, error_ns, kernel = message.arrival
            opcode = Opcode.BINARY if isinstance(message.data, BinaryMessage) else Opcode.TEXT
            frame = Frame(opcode, message.data).serialize(mask=False)
            came = self.reader.read(
                SocketRead(frame, at_ns, at_ns - error_ns, kernel, is_complete=not error_ns)
            )
            assert isinstance(came, list), "a text frame is read at once"
            self.matched += not came
            if self.reader.count >= self.most:
                self.reader.pass_on_consumed()
            return any([on_message(one) for one in came]) or self.reader.wakes

        self.reader.begin(reply)
        try:
            super().receive_until(until_ns, read, reply, sender)
        finally:
            self.reader.end()

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        self.reader.add_template(message.data, event, is_sound=is_sound, keeps_text=keeps_text)

    def take_deltas(self) -> list[MatchedDelta]:
        return self.reader.pop_deltas()


class MatchingTransport(Matching, MemoryTransport):
    """A `MemoryTransport` that matches the deltas of a reply."""
