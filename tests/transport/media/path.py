"""A simulated path on a virtual clock: a sender of numbered frames, and what arrives of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.jitter import Frame, JitterBuffer
from bench.protocols.rtp.rtp import (
    CODECS,
    Codec,
    ReceivedPacket,
    RtpReceiver,
    RtpSender,
    StreamNumbers,
)
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.wire.addresses import HostPort
from bench.wire.audio import G711_ULAW, AudioFormat

START_NS = 1_000_000_000_000
FRAME_NS = 20 * NS_PER_MS
HOLD_NS = 60 * NS_PER_MS
PEER = "192.0.2.4", 5_000
PLAIN = AgreedMedia(
    *PEER, "PCMU", 0, ((0, "PCMU"), (8, "PCMA")), 101, 101, "sendrecv", HostPort("192.0.2.4", 5_001)
)
SILENCE = G711_ULAW.encode(G711_ULAW.decode(b"\xff" * 160))


def audio(number: int) -> bytes:
    """Return a frame that contains its number, and is not silence."""
    return number.to_bytes(4) * 40


def number_of(frame: Frame) -> int | None:
    """Return the number of a frame; None if it is silence."""
    return None if set(frame.audio) == {0xFF} else int.from_bytes(frame.audio[:4])


def new_buffer(
    codec: Codec = CODECS["PCMU"], audio: AudioFormat = G711_ULAW, *, hold_ns: int = HOLD_NS
) -> JitterBuffer:
    """Return a jitter buffer in which the payload type 0 has a codec."""
    buffer = JitterBuffer(codec.clock_hz, audio, hold_ns)
    buffer.accept({0: codec})
    return buffer


def new_media(agreed: AgreedMedia = PLAIN) -> CallMedia:
    return CallMedia(agreed, StreamNumbers(1, 2, 3), "x@y", START_NS, 0, lambda: 0.5)


@dataclass
class Path:
    """A path with random delays and loss, from a sender whose clock differs by `drift_ppm`.

    `is_silent` states for which frames the sender sends nothing. `sent_ns` is the instant of each
    sent frame on the receiver's clock: the true media clock.
    """

    delay_ns: Callable[[random.Random], float]
    loss: float = 0.0
    drift_ppm: int = 0
    seed: int = 1
    is_silent: Callable[[int], bool] = lambda number: False

    def sent_ns(self, number: int) -> int:
        return START_NS + number * FRAME_NS * (1_000_000 + self.drift_ppm) // 1_000_000

    def arrivals(self, frames: int) -> Iterator[tuple[int, bytes]]:
        """Yield (instant, packet) for each packet that arrives. A packet is delayed by less than
        20 frames.
        """
        chance = random.Random(self.seed)
        sender = RtpSender(
            CODECS["PCMU"],
            0,
            StreamNumbers(9, chance.randrange(1 << 16), chance.randrange(1 << 32)),
        )
        under_way: list[tuple[int, bytes]] = []
        for number in range(frames):
            if self.is_silent(number):
                sender.pause(160)
                continue
            packet = sender.audio(audio(number))
            if chance.random() >= self.loss:
                under_way.append((self.sent_ns(number) + int(self.delay_ns(chance)), packet))
            if len(under_way) > 20:
                under_way.sort()
                yield under_way.pop(0)
        yield from sorted(under_way)

    def play(
        self, frames: int, hold_ns: int = HOLD_NS
    ) -> tuple[list[Frame], JitterBuffer, RtpReceiver]:
        receiver, buffer = RtpReceiver(8_000, {0}), new_buffer(hold_ns=hold_ns)
        played: list[Frame] = []
        for at_ns, data in self.arrivals(frames):
            packet = receiver.receive(data, Arrival(at_ns))
            assert packet is not None
            played += buffer.add(packet)
        return played + buffer.expire(NEVER_NS), buffer, receiver


def received(
    number: int,
    at_ns: int,
    *,
    ticks: int | None = None,
    source: int = 0,
    kind: str = "audio",
    payload: bytes | None = None,
    uncertainty_ns: int = 0,
) -> ReceivedPacket:
    timestamp = (number * 160 if ticks is None else ticks) % (1 << 32)
    payload = audio(number) if payload is None else payload
    return ReceivedPacket(
        kind,  # type: ignore[arg-type]
        source,
        number,
        timestamp,
        payload,
        Arrival(at_ns, uncertainty_ns),
        False,
        0,
    )
