"""The sound in captured packets: they are decrypted, decoded, and searched for the starts and
ends of sound.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from G722 import G722
from numpy.typing import NDArray
from opuslib_next.api import decoder
from pylibsrtp import Error, Policy, Session

from bench.catalogue.metrics import AUDIBLE
from bench.wire.audio import G711_ALAW, G711_ULAW
from tools.peers.capture import RtpSeen

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
MASTER_KEY_BYTES, SALT_BYTES = 16, 14
G711 = {0: G711_ULAW, 8: G711_ALAW}
"""The formats of payload types (RFC 3551)."""
OPUS = 111
"""The payload type of Opus in the offers of this tool."""
OPUS_HZ, WIDE_HZ, OPUS_CLOCK_HZ, MAX_OPUS_SAMPLES = 24_000, 16_000, 48_000, 2_880
"""The rate of the decoded audio over WebRTC and by telephone, that of the timestamps, and the
longest packet. A player has the rate of the session: Opus smears a start, so at another rate its
first audible sample may be another one.
"""
G722_TYPE = 9
PAUSE_NS = 200 * NS_PER_MS
"""The time without audible samples between two sounds."""
CLOCK_NS = 4 * NS_PER_S
"""The time whose fastest packet shows the clock of a stream."""
HELD_NS = 60 * NS_PER_MS
"""The delay of a player's buffer."""
JITTER_PACKETS, CLEAN_NS = 256, 1_100_000
"""The number of packets whose mean jitter is computed: 5 s. Up to this jitter, a player need not
smooth it: half of that of docs/agents.md, *Instants*, because it is another estimate."""


class Heard(NamedTuple):
    """A packet with its audio."""

    packet: RtpSeen
    samples: NDArray[np.int16]
    rate_hz: int
    clock_hz: int
    """The rate of the timestamps."""


class Sound(NamedTuple):
    """A sound of a stream. All instants are UTC.

    `start_ns` is the arrival of its first audible sample, before which it cannot be heard.
    `clock_ns` is when the clock of the stream says that it is played. Both are equal on a path
    without jitter. `end_ns` is the arrival of the packet with its last audible sample, and that of
    the part of the packet before it. `jitter_ns` is that of the packets before the sound.
    """

    clock_ns: int
    start_ns: int
    end_ns: int
    jitter_ns: int

    @property
    def is_clean(self) -> bool:
        """True if the jitter is so small that a player plays the sound when it arrives."""
        return self.jitter_ns < CLEAN_NS


def read_keys(path: Path) -> list[bytes]:
    """Return the master keys with their salts: both of each call (RFC 5764 §4.2)."""
    keys = []
    for line in path.read_text(encoding="ascii").split() if path.exists() else ():
        material = bytes.fromhex(line)
        for number in (0, 1):
            key = material[number * MASTER_KEY_BYTES :][:MASTER_KEY_BYTES]
            keys.append(key + material[2 * MASTER_KEY_BYTES + number * SALT_BYTES :][:SALT_BYTES])
    return keys


def heard(packets: Iterable[RtpSeen], keys: Sequence[bytes], opus_hz: int = OPUS_HZ) -> list[Heard]:
    """Return the packets that have audio, in the order of their sequence numbers, source by
    source. Opus is decoded at the rate `opus_hz`.
    """
    sources: dict[int, dict[int, RtpSeen]] = {}
    last: dict[int, int] = {}
    for packet in packets:
        number = packet.sequence_number
        if packet.ssrc in last:
            number = last[packet.ssrc] + (number - last[packet.ssrc] + 0x8000) % 0x10000 - 0x8000
        last[packet.ssrc] = number
        sources.setdefault(packet.ssrc, {}).setdefault(number, packet)
    found: list[Heard] = []
    for source in sources.values():
        found += _decoded([source[number] for number in sorted(source)], keys, opus_hz)
    return found


def _decoded(packets: Sequence[RtpSeen], keys: Sequence[bytes], opus_hz: int) -> Iterator[Heard]:
    session = _session(packets[0].datagram, keys)
    state = decoder.create_state(opus_hz, 1)
    wide = G722(WIDE_HZ, 64_000)
    samples = (ctypes.c_int16 * MAX_OPUS_SAMPLES)()
    try:
        for packet in packets:
            data = packet.datagram if session is None else session.unprotect(packet.datagram)
            payload = _payload(data)
            if (law := G711.get(data[1] & 0x7F)) is not None:
                yield Heard(packet, law.decode(payload), law.rate_hz, law.rate_hz)
                continue
            if data[1] & 0x7F == G722_TYPE:
                decoded = np.array(wide.decode(payload), np.int16)
                yield Heard(packet, decoded, WIDE_HZ, G711_ULAW.rate_hz)
                continue
            if data[1] & 0x7F != OPUS:
                continue
            count = decoder.libopus_decode(
                state, payload, len(payload), samples, MAX_OPUS_SAMPLES, False
            )
            yield Heard(
                packet, np.array(samples[: max(count, 0)], np.int16), opus_hz, OPUS_CLOCK_HZ
            )
    finally:
        decoder.destroy(state)


def _session(datagram: bytes, keys: Sequence[bytes]) -> Session | None:
    """Return what decrypts a stream: the only key that authenticates its first packet; None if
    there is none.
    """
    for key in keys:
        policy = Policy(
            key,
            ssrc_type=Policy.SSRC_ANY_INBOUND,
            srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
        )
        try:
            Session(policy).unprotect(datagram)
        except Error:
            continue
        return Session(policy)
    return None


def _payload(data: bytes) -> bytes:
    """Return the payload of a packet: without its header, contributing sources, extension and
    padding (RFC 3550).
    """
    start = 12 + (data[0] & 15) * 4
    if data[0] & 0x10:
        start += 4 + int.from_bytes(data[start + 2 : start + 4]) * 4
    return data[start : len(data) - (data[-1] if data[0] & 0x20 else 0)]


def sounds(stream: Sequence[Heard], least: int = AUDIBLE) -> list[Sound]:
    """Return the sounds of a stream: samples of at least a magnitude, with pauses of less than
    `PAUSE_NS`.
    """
    found: list[Sound] = []
    for number, (packet, samples, rate_hz, _) in enumerate(stream):
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= least)
        if not len(loud):
            continue
        first_ns, last_ns = (
            int(sample) * NS_PER_S // rate_hz for sample in (loud[0], loud[-1] + 1)
        )
        start_ns = packet.at_ns + first_ns
        if not found or start_ns - found[-1].end_ns >= PAUSE_NS:
            jitter = jitter_ns(stream[max(0, number - JITTER_PACKETS) : number + 1])
            found.append(Sound(start_ns - lateness_ns(stream, number), start_ns, start_ns, jitter))
        found[-1] = found[-1]._replace(end_ns=packet.at_ns + last_ns)
    return found


def lateness_ns(stream: Sequence[Heard], number: int) -> int:
    """Return how much later a packet arrived than the fastest one with the same clock.

    These are the packets of the time before it, and the next ones, for which the buffer of a player
    waits.
    """
    packet, lateness = stream[number].packet, 0
    for step, limit_ns in ((-1, CLOCK_NS), (1, HELD_NS)):
        index = number
        while (
            0 <= index + step < len(stream)
            and difference_ns(stream, min(index, index + step)) is not None
        ):
            index += step
            other = stream[index].packet
            if abs(packet.at_ns - other.at_ns) > limit_ns:
                break
            lateness = max(lateness, packet.at_ns - other.at_ns - _media_ns(stream[number], other))
    return lateness


def difference_ns(stream: Sequence[Heard], number: int) -> int | None:
    """Return how much less a packet is delayed than the next one is; None if the next one has
    another clock.

    It has one if it is the first one of a source, or follows a pause that its timestamps do not
    count.
    """
    before, after = stream[number], stream[number + 1]
    if before.packet.ssrc != after.packet.ssrc:
        return None
    passed_ns = after.packet.at_ns - before.packet.at_ns
    found_ns = passed_ns - _media_ns(after, before.packet)
    return None if passed_ns >= PAUSE_NS and found_ns >= PAUSE_NS // 2 else found_ns


def _media_ns(last: Heard, first: RtpSeen) -> int:
    ticks = (last.packet.timestamp - first.timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
    return ticks * NS_PER_S // last.clock_hz


def jitter_ns(stream: Sequence[Heard]) -> int:
    """Return the mean difference of the delays of consecutive packets with one clock; 0 if there
    are none.
    """
    found = [difference_ns(stream, number) for number in range(len(stream) - 1)]
    differences = [abs(each) for each in found if each is not None]
    return sum(differences) // len(differences) if differences else 0
