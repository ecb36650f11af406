"""Opus: packets, the encoder whose packets are stored, the decoder, and lost packets."""

from __future__ import annotations

import ctypes
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opuslib_next import constants
from opuslib_next.api import ctl, encoder

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.rtp import encoded_once, opus
from bench.protocols.rtp.opus_packets import CLOCK_HZ, DELAY_NS, has_redundancy, packet_ticks
from bench.protocols.rtp.rtp import CODECS, OPUS, ReceivedPacket, codec_of_call
from bench.wire.audio import DECODED_OPUS, PCM16, Samples
from rtbench_simulator.recorded_replies import first_audible, load_replies, reply_samples
from tests.examples import thorough
from tests.transport.media.path import new_buffer
from tools.benchmarks.onsets import found

FRAME, FRAME_TICKS = 480, 960
SPEECH = reply_samples(load_replies()[0], PCM16)
"""A reply that begins with silence."""
MS = CLOCK_HZ // 1_000


def frames_of(samples: Samples) -> list[bytes]:
    return [
        PCM16.encode(samples[at : at + FRAME]) for at in range(0, len(samples) - FRAME + 1, FRAME)
    ]


def new_encoder() -> encoded_once.EncodedOnce:
    return encoded_once.EncodedOnce("opus", opus.LibraryEncoder)


def decoded(packets: list[bytes]) -> Samples:
    decoder = opus.OpusDecoder()
    return PCM16.decode(b"".join(map(decoder.decode, packets)))


@pytest.mark.parametrize(
    ("payload", "ticks"),
    [
        (b"", 0),
        (bytes([0 << 3]), 10 * MS),
        (bytes([3 << 3, 1]), 60 * MS),
        (bytes([13 << 3 | 1, 1]), 40 * MS),  # two frames
        (bytes([16 << 3 | 2, 1]), 5 * MS),
        (bytes([31 << 3 | 3]), 0),  # the number of frames is missing
        (bytes([31 << 3 | 3, 0x80 | 6]), 120 * MS),
        (bytes([31 << 3 | 3, 7]), 0),  # longer than a packet can be
        (bytes([31 << 3 | 3, 0]), 0),
    ],
)
def test_the_first_bytes_of_a_packet_state_its_duration(payload: bytes, ticks: int) -> None:
    assert packet_ticks(payload) == ticks


@pytest.mark.parametrize("offset", [0, 111, 333])
def test_decoded_speech_begins_after_the_delay_of_the_codec(offset: int) -> None:
    """A loud start in the middle of a frame is smeared over earlier samples of its block, so it
    is audible earlier.
    """
    errors_ns = []
    for reply in load_replies():
        speech = np.pad(reply_samples(reply, PCM16), (5 * FRAME + offset, 0))
        encoder = new_encoder()
        heard = first_audible(decoded([*map(encoder.encode, frames_of(speech))]))
        said = first_audible(speech)
        assert heard is not None
        assert said is not None
        errors_ns.append((heard - said) * 1_000_000_000 // PCM16.rate_hz - DELAY_NS)

    assert max(errors_ns) <= 0
    assert min(errors_ns) >= (-0.1 * NS_PER_MS if offset == 0 else -4 * NS_PER_MS)


@pytest.mark.parametrize("application", ["voip", "audio", "restricted_lowdelay"])
def test_opus_moves_the_edges_of_a_voice_by_no_more_than_its_errors(application: str) -> None:
    """An agent may choose its settings. The delay of its encoder is a part of the sound
    (`OPUS_GET_LOOKAHEAD`).
    """
    chance, errors = Random(application), DECODED_OPUS.codec_errors
    for _ in range(6):
        speech = reply_samples(chance.choice(load_replies()), PCM16)[: 2 * PCM16.rate_hz]
        said = np.pad(speech, (FRAME + chance.randrange(3 * FRAME), PCM16.rate_hz))
        kbps, frame_ms, complexity = (
            chance.choice(each) for each in ((16, 24, 32, 64), (10, 20, 60), (0, 5, 10))
        )
        heard, delay_ns = coded(said, application, kbps, frame_ms, complexity)
        (sent, *_), (received, *_) = found(said, PCM16.rate_hz), found(heard, PCM16.rate_hz)
        start_ns, end_ns = (
            (after - before) * NS_PER_S // PCM16.rate_hz - delay_ns
            for before, after in ((sent.start, received.start), (sent.end, received.end))
        )
        assert abs(start_ns) <= received.start_error_ns + errors.start_ns, (
            kbps,
            frame_ms,
            complexity,
        )
        assert abs(end_ns) <= received.end_error_ns + errors.end_ns, (kbps, frame_ms, complexity)


def coded(
    samples: Samples, application: str, kbps: int, frame_ms: int, complexity: int
) -> tuple[Samples, int]:
    """Return what a listener hears of samples that libopus encoded with these settings, and the
    encoder's delay.
    """
    state = encoder.create_state(
        PCM16.rate_hz, 1, getattr(constants, f"APPLICATION_{application.upper()}")
    )
    for setting, value in ((ctl.set_bitrate, 1_000 * kbps), (ctl.set_complexity, complexity)):
        encoder.encoder_ctl(state, setting, value)
    size = PCM16.rate_hz * frame_ms // 1_000
    packet, decoder, decoded = ctypes.create_string_buffer(4_000), opus.OpusDecoder(), b""
    for at in range(0, len(samples) - size + 1, size):
        frame = np.ascontiguousarray(samples[at : at + size], "<i2").ctypes.data_as(
            ctypes.POINTER(ctypes.c_int16)
        )
        found_bytes = encoder.libopus_encode(state, frame, size, packet, len(packet))
        decoded += decoder.decode(packet.raw[:found_bytes])
    delay_ns = encoder.encoder_ctl(state, ctl.get_lookahead) * NS_PER_S // PCM16.rate_hz
    encoder.destroy(state)
    return PCM16.decode(decoded), delay_ns


def test_the_packets_of_a_recording_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_once, "_packets", {})
    frames, encoded = frames_of(SPEECH), []
    encode = opus.LibraryEncoder.encode
    monkeypatch.setattr(
        opus.LibraryEncoder,
        "encode",
        lambda self, audio: encoded.append(audio) or encode(self, audio),
    )
    first, second = new_encoder(), new_encoder()
    packets = [*map(first.encode, frames)]
    count = len(encoded)

    assert count <= len(frames)
    assert [*map(second.encode, frames)] == packets
    assert len(encoded) == count
    # the encoder continues after stored packets
    other = [second.encode(frame) for frame in reversed(frames)]
    assert len(encoded) <= count + len(frames) + encoded_once.HISTORY
    whole = [*map(opus.LibraryEncoder().encode, [*frames, *reversed(frames)])]
    assert np.corrcoef(decoded([*packets, *other]), decoded(whole))[0, 1] > 0.9


@pytest.mark.parametrize(("size", "ms"), [(2, 2.5), (130, 5), (480, 10), (960, 20)])
def test_a_piece_that_is_shorter_than_a_frame_is_filled(size: int, ms: float) -> None:
    assert packet_ticks(new_encoder().encode(bytes(size))) == ms * MS


def played(payloads: dict[int, bytes]) -> tuple[list[bytes], list[int], int]:
    """Return the audio of each released frame, its size on the wire, and the number of recovered
    frames.
    """
    buffer = new_buffer(codec_of_call(OPUS), PCM16)
    frames = []
    for number, payload in payloads.items():
        at_ns = number * 20 * NS_PER_MS
        packet = ReceivedPacket(
            "audio", 0, number, number * FRAME_TICKS, payload, Arrival(at_ns), False, 0
        )
        frames += buffer.add(packet)
    frames += buffer.expire(10**12)
    return (
        [frame.audio for frame in frames],
        [frame.payload_bytes for frame in frames],
        buffer.counts.recovered_frames,
    )


@pytest.mark.parametrize("loss_percent", [0, 20])
def test_a_lost_packet_is_recovered_only_from_redundancy_in_the_next_one(loss_percent: int) -> None:
    encoder = opus.LibraryEncoder(loss_percent)
    packets = [*map(encoder.encode, frames_of(SPEECH[SPEECH.argmax() - 4_800 :][: 12 * FRAME]))]
    audio, sizes, recovered = played({n: packet for n, packet in enumerate(packets) if n != 5})
    whole, _, _ = played(dict(enumerate(packets)))

    assert has_redundancy(packets[6]) == (loss_percent > 0) == (recovered == 1)
    assert len(audio) == 12
    assert sizes[5] == 0
    if recovered:
        assert np.corrcoef(PCM16.decode(audio[5]), PCM16.decode(whole[5]))[0, 1] > 0.8
    else:
        assert not any(audio[5])
    assert audio[:5] == whole[:5]


def test_packets_of_discontinuous_transmission_are_silence() -> None:
    packet = new_encoder().encode(frames_of(SPEECH)[0])
    audio, _, _ = played({0: packet, 1: packet[:1], 2: packet[:2]})

    assert [len(frame) for frame in audio] == [2 * FRAME] * 3
    assert not any(b"".join(audio[1:]))


def test_the_codec_of_a_call_has_a_state_of_its_own() -> None:
    one, other = codec_of_call(OPUS), codec_of_call(OPUS)

    assert one.encode != other.encode
    assert codec_of_call("PCMA") is CODECS["PCMA"]


@thorough
@given(st.integers(0, 2**32 - 1))
def test_damaged_packets_have_their_stated_duration(seed: int) -> None:
    random = Random(seed)
    packet = bytearray(
        random.choice([opus.LibraryEncoder(20).encode(frame) for frame in frames_of(SPEECH)[5:8]])
    )
    for _ in range(random.randrange(4)):
        packet[random.randrange(len(packet))] = random.randrange(256)
    payload = bytes(packet[: random.randrange(1, len(packet) + 1)])
    decoder, ticks = opus.OpusDecoder(), packet_ticks(payload)

    if ticks:
        assert len(decoder.decode(payload)) == ticks // 2 * PCM16.sample_bytes
    recovered = decoder.recover(payload, FRAME_TICKS)
    assert recovered is None or len(recovered) == 2 * FRAME
