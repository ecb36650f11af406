"""A call whose first packets are late, or that begins with another source: its later replies start
at the right time.

A player plays each frame at the instant that the jitter buffer gives. Audio that was late once
delays no later audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.observe import reply_detector
from bench.observe.reply_detector import ReplyDetector
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.rtp import AUDIO, CODECS, RtpSender, StreamNumbers
from bench.services.agents import PCM
from bench.sound import _blocks_interpreted
from bench.wire.audio import Samples
from bench.wire.connection import MatchedDelta
from bench.wire.dialect import BinaryMessage
from bench.wire.events import EventKind, ServerEvent, StrippedAudio
from tests.transport.media.path import FRAME_NS, PEER, START_NS, new_media

SAMPLES = AUDIO.rate_hz * FRAME_NS // NS_PER_S
SAMPLE_NS = NS_PER_S // AUDIO.rate_hz
# 0.8 s of 200 Hz, too low for a tone
VOICE: Samples = np.tile(np.repeat(np.array([6_000, -6_000], np.int16), 20), 160)
SILENCE_NS = 800 * NS_PER_MS
BEFORE_MS, BETWEEN_MS = 140, 3_000


def rest(ms: int) -> Samples:
    return np.zeros(AUDIO.rate_hz * ms // 1_000, np.int16)


SPOKEN = np.concatenate([rest(BEFORE_MS), VOICE, rest(BETWEEN_MS), VOICE, rest(1_500)])
BEGINS = (
    BEFORE_MS * AUDIO.rate_hz // 1_000,
    (BEFORE_MS + BETWEEN_MS) * AUDIO.rate_hz // 1_000 + len(VOICE),
)
"""The first sample of each reply."""
Packets = list[tuple[int, bytes]]
"""The arrivals of packets, and their data."""


def packets_of(samples: Samples, begin_ns: int, ssrc: int, late_ms: Sequence[int]) -> Packets:
    """Return the packets of a source. The first ones are late, and none overtakes another."""
    sender, sent, at_ns = RtpSender(CODECS["PCMU"], 0, StreamNumbers(ssrc, 2, 3)), Packets(), 0
    for number in range(len(samples) // SAMPLES):
        late_ns = late_ms[number] * NS_PER_MS if number < len(late_ms) else 0
        at_ns = max(at_ns, begin_ns + number * FRAME_NS + late_ns)
        sent.append((at_ns, sender.audio(AUDIO.encode(samples[number * SAMPLES :][:SAMPLES]))))
    return sent


class Start(NamedTuple):
    """The start of a reply: its instant, its uncertainty, and the delay of its first frame in
    the playout queue.
    """

    at_ns: int
    uncertainty_ns: int
    delay_ns: int


def starts(packets: Packets, media: CallMedia) -> Iterator[Start]:
    """Yield the starts of the replies in the packets of a call."""
    detector, last = ReplyDetector(AUDIO, SILENCE_NS, pauses=True, is_track=True), ""
    sounds = list[MatchedDelta]()
    for came_ns, data in packets:
        for frame in media.received(data, Arrival(came_ns), PEER):
            (event,) = PCM.decode(BinaryMessage(frame.audio))
            sound = MatchedDelta(
                event, frame.at_ns, frame.uncertainty_ns, 0, len(frame.audio), 0, frame.audio
            )
            sounds.append(sound)
    while sounds:
        continued, detected = detector.continued(sounds, START_NS + 100 * NS_PER_S)
        if detected is not None:
            _, at_ns, error_ns, *_ = sounds[len(continued)]
            for found, came in detector.events_in((detected,), Arrival(at_ns, error_ns)):
                if found.kind is EventKind.AUDIO_DELTA and found.response_id not in ("", last):
                    last = found.response_id
                    yield start_of(found, came)
        del sounds[: len(continued) + 1]


def start_of(event: ServerEvent, arrival: Arrival) -> Start:
    sound = event.payload
    assert isinstance(sound, StrippedAudio)
    assert sound.place is not None
    at_ns = arrival.at_ns + sound.place.delay_ns + (sound.audible or 0) * SAMPLE_NS
    uncertainty_ns = (
        arrival.uncertainty_ns + sound.error_ns + sound.place.uncertainty_ns + sound.place.uneven_ns
    )
    return Start(at_ns, uncertainty_ns, sound.place.delay_ns)


@example(late_ms=[50], before=0, standstill_ms=0)
@example(late_ms=[], before=12, standstill_ms=240)
@given(
    late_ms=st.lists(st.integers(0, 50), max_size=6),
    before=st.integers(0, 40),
    standstill_ms=st.integers(0, 400),
)
def test_a_late_packet_at_the_start_of_a_call_delays_no_later_reply(
    late_ms: list[int], before: int, standstill_ms: int
) -> None:
    """Another source sends `before` packets first. The last ones come together, after a
    standstill.
    """
    ended_ns = START_NS + before * FRAME_NS
    late = [max(0, standstill_ms - (before - number) * 20) for number in range(before)]
    first = [
        (min(at_ns, ended_ns), data)
        for at_ns, data in packets_of(rest(before * 20), START_NS, 1, late)
    ]
    packets = first + packets_of(SPOKEN, ended_ns, 9, late_ms)
    found = list(starts(packets, new_media()))

    assert len(found) == len(BEGINS)
    start, true_ns = found[-1], ended_ns + BEGINS[-1] * SAMPLE_NS
    assert abs(start.at_ns - true_ns) <= NS_PER_MS
    assert start.uncertainty_ns >= start.at_ns - true_ns
    assert start.delay_ns == 0
    with patch.object(reply_detector, "continue_sounds", _blocks_interpreted.continue_sounds):
        assert list(starts(packets, new_media())) == found
