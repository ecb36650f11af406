"""Speech begins and ends at frames that do not depend on how the client divided the audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.openai.dialect import RATED_FORMATS
from bench.wire.audio import AudioFormatName
from rtbench_simulator.conversation.input_audio import (
    FRAME_MS,
    InputAudio,
    SpeechEdge,
    active_frames,
    level_dbfs,
)
from rtbench_simulator.session.effective import EffectiveTurnDetection, InputSettings
from tests.examples import thorough
from tests.simulator.builders import noise, sound

SERVER_VAD = EffectiveTurnDetection("server_vad")


def input_audio(
    name: AudioFormatName = "pcm16", detection: EffectiveTurnDetection | None = SERVER_VAD
) -> InputSettings:
    return InputSettings(RATED_FORMATS[name], detection, None)


class SpeechChange(NamedTuple):
    """A start or an end of speech.

    `frame`: the first active frame (at a start) or the last one (at an end); `detected_frame`: the
    number of frames after which the change was detected.
    """

    began: bool
    frame: int
    detected_frame: int


def changes(frames: str, silence_ms: float) -> Iterator[SpeechChange]:
    """Yield the changes that are detected in frames of 10 ms. In `frames`, # is an active frame and
    . is an inactive one.
    """
    stream = InputAudio()
    stream.silence_ms = silence_ms
    audio = b"".join(
        RATED_FORMATS["pcm16"].encode(noise(240, 3277 if frame == "#" else 0)) for frame in frames
    )
    for edge in stream.append(audio, input_audio()):
        yield SpeechChange(
            edge.began, edge.byte // 480 - (not edge.began), edge.heard_ms // FRAME_MS
        )


@pytest.mark.parametrize(
    ("frames", "silence_ms", "expected"),
    [
        ("", 30, []),
        ("..###", 30, [SpeechChange(True, 2, 5)]),
        ("##.###", 30, [SpeechChange(True, 3, 6)]),
        ("###...", 30, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 6)]),
        ("###...", 25, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 6)]),
        ("###.", 0, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 4)]),
        (
            "###..##.###",
            20,
            [SpeechChange(True, 0, 3), SpeechChange(False, 2, 5), SpeechChange(True, 8, 11)],
        ),
    ],
)
def test_speech_begins_after_three_frames_and_ends_after_its_silence(
    frames: str, silence_ms: float, expected: list[SpeechChange]
) -> None:
    assert list(changes(frames, silence_ms)) == expected


@pytest.mark.parametrize(("threshold", "dbfs"), [(0, -62), (0.5, -42), (1, -22)])
def test_the_threshold_maps_to_a_level_in_dbfs(threshold: float, dbfs: float) -> None:
    amplitude = 32_768 * 10 ** (dbfs / 20)

    assert level_dbfs(threshold) == pytest.approx(dbfs)
    assert active_frames(noise(400, int(amplitude) + 1), 400, threshold) == [True]
    assert active_frames(noise(400, int(amplitude)), 400, threshold) == [False]


@thorough
@given(frames=st.text("#.", max_size=80), silence_ms=st.integers(1, 8).map(lambda tens: tens * 10))
def test_speech_ends_exactly_after_its_silence(frames: str, silence_ms: int) -> None:
    for change in changes(frames, silence_ms):
        if change.began:
            assert frames[change.frame : change.detected_frame] == "###"
        else:
            assert frames[change.frame : change.detected_frame] == "#" + "." * (silence_ms // 10)


# The stream of input audio has the right clock and positions with any format and any size of
# chunks.


NAMES: tuple[AudioFormatName, ...] = tuple(RATED_FORMATS)
SILENCE_MS = 200


def speech_in(
    audio: bytes,
    sizes: Sequence[int] = (4800,),
    name: AudioFormatName = "pcm16",
    stream: InputAudio | None = None,
    silence_ms: int = SILENCE_MS,
) -> list[SpeechEdge]:
    """Append the audio in pieces of these sizes, which repeat. Return the changes that are
    detected.
    """
    stream = stream or InputAudio()
    stream.silence_ms = silence_ms
    found: list[SpeechEdge] = []
    for size in cycle(sizes):
        if not audio:
            break
        found += stream.append(audio[:size], input_audio(name))
        audio = audio[size:]
    return found


@thorough
@given(
    parts_ms=st.lists(st.integers(0, 400), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
    name=st.sampled_from(NAMES),
    silence_ms=st.integers(0, 200),
)
def test_splitting_the_audio_does_not_move_speech(
    parts_ms: list[int], sizes: list[int], name: AudioFormatName, silence_ms: int
) -> None:
    audio = sound(*parts_ms, name=name)

    seen = speech_in(audio, [100 + size for size in sizes], name, silence_ms=silence_ms)

    assert seen == speech_in(audio, [1 << 20], name, silence_ms=silence_ms)
    assert [edge.began for edge in seen] == [place % 2 == 0 for place in range(len(seen))]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 2000)), max_size=10))
def test_the_clock_counts_each_byte_in_its_own_format(
    appends: list[tuple[AudioFormatName, int]],
) -> None:
    stream = InputAudio()

    for name, size in appends:
        list(stream.append(bytes(size), input_audio(name, None)))

    lengths_ms = [size * 1000 / RATED_FORMATS[name].bytes_per_s for name, size in appends]
    assert stream.buffered_ms == pytest.approx(sum(lengths_ms))
    assert stream.end.byte == sum(size for _, size in appends)


def test_the_end_of_speech_can_be_in_the_earlier_format() -> None:
    stream = InputAudio()
    speech_in(sound(300, 105), stream=stream)

    (ended,) = speech_in(sound(0, 200, name="g711_alaw"), [800], "g711_alaw", stream)

    assert ended == SpeechEdge(False, 300 * 48, 0, 300, 505)
