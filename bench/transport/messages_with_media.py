"""The transport of a session with messages and a track of media: two connections, in one order of arrival.

The media are read before each message is passed on, when packets arrive, and each `POLL_NS` while the session listens.
Only a wake-up of the session that a packet causes may be late, by up to `POLL_NS`. Timestamps are not affected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench.base.units import NEVER_NS, NS_PER_MS
from bench.transport.interface import DeltaListener, HostPort, OnMessage, PacedSender, SendReceipt, Transport
from bench.wire.connection import ConnectionClosed, NetworkMeasured, ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage

POLL_NS = 20 * NS_PER_MS
Watch = Callable[[Callable[[], bool]], None]
"""A function that lets the event loop call another one when packets arrive, until that one returns False."""


class MediaFacts(NamedTuple):
    """What a call agreed about its audio.

    `peer` is the address that ICE selected from `candidates`, of which those in `refused` get no packets. `mapped` is
    the address of this side, as the peer sees it; None if it is unknown, and `own` is that of its socket.
    """

    codec: str
    peer: HostPort
    candidates: tuple[HostPort, ...]
    refused: tuple[HostPort, ...]
    own: HostPort
    mapped: HostPort | None


class MessagesWithMedia:
    """A `Transport` that sends binary messages as media, and all others over the connection of the messages.

    While it listens to the messages, it is their `PacedSender`, and reads the media when that is due.
    """

    def __init__(
        self, messages: Transport, media: Transport, watch: Watch, facts: Callable[[], MediaFacts | None] = lambda: None
    ) -> None:
        self._messages, self.media, self._watch, self.facts = messages, media, watch, facts
        self.handshake, self.fill = messages.handshake, messages.fill
        self.now_ns, self.transmitted, self.add_template = messages.now_ns, messages.transmitted, messages.add_template
        self._receiving = self._offered = messages
        """The connections of the message that is passed on, and of the one that was last passed to `try_send`."""
        self._on_message: OnMessage | None = None
        self._sender: PacedSender | None = None
        self._poll_ns = 0
        self._is_woken = False
        """Whether the session must act because of a packet that arrived while it listened."""
        self._error: BaseException | None = None
        """An error of a handler that the event loop called. The session gets it."""

    @property
    def keeps_texts(self) -> bool:
        return self._messages.keeps_texts

    @keeps_texts.setter
    def keeps_texts(self, keeps: bool) -> None:
        self._messages.keeps_texts = keeps

    @property
    def closed(self) -> ConnectionClosed | None:
        return self._messages.closed or self.media.closed

    def handled_ns(self) -> int:
        return self._receiving.handled_ns()

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        return self._sink(message).send(message, stamped=stamped)

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        self._offered = self._sink(message)
        return self._offered.try_send(message, stamped=stamped)

    def flush(self) -> SendReceipt | None:
        return self._offered.flush()

    def _sink(self, message: bytes) -> Transport:
        return self.media if isinstance(message, BinaryMessage) else self._messages

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        self._on_message, self._sender, self._is_woken = on_message, sender, False
        try:
            if not self._read_media():
                self._watch(self._on_arrival)
                self._messages.receive_until(until_ns, self._pass_on, reply, self)
                self._read_media()
        finally:
            self._on_message = self._sender = None

    def _pass_on(self, message: ReceivedMessage) -> bool:
        assert self._on_message is not None, "the session listens"
        is_woken = self._read_media()
        return self._on_message(message) or is_woken

    def _on_arrival(self) -> bool:
        """Pass on the media that have arrived. Return False if the session does not listen."""
        if self._on_message is None:
            return False
        try:
            self._is_woken |= self._read_media()
        except BaseException as error:  # the event loop would only print it, and wake no session
            self._is_woken, self._error = True, error
        return True

    def _read_media(self) -> bool:
        """Pass on the media that have arrived. Return True if the session must act."""
        now_ns, is_woken = self.media.now_ns(), False

        def pass_on(message: ReceivedMessage) -> bool:
            nonlocal is_woken
            assert self._on_message is not None, "the session listens"
            is_woken = self._on_message(message)
            return is_woken

        self._poll_ns = now_ns + POLL_NS
        self._receiving = self.media
        self.media.receive_until(now_ns, pass_on)
        self._receiving = self._messages
        return is_woken or self.media.closed is not None

    # The sender of the messages

    @property
    def due_ns(self) -> int:
        sender_ns = NEVER_NS if self._sender is None else self._sender.due_ns or NEVER_NS
        return 0 if self._is_woken else min(self._poll_ns, sender_ns)

    def send_due(self) -> bool:
        if self._error is not None:
            raise self._error
        is_woken, self._is_woken = self._is_woken, False
        is_woken |= self._poll_ns <= self.now_ns() and self._read_media()
        if self._sender is not None and (self._sender.due_ns or NEVER_NS) <= self.now_ns():
            return self._sender.send_due() or is_woken
        return is_woken

    @property
    def watermark_ns(self) -> int:
        return min(self._messages.watermark_ns, self.media.watermark_ns)

    def network(self) -> NetworkMeasured | RtpMeasured | None:
        return self.media.network() or self._messages.network()

    def close(self) -> None:
        self.media.close()
        self._messages.close()

    def abort(self) -> None:
        self.media.abort()
        self._messages.abort()
