"""The stream of input audio keeps its clock and its places, whatever formats and chunks it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import RATED_FORMATS
from bench.simulator.conversation.input_audio import InputAudio, SpeechEdge
from bench.simulator.session.effective import Detection, InputSettings
from tests.simulator.builders import sound

NAMES: tuple[AudioFormatName, ...] = tuple(RATED_FORMATS)
SERVER_VAD = Detection("server_vad")
SILENCE_MS = 200


def heard(name: AudioFormatName = "pcm16", detection: Detection | None = SERVER_VAD) -> InputSettings:
    return InputSettings(RATED_FORMATS[name], detection, None)


def speech_in(
    audio: bytes, sizes: Sequence[int] = (4800,), name: AudioFormatName = "pcm16", stream: InputAudio | None = None
) -> list[SpeechEdge]:
    """What is heard in audio that is appended in pieces of these sizes, over and over."""
    stream = stream or InputAudio()
    stream.set_silence(SILENCE_MS)
    found: list[SpeechEdge] = []
    for size in cycle(sizes):
        if not audio:
            break
        found += stream.append(audio[:size], heard(name))
        audio = audio[size:]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_speech_is_found_at_its_bytes_in_every_format(name: AudioFormatName) -> None:
    a_ms = RATED_FORMATS[name].bytes_per_s // 1000

    found = speech_in(sound(0, 300, 500, 400, name=name), [100 * a_ms], name)

    assert found == [
        SpeechEdge(True, 300 * a_ms, 300, 330),
        SpeechEdge(False, 800 * a_ms, 300, 1000),
    ]


@given(
    parts_ms=st.lists(st.integers(0, 400), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
    name=st.sampled_from(NAMES),
)
def test_cutting_the_audio_otherwise_changes_no_place(
    parts_ms: list[int], sizes: list[int], name: AudioFormatName
) -> None:
    audio = sound(*parts_ms, name=name)

    assert speech_in(audio, [100 + size for size in sizes], name) == speech_in(audio, [1 << 20], name)


def test_the_silence_that_is_not_sent_is_not_heard() -> None:
    assert [speech.began for speech in speech_in(sound(500, 199))] == [True]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 2000)), max_size=10))
def test_the_clock_counts_each_byte_in_its_own_format(appends: list[tuple[AudioFormatName, int]]) -> None:
    stream = InputAudio()

    for name, size in appends:
        list(stream.append(bytes(size), heard(name, None)))

    lengths_ms = [size * 1000 / RATED_FORMATS[name].bytes_per_s for name, size in appends]
    assert stream.buffered_ms == pytest.approx(sum(lengths_ms))
    assert stream.end.byte == sum(size for _, size in appends)


def test_speech_goes_on_through_a_change_of_format() -> None:
    stream = InputAudio()
    before = speech_in(sound(0, 100, 300), stream=stream)

    after = speech_in(sound(200, 300, name="g711_ulaw"), [800], "g711_ulaw", stream)

    assert before == [SpeechEdge(True, 4800, 100, 130)]
    assert after == [SpeechEdge(False, 400 * 48 + 200 * 8, 100, 800)]


def test_an_end_in_the_earlier_format_is_found_there() -> None:
    stream = InputAudio()
    speech_in(sound(300, 105), stream=stream)

    (ended,) = speech_in(sound(0, 200, name="g711_alaw"), [800], "g711_alaw", stream)

    assert ended == SpeechEdge(False, 300 * 48, 0, 505)


def test_audio_that_nobody_listened_to_moves_the_clock_and_is_never_speech() -> None:
    stream = InputAudio()
    unheard = list(stream.append(sound(1000, 1000), heard(detection=None)))

    found = speech_in(sound(300), stream=stream)

    assert unheard == []
    assert found == [SpeechEdge(True, 2000 * 48, 2000, 2030)]


def test_an_emptied_buffer_has_forgotten_the_speech() -> None:
    stream = InputAudio()
    speech_in(sound(300), stream=stream)

    stream.empty()

    assert stream.buffered_ms == 0
    assert speech_in(sound(20, 400), stream=stream) == []
    assert stream.buffered_ms == 420


def test_what_came_after_the_silence_waits_for_the_next_commit() -> None:
    stream = InputAudio()

    speech_in(sound(300, 260), [1 << 20], stream=stream)
    stream.take_heard()

    assert stream.buffered_ms == 60
