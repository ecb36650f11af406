"""The detection of replies in audio that never stops."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.observe.reply_detector import SILENCE_NS, ReplyDetector
from bench.services.agents import ACS, PCM
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.wire.audio import PCM16, PCM16_16K, Samples
from bench.wire.dialect import BinaryMessage, Dialect
from bench.wire.events import EventKind, ServerEvent, StrippedAudio
from tests.helpers import AT_NS, MS, live_audio
from tests.talking import voiced
from tools.benchmarks.onsets import stream

DELTA_MS, FRAME_MS = 100, 20
LIMIT = SILENCE_NS // (DELTA_MS * MS)
"""The number of silent deltas after which a reply has ended."""


def encoded(samples: Samples) -> ServerEvent:
    (event,) = GPT_LIVE.decode(live_audio(PCM16.encode(samples)))
    return event


def delta(*, loud: bool, at_ms: int = 50) -> ServerEvent:
    """Return 100 ms of audio. If `loud`, it is loud from `at_ms` on; otherwise it is silent."""
    samples = np.zeros(24 * DELTA_MS, np.int16)
    samples[24 * at_ms :] = voiced(0, DELTA_MS - at_ms) if loud else 0
    return encoded(samples)


def frame(*, loud: bool) -> ServerEvent:
    """Return 20 ms of audio."""
    return encoded(voiced(0, FRAME_MS) if loud else np.zeros(24 * FRAME_MS, np.int16))


LOUD, SILENT = delta(loud=True), delta(loud=False)


def events_of(
    *messages: tuple[int, ServerEvent], detector: ReplyDetector | None = None
) -> list[tuple[ServerEvent, int]]:
    """Return the events that the detector finds in these messages, each with its arrival in ms.

    A message is given by its arrival in ms and its content.
    """
    detector = detector or ReplyDetector(PCM16, SILENCE_NS)
    pairs = list[tuple[ServerEvent, Arrival]]()
    for at_ms, event in messages:
        arrival = Arrival(at_ms * MS)
        pairs += detector.events_in(detector.detect_replies([event], arrival), arrival)
    return [(event, came.at_ns // MS) for event, came in pairs]


def reply_events(pattern: Sequence[bool]) -> list[ServerEvent]:
    """Return the events of the replies that the detector finds in deltas that arrive in real time.

    `pattern` contains True for each loud delta, and False for each silent one.
    """
    messages = [
        (number * DELTA_MS, LOUD if loud else SILENT) for number, loud in enumerate(pattern)
    ]
    return [event for event, _ in events_of(*messages) if event.response_id]


def sounds(events: Sequence[ServerEvent]) -> list[ServerEvent]:
    """Return the events whose delta contains sound."""
    return [
        event
        for event in events
        if isinstance(event.payload, StrippedAudio) and event.payload.until is not None
    ]


def test_a_reply_begins_with_its_first_audible_delta_and_ends_after_silence() -> None:
    events = reply_events([False, True, True, *[False] * LIMIT, False, False])

    assert [event.kind for event in events] == [
        *[EventKind.AUDIO_DELTA] * (2 + LIMIT + 1),
        EventKind.TRANSCRIPT_DONE,
        EventKind.RESPONSE_DONE,
    ]
    assert {event.response_id for event in events} == {"heard-1"}
    assert events[0].payload == StrippedAudio(24 * 50, 24 * DELTA_MS)


def test_the_first_delta_of_a_reply_has_its_own_arrival() -> None:
    """The detector finds the sound only in the fourth frame of 20 ms.

    Nevertheless, the reply begins with the first frame.
    """
    pairs = events_of(*((FRAME_MS * number, frame(loud=number >= 30)) for number in range(40)))

    first, came_ms = next((event, at_ms) for event, at_ms in pairs if event.response_id)
    assert (came_ms, first.payload) == (600, StrippedAudio(0, 24 * FRAME_MS))
    assert [at_ms for event, at_ms in pairs if event.response_id] == [
        FRAME_MS * number for number in range(30, 40)
    ]


def test_a_gap_without_frames_is_treated_like_silence() -> None:
    """If the detector ignored the gap, the second voice would directly follow the first one.

    The detector would then find the second voice only from the instant when it is louder than the
    first one.
    """
    voice = stream("silence", 0, PCM16, 1)
    begin, end = voice.sounds[0]
    size = 24 * FRAME_MS
    voice_events = [
        encoded(voice.samples[place : place + size]) for place in range(begin, end, size)
    ]
    gap_ms = (len(voice_events) + 100) * FRAME_MS
    first = [(FRAME_MS * number, event) for number, event in enumerate(voice_events)]
    again = [(gap_ms + at_ms, event) for at_ms, event in first]
    silence = [
        (at_ms, frame(loud=False))
        for at_ms in range(len(voice_events) * FRAME_MS, gap_ms, FRAME_MS)
    ]

    def second(*messages: tuple[int, ServerEvent]) -> list[object]:
        pairs = events_of(*messages)
        return [
            event.payload
            for event, at_ms in pairs
            if event.kind is EventKind.AUDIO_DELTA and at_ms >= gap_ms
        ]

    found = second(*first, *again)
    assert found == second(*first, *silence, *again)
    assert isinstance(found[0], StrippedAudio)
    assert (found[0].audible, found[0].until) == (0, size)


def test_a_short_sound_before_a_gap_belongs_to_the_reply() -> None:
    """If the sender of a greeting stalls immediately, the greeting begins with a short sound,
    and a gap follows.
    """
    sent = [(FRAME_MS * number, frame(loud=True)) for number in range(4)]
    pairs = events_of(*sent, *((at_ms + 300, event) for at_ms, event in sent))

    assert [at_ms for event, at_ms in pairs if event.response_id == "heard-1"] == [
        0,
        20,
        40,
        60,
        300,
        320,
        340,
        360,
    ]


def test_a_short_pause_within_speech_does_not_end_the_reply() -> None:
    events = reply_events([True, *[False] * (LIMIT - 1), True, *[False] * (LIMIT + 1)])

    assert {event.response_id for event in events} == {"heard-1"}
    assert sum(event.kind is EventKind.RESPONSE_DONE for event in events) == 1


def test_constant_noise_is_no_reply_and_hides_none() -> None:
    noisy = stream("a room", 20, PCM16, 1)
    size = PCM16.rate_hz * DELTA_MS // 1_000
    pieces = [noisy.samples[begin : begin + size] for begin in range(0, len(noisy.samples), size)]
    events = events_of(
        *((DELTA_MS * number, encoded(piece)) for number, piece in enumerate(pieces))
    )

    assert sum(event.kind is EventKind.RESPONSE_DONE for event, _ in events) == len(noisy.sounds)


def test_the_transcript_of_a_reply_is_reported_at_its_end() -> None:
    detector = ReplyDetector(PCM16, SILENCE_NS)
    words = [
        {"type": "session.output_transcript.delta", "delta": part} for part in ("Good", " morning.")
    ]
    noted = events_of(
        *((0, event) for body in words for event in GPT_LIVE.decode(msgspec.json.encode(body))),
        detector=detector,
    )
    deltas = [LOUD, *[SILENT] * (LIMIT + 1)]
    events = events_of(
        *((DELTA_MS * number, each) for number, each in enumerate(deltas)), detector=detector
    )

    assert [event.kind for event, _ in noted] == [EventKind.NOTED, EventKind.NOTED]
    assert [event.text for event, _ in events if event.kind is EventKind.TRANSCRIPT_DONE] == [
        "Good morning."
    ]


@given(pattern=st.lists(st.booleans(), max_size=60))
def test_every_audible_delta_belongs_to_one_reply_and_every_reply_ends_once(
    pattern: list[bool],
) -> None:
    events = reply_events([*pattern, *[False] * (LIMIT + 2)])

    ends = [event.response_id for event in events if event.kind is EventKind.RESPONSE_DONE]
    assert ends == list(dict.fromkeys(event.response_id for event in sounds(events)))
    pauses = "".join(" x"[loud] for loud in pattern).strip().split(" " * LIMIT)
    assert len(ends) == sum("x" in stretch for stretch in pauses)


@given(pattern=st.lists(st.booleans(), max_size=60), late_ms=st.integers(0, 2_000))
def test_the_replay_of_a_log_without_audio_finds_the_same_replies(
    pattern: list[bool], late_ms: int
) -> None:
    """There is one gap of up to 2 s in the stream."""
    live, replayed, logged, replies = (
        ReplyDetector(PCM16, SILENCE_NS),
        ReplyDetector(PCM16, SILENCE_NS),
        [],
        list[tuple[ServerEvent, Arrival]](),
    )
    for number, loud in enumerate(pattern):
        arrival = Arrival((number * DELTA_MS + late_ms * (number > len(pattern) // 2)) * MS)
        events = live.detect_replies([LOUD if loud else SILENT], arrival)
        logged.append((events, arrival))
        replies += live.events_in(events, arrival)

    again = [
        pair
        for events, arrival in logged
        for pair in replayed.events_in(replayed.detect_replies(events, arrival), arrival)
    ]
    assert again == replies


FAINT = 0x60
"""The value of an inaudible sample. If its two bytes are swapped, it is one of the loudest
samples."""


def spoken(rate_hz: int, begin_ms: int, length_ms: int, tail_ms: int) -> Samples:
    """Return a buzz of 500 Hz, with faint samples before and after it."""
    tone = np.tile(np.repeat(np.array([3_000, -3_000], np.int16), rate_hz // 1_000), length_ms // 2)
    faint = [np.full(rate_hz * ms // 1_000, FAINT, np.int16) for ms in (begin_ms, tail_ms)]
    return np.concatenate([faint[0], tone, faint[1]])


def pieces(data: bytes, size: int, moved: Sequence[int]) -> list[bytes]:
    """Cut the bytes into pieces of `size` bytes.

    `moved` contains the number of bytes by which the end of each piece is moved.
    """
    ends = [
        min(len(data), end + (moved[number % len(moved)] if moved else 0))
        for number, end in enumerate(range(size, len(data), size))
    ]
    return [data[begin:end] for begin, end in pairwise([0, *ends, len(data)])]


def acs_message(data: bytes) -> bytes:
    return msgspec.json.encode(
        {"kind": "AudioData", "audioData": {"data": base64.b64encode(data).decode()}}
    )


def sounded(dialect: Dialect, messages: Sequence[bytes]) -> tuple[int, int, int]:
    """Return the first and the last sample of the only reply, and the total number of bytes of
    all deltas.
    """
    detector, places, over, total = (
        ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True),
        list[int](),
        0,
        0,
    )
    for number, message in enumerate(messages):
        arrival = Arrival(AT_NS + number * 20 * MS)
        (event,) = events = detector.detect_replies(dialect.decode(message), arrival)
        found = [each.kind for each, _ in detector.events_in(events, arrival)]
        over += found.count(EventKind.RESPONSE_DONE)
        assert isinstance(event.payload, StrippedAudio)
        if event.payload.audible is not None and event.payload.until is not None:
            places += [total // 2 + event.payload.audible, total // 2 + event.payload.until]
        total += event.payload_bytes
    assert over == 1
    return places[0], places[-1], total


@given(moved=st.lists(st.sampled_from([-1, 0, 1]), max_size=8), in_json=st.booleans())
def test_a_reply_is_found_at_the_same_samples_however_messages_split_the_stream(
    moved: list[int], in_json: bool
) -> None:
    dialect: Dialect = ACS if in_json else PCM
    data = PCM16_16K.encode(spoken(16_000, 1_000, 400, 1_200))
    messages = [
        acs_message(piece) if in_json else BinaryMessage(piece)
        for piece in pieces(data, 640, moved)
    ]

    assert sounded(dialect, messages) == (16_000, 16_000 + 400 * 16, len(data))


def test_a_clear_also_drops_half_a_sample() -> None:
    """If the detector kept the first byte of a sample that was cut in two, all later samples
    would be noise.
    """
    detector = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True)
    faint = PCM16_16K.encode(np.full(320, FAINT, np.int16))
    events = [
        *(event for _ in range(50) for event in PCM.decode(BinaryMessage(faint))),
        *PCM.decode(BinaryMessage(faint[:-1])),
        ServerEvent(EventKind.CLEARED),
        *(event for _ in range(50) for event in PCM.decode(BinaryMessage(faint))),
    ]
    for number, event in enumerate(events):
        (found,) = detector.detect_replies([event], Arrival(AT_NS + number * 20 * MS))
        assert not isinstance(found.payload, StrippedAudio) or found.payload.until is None
