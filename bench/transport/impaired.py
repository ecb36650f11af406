"""The impairment of what a client sends on an open connection: packets of audio, or the messages of
a WebSocket.

The set-up of the connection, and what the service sends, are not impaired. A message that leaves
late has two instants: when the client handed it over, and when it leaves. A receipt has the first
one, and the delay. If this process lets a message leave later than planned, that time counts as
`send_delay`, and the kernel's timestamp moves the receipt later.
"""

# Packets and messages differ in who may wait. A packet that is delayed is sent by a callback of the
# event loop, and later ones may overtake it. A message must keep its order and may block the
# kernel's buffer, so messages queue in `_held`, and leave while the connection listens:
# `ImpairedMessages` is the sender of its own connection, and passes on the turn of the session's
# sender.
#
# The measured instants are those at which the caller spoke, and not those at which the line carried
# it: a service answers a caller in a bad network later, and that is what the run measures. So
# receipts and transmit timestamps are moved back by the delay (`_as_handed_over`).

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from bench.base.clock import SendTime, monotonic_ns
from bench.transport.datagrams import DatagramSender
from bench.transport.event_loop import CallbackScheduler
from bench.transport.impairment.line import NetworkCounts, PacketLine, StreamLine
from bench.transport.impairment.profiles import NetworkProfile
from bench.transport.interface import (
    DeltaListener,
    OnMessage,
    PacedSender,
    Transport,
    WrappedTransport,
)
from bench.transport.links import call_of
from bench.transport.parser import MASK_BYTES, frame_bytes
from bench.wire.connection import SendReceipt, SocketAddress, Transmitted

OnSent = Callable[[int, int, Sequence[int | None]], None]
"""The method `sent` of a `bench.session.session_io.SessionListener`."""


def impaired(
    transport: Transport, network: NetworkProfile, seed: str, counts: NetworkCounts, on_sent: OnSent
) -> Transport:
    """Return an open connection with the impairment of a network. The same seed gives the same
    impairment.

    `counts` counts what happens. `on_sent` receives by how much this process let something leave
    later than planned.
    """
    random = Random(seed).random
    if (call := call_of(transport)) is not None:
        call.track.send_packet = ImpairedPackets(PacketLine(network, random, counts), on_sent).send
        return transport
    return ImpairedMessages(
        transport, StreamLine(network, random, counts, transport.now_ns()), on_sent
    )


class ImpairedPackets:
    """The sending of a track's packets of audio. The event loop sends the delayed ones."""

    def __init__(self, line: PacketLine, on_sent: OnSent) -> None:
        from bench.transport.rtp_track import send_now

        self._line = line
        self._on_sent = on_sent
        self._send_now = send_now

    def send(self, sock: DatagramSender, packet: bytes, destination: SocketAddress) -> SendReceipt:
        delay_ns = self._line.delay_ns()
        if delay_ns == 0:
            return self._send_now(sock, packet, destination)._replace(delay_ns=0)
        now_ns = monotonic_ns()
        if delay_ns is not None:
            due_ns = now_ns + delay_ns
            CallbackScheduler.of_hub().at(
                due_ns, partial(self._let_leave, sock, packet, destination, due_ns)
            )
        return SendReceipt(SendTime(now_ns), len(packet), delay_ns=delay_ns)

    def _let_leave(
        self, sock: DatagramSender, packet: bytes, destination: SocketAddress, due_ns: int
    ) -> None:
        if sock.fileno() >= 0:
            left = self._send_now(sock, packet, destination)
            self._on_sent(0, 0, (left.handed.at_ns - due_ns,))


class HeldMessage(NamedTuple):
    """A message that leaves at `due_ns`, `delay_ns` after it was handed over. `ticket` is 0
    without a timestamp.
    """

    message: bytes
    due_ns: int
    delay_ns: int
    ticket: int


class ImpairedMessages(WrappedTransport):
    """A `Transport` of messages that leave when a line carries them. Its tickets of held messages
    are below 0.

    While it listens, it is the `PacedSender` of the connection.
    """

    def __init__(self, transport: Transport, line: StreamLine, on_sent: OnSent) -> None:
        super().__init__(transport)
        self._line = line
        self._on_sent = on_sent
        self._held: deque[HeldMessage] = deque()
        self._half_sent: HeldMessage | None = None
        """The message that could not be sent without waiting."""
        self._tickets = 0
        self._stamped: dict[int, HeldMessage] = {}
        """The messages that were held and sent with a timestamp, by the tickets of the
        connection."""
        self._sender: PacedSender | None = None

    @property
    def keeps_texts(self) -> bool:
        return self._transport.keeps_texts

    @keeps_texts.setter
    def keeps_texts(self, keeps: bool) -> None:
        self._transport.keeps_texts = keeps

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if (held := self._hold(message, stamped=stamped)) is not None:
            return held
        return _undelayed(self._transport.send(message, stamped=stamped))

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if (held := self._hold(message, stamped=stamped)) is not None:
            return held
        return _undelayed(self._transport.try_send(message, stamped=stamped))

    def flush(self) -> SendReceipt | None:
        return _undelayed(self._transport.flush())

    def _hold(self, message: bytes, *, stamped: bool) -> SendReceipt | None:
        """Hold a message if it leaves later. Return None if it leaves now, or if the connection
        has ended.
        """
        if self._transport.closed is not None:
            return None
        self._let_leave()
        now_ns = self.now_ns()
        wire_bytes = frame_bytes(len(message)) + MASK_BYTES
        due_ns = self._line.departure_ns(now_ns, wire_bytes)
        # Nothing waits before it, so it leaves as it would without the line.
        if due_ns <= now_ns and not self._held and self._half_sent is None:
            return None
        self._tickets -= stamped
        self._held.append(
            HeldMessage(message, due_ns, due_ns - now_ns, self._tickets if stamped else 0)
        )
        return SendReceipt(
            SendTime(now_ns, 0, self._tickets if stamped else 0),
            wire_bytes,
            delay_ns=due_ns - now_ns,
        )

    def _let_leave(self) -> bool:
        """Send the messages that are due, without waiting. Return False if one of them was not
        sent completely.
        """
        while self._half_sent is None and self._held and self._held[0].due_ns <= self.now_ns():
            held = self._held.popleft()
            receipt = self._transport.try_send(held.message, stamped=bool(held.ticket))
            if receipt is None:
                self._half_sent = held
            else:
                self._has_left(held, receipt)
        return self._half_sent is None

    def _has_left(self, held: HeldMessage, receipt: SendReceipt) -> None:
        if receipt.handed.ticket:
            self._stamped[receipt.handed.ticket] = held
        self._on_sent(0, 0, (receipt.handed.at_ns - held.due_ns,))

    def _finish(self) -> None:
        """Wait until the message that was half sent is sent completely, or the connection has
        ended.
        """
        if (held := self._half_sent) is not None:
            receipt = self._transport.flush()
            self._half_sent = None
            if receipt is not None:
                self._has_left(held, receipt)

    def transmitted(self) -> list[Transmitted]:
        return [self._as_handed_over(timestamp) for timestamp in self._transport.transmitted()]

    def _as_handed_over(self, timestamp: Transmitted) -> Transmitted:
        """Return the timestamp of a held message as if the line had not delayed it."""
        held = self._stamped.get(timestamp.ticket)
        if held is None:
            return timestamp
        if timestamp.acknowledged:
            del self._stamped[timestamp.ticket]
        return Transmitted(held.ticket, timestamp.at_ns - held.delay_ns, timestamp.acknowledged)

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        self._sender = sender
        try:
            self._let_leave()
            self._finish()
            self._transport.receive_until(until_ns, on_message, reply, self)
            self._finish()
        finally:
            self._sender = None

    # The sender of the connection

    plain = None

    @property
    def due_ns(self) -> int | None:
        held_ns = self._held[0].due_ns if self._held and self._half_sent is None else None
        sender_ns = None if self._sender is None else self._sender.due_ns
        return min((at_ns for at_ns in (held_ns, sender_ns) if at_ns is not None), default=None)

    def send_due(self) -> bool:
        # The loop must not wait for the kernel. The listener does, in `_finish`.
        if not self._let_leave():
            return True
        sender = self._sender
        if sender is None or (due_ns := sender.due_ns) is None or due_ns > self.now_ns():
            return False
        return sender.send_due()

    def close(self) -> None:
        """Close the connection. What is held leaves at once."""
        self._finish()
        while self._held and self._transport.closed is None:
            self._transport.send(self._held.popleft().message)
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()


def _undelayed(receipt: SendReceipt | None) -> SendReceipt | None:
    return None if receipt is None else receipt._replace(delay_ns=0)
