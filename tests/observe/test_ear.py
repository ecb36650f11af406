"""Replies that are found in audio that comes all the time."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.ear import SILENCE_NS, Ear
from bench.protocol.audio import PCM16
from bench.protocol.events import CutPayload, Event, Kind
from bench.protocol.gpt_live import GPT_LIVE
from tests.helpers import MS

DELTA_MS = 100
LIMIT = SILENCE_NS // (DELTA_MS * MS)
"""So many silent deltas end a reply."""


def delta(*, loud: bool, at_ms: int = 50) -> Event:
    """100 ms of audio, with a sound from `at_ms` on or none."""
    samples = np.zeros(24 * DELTA_MS, np.int16)
    samples[24 * at_ms :] = 3_000 if loud else 0
    body = {"type": "session.output_audio.delta", "delta": base64.b64encode(PCM16.encode(samples)).decode()}
    (event,) = GPT_LIVE.decode(msgspec.json.encode(body))
    return event


LOUD, SILENT = delta(loud=True), delta(loud=False)


def heard(pattern: Sequence[bool]) -> list[Event]:
    """What an ear makes of deltas that are loud, or not."""
    return Ear(PCM16).heard_in([LOUD if loud else SILENT for loud in pattern])


def test_a_reply_begins_with_the_delta_that_is_audible_and_ends_after_silence() -> None:
    events = heard([False, True, True, *[False] * LIMIT, False])

    assert [event.kind for event in events] == [
        Kind.NOTED, *[Kind.AUDIO_DELTA] * (2 + LIMIT), Kind.TRANSCRIPT_DONE, Kind.RESPONSE_DONE, Kind.NOTED,
    ]  # fmt: skip
    assert {event.response_id for event in events} == {"", "heard-1"}
    assert events[1].payload == CutPayload(24 * 50)


def test_a_pause_within_speech_ends_nothing() -> None:
    events = heard([True, *[False] * (LIMIT - 1), True, *[False] * LIMIT])

    assert {event.response_id for event in events} == {"heard-1"}
    assert sum(event.kind is Kind.RESPONSE_DONE for event in events) == 1


def test_the_words_of_a_reply_come_with_its_end() -> None:
    ear = Ear(PCM16)
    words = [{"type": "session.output_transcript.delta", "delta": part} for part in ("Good", " morning.")]
    noted = [event for body in words for event in ear.heard_in(GPT_LIVE.decode(msgspec.json.encode(body)))]
    events = ear.heard_in([LOUD, *[SILENT] * LIMIT])

    assert [event.kind for event in noted] == [Kind.NOTED, Kind.NOTED]
    assert [event.text for event in events if event.kind is Kind.TRANSCRIPT_DONE] == ["Good morning."]


def test_what_is_no_audio_is_handed_on_as_it_is() -> None:
    (broken,) = GPT_LIVE.decode(b'{"type":"session.output_audio.delta","delta":"abc"}')

    assert Ear(PCM16).heard_in([broken]) == [broken]


@given(pattern=st.lists(st.booleans(), max_size=60))
def test_every_audible_delta_is_of_one_reply_and_every_reply_ends_once_in_silence(pattern: list[bool]) -> None:
    events = heard([*pattern, *[False] * LIMIT])

    audible = [event for event in events if isinstance(event.payload, CutPayload) and event.payload.audible is not None]
    ends = [event.response_id for event in events if event.kind is Kind.RESPONSE_DONE]
    assert len(audible) == sum(pattern)
    assert ends == list(dict.fromkeys(event.response_id for event in audible))
    pauses = "".join(" x"[loud] for loud in pattern).strip().split(" " * LIMIT)
    assert len(ends) == sum("x" in stretch for stretch in pauses)


@given(pattern=st.lists(st.booleans(), max_size=60))
def test_a_log_that_has_no_audio_gives_the_same_replies(pattern: list[bool]) -> None:
    kept = [msgspec.structs.replace(SILENT, payload=CutPayload(24 * 50 if loud else None)) for loud in pattern]

    assert Ear(PCM16).heard_in(kept) == heard(pattern)
