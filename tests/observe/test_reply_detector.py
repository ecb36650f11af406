"""Replies that are found in audio that comes all the time."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import Arrival
from bench.observe.reply_detector import SILENCE_NS, ReplyDetector
from bench.protocol.audio import PCM16, Samples
from bench.protocol.events import CutPayload, Event, Kind
from bench.protocol.gpt_live import GPT_LIVE
from benchmarks.onsets import stream
from tests.helpers import MS

DELTA_MS, FRAME_MS = 100, 20
LIMIT = SILENCE_NS // (DELTA_MS * MS)
"""So many silent deltas end a reply."""


def encoded(samples: Samples) -> Event:
    body = {"type": "session.output_audio.delta", "delta": base64.b64encode(PCM16.encode(samples)).decode()}
    (event,) = GPT_LIVE.decode(msgspec.json.encode(body))
    return event


def delta(*, loud: bool, at_ms: int = 50) -> Event:
    """100 ms of audio, with a sound from `at_ms` on or none."""
    samples = np.zeros(24 * DELTA_MS, np.int16)
    samples[24 * at_ms :] = 3_000 if loud else 0
    return encoded(samples)


def frame(*, loud: bool) -> Event:
    """20 ms of audio."""
    return encoded(np.full(24 * FRAME_MS, 3_000 if loud else 0, np.int16))


LOUD, SILENT = delta(loud=True), delta(loud=False)


def heard_at(*messages: tuple[int, Event], detector: ReplyDetector | None = None) -> list[tuple[Event, int]]:
    """What a detector makes of events that come at so many ms: each with the ms at which it came."""
    detector = detector or ReplyDetector(PCM16, SILENCE_NS)
    pairs = list[tuple[Event, Arrival]]()
    for at_ms, event in messages:
        arrival = Arrival(at_ms * MS)
        pairs += detector.events_in(detector.listened([event], arrival), arrival)
    return [(event, came.at_ns // MS) for event, came in pairs]


def heard(pattern: Sequence[bool]) -> list[Event]:
    """What a detector makes of replies in deltas that are loud, or not, and come in time."""
    messages = [(number * DELTA_MS, LOUD if loud else SILENT) for number, loud in enumerate(pattern)]
    return [event for event, _ in heard_at(*messages) if event.response_id]


def sounds(events: Sequence[Event]) -> list[Event]:
    """The deltas of replies in which sound is."""
    return [event for event in events if isinstance(event.payload, CutPayload) and event.payload.until is not None]


def test_a_reply_begins_with_the_delta_that_is_audible_and_ends_after_silence() -> None:
    events = heard([False, True, True, *[False] * LIMIT, False, False])

    assert [event.kind for event in events] == [
        *[Kind.AUDIO_DELTA] * (2 + LIMIT + 1), Kind.TRANSCRIPT_DONE, Kind.RESPONSE_DONE,
    ]  # fmt: skip
    assert {event.response_id for event in events} == {"heard-1"}
    assert events[0].payload == CutPayload(24 * 50, 24 * DELTA_MS)


def test_a_delta_in_which_a_reply_begins_is_told_with_its_own_arrival() -> None:
    """In frames of 20 ms nobody knows of a sound before its fourth."""
    pairs = heard_at(*((FRAME_MS * number, frame(loud=number >= 30)) for number in range(40)))

    first, came_ms = next((event, at_ms) for event, at_ms in pairs if event.response_id)
    assert (came_ms, first.payload) == (600, CutPayload(0, 24 * FRAME_MS))
    assert [at_ms for event, at_ms in pairs if event.response_id] == [FRAME_MS * number for number in range(30, 40)]


def test_a_service_that_sends_nothing_while_it_is_silent_is_heard_as_one_that_sends_silence() -> None:
    """Else a voice would follow a voice, and begin where it is louder than that."""
    voice = stream("silence", 0, PCM16, 1)
    begin, end = voice.sounds[0]
    size = 24 * FRAME_MS
    said = [encoded(voice.samples[place : place + size]) for place in range(begin, end, size)]
    gap_ms = (len(said) + 100) * FRAME_MS
    first = [(FRAME_MS * number, event) for number, event in enumerate(said)]
    again = [(gap_ms + at_ms, event) for at_ms, event in first]
    silence = [(at_ms, frame(loud=False)) for at_ms in range(len(said) * FRAME_MS, gap_ms, FRAME_MS)]

    def second(*messages: tuple[int, Event]) -> list[object]:
        pairs = heard_at(*messages)
        return [event.payload for event, at_ms in pairs if event.kind is Kind.AUDIO_DELTA and at_ms >= gap_ms]

    assert second(*first, *again)[0] == second(*first, *silence, *again)[0] == CutPayload(0, size, 0)


def test_a_sound_that_is_too_short_to_be_known_before_nothing_is_sent_for_a_while_is_heard_all_the_same() -> None:
    """So begins a greeting whose sender stands still at once."""
    said = [(FRAME_MS * number, frame(loud=True)) for number in range(4)]
    pairs = heard_at(*said, *((at_ms + 300, event) for at_ms, event in said))

    assert [at_ms for event, at_ms in pairs if event.response_id == "heard-1"] == [0, 20, 40, 60, 300, 320, 340, 360]


def test_a_pause_within_speech_ends_nothing() -> None:
    events = heard([True, *[False] * (LIMIT - 1), True, *[False] * (LIMIT + 1)])

    assert {event.response_id for event in events} == {"heard-1"}
    assert sum(event.kind is Kind.RESPONSE_DONE for event in events) == 1


def test_noise_that_never_stops_is_no_reply_and_hides_none() -> None:
    noisy = stream("a room", 20, PCM16, 1)
    size = PCM16.rate_hz * DELTA_MS // 1_000
    pieces = [noisy.samples[begin : begin + size] for begin in range(0, len(noisy.samples), size)]
    events = heard_at(*((DELTA_MS * number, encoded(piece)) for number, piece in enumerate(pieces)))

    assert sum(event.kind is Kind.RESPONSE_DONE for event, _ in events) == len(noisy.sounds)


def test_the_words_of_a_reply_come_with_its_end() -> None:
    detector = ReplyDetector(PCM16, SILENCE_NS)
    words = [{"type": "session.output_transcript.delta", "delta": part} for part in ("Good", " morning.")]
    noted = heard_at(
        *((0, event) for body in words for event in GPT_LIVE.decode(msgspec.json.encode(body))), detector=detector
    )
    deltas = [LOUD, *[SILENT] * (LIMIT + 1)]
    events = heard_at(*((DELTA_MS * number, each) for number, each in enumerate(deltas)), detector=detector)

    assert [event.kind for event, _ in noted] == [Kind.NOTED, Kind.NOTED]
    assert [event.text for event, _ in events if event.kind is Kind.TRANSCRIPT_DONE] == ["Good morning."]


def test_what_is_no_audio_is_handed_on_as_it_is() -> None:
    (broken,) = GPT_LIVE.decode(b'{"type":"session.output_audio.delta","delta":"abc"}')

    assert heard_at((0, broken)) == [(broken, 0)]


@given(pattern=st.lists(st.booleans(), max_size=60))
def test_every_audible_delta_is_of_one_reply_and_every_reply_ends_once_in_silence(pattern: list[bool]) -> None:
    events = heard([*pattern, *[False] * (LIMIT + 2)])

    ends = [event.response_id for event in events if event.kind is Kind.RESPONSE_DONE]
    assert ends == list(dict.fromkeys(event.response_id for event in sounds(events)))
    pauses = "".join(" x"[loud] for loud in pattern).strip().split(" " * LIMIT)
    assert len(ends) == sum("x" in stretch for stretch in pauses)


@given(pattern=st.lists(st.booleans(), max_size=60), late_ms=st.integers(0, 2_000))
def test_a_log_that_has_no_audio_gives_the_same_replies(pattern: list[bool], late_ms: int) -> None:
    """Whatever gap there was in the stream."""
    live, told, kept, replies = (
        ReplyDetector(PCM16, SILENCE_NS),
        ReplyDetector(PCM16, SILENCE_NS),
        [],
        list[tuple[Event, Arrival]](),
    )
    for number, loud in enumerate(pattern):
        arrival = Arrival((number * DELTA_MS + late_ms * (number > len(pattern) // 2)) * MS)
        events = live.listened([LOUD if loud else SILENT], arrival)
        kept.append((events, arrival))
        replies += live.events_in(events, arrival)

    again = [pair for events, arrival in kept for pair in told.events_in(told.listened(events, arrival), arrival)]
    assert again == replies
