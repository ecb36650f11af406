"""Speech begins and ends at frames that do not depend on how the audio was cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.conversation.input_audio import Detector, SpeechChange, active_frames, level_dbfs
from tests.examples import thorough
from tests.simulator.builders import noise


def changes(frames: str, silence_ms: float) -> list[SpeechChange]:
    """`frames`: # is active, . is not."""
    detector = Detector()
    detector.silence_ms = silence_ms
    return list(detector.feed(frame == "#" for frame in frames))


@pytest.mark.parametrize(
    ("frames", "silence_ms", "expected"),
    [
        ("", 30, []),
        ("......", 30, []),
        ("##.##.##", 30, []),
        ("..###", 30, [SpeechChange(True, 2, 5)]),
        ("##.###", 30, [SpeechChange(True, 3, 6)]),
        ("###..", 30, [SpeechChange(True, 0, 3)]),
        ("###...", 30, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 6)]),
        ("###..#...", 30, [SpeechChange(True, 0, 3), SpeechChange(False, 5, 9)]),
        ("###...", 25, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 6)]),
        ("###.", 0, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 4)]),
        ("###..##.###", 20, [SpeechChange(True, 0, 3), SpeechChange(False, 2, 5), SpeechChange(True, 8, 11)]),
    ],
)
def test_speech_needs_three_frames_to_begin_and_its_silence_to_end(
    frames: str, silence_ms: float, expected: list[SpeechChange]
) -> None:
    assert changes(frames, silence_ms) == expected


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("#####", []),
        ("######", [SpeechChange(True, 0, 6)]),
        ("##.######", [SpeechChange(True, 3, 9)]),
        ("###..#", [SpeechChange(True, 0, 6)]),
        ("#####...", []),
        ("#####" + "." * 19 + "#", [SpeechChange(True, 0, 25)]),
        ("#####" + "." * 20 + "#####", []),
        ("#####" + "." * 20 + "######...", [SpeechChange(True, 25, 31), SpeechChange(False, 30, 34)]),
    ],
)
def test_a_sound_that_is_over_before_it_lasts_long_enough_is_no_speech(
    frames: str, expected: list[SpeechChange]
) -> None:
    detector = Detector(least_ms=60)
    detector.silence_ms = 30

    assert list(detector.feed(frame == "#" for frame in frames)) == expected


def test_another_silence_counts_from_the_very_next_frame() -> None:
    detector = Detector()
    detector.silence_ms = 10
    seen = []

    for change in detector.feed(frame == "#" for frame in "###....."):
        seen.append(change)
        detector.silence_ms = 40

    assert seen == [SpeechChange(True, 0, 3), SpeechChange(False, 2, 7)]


def test_a_reset_forgets_speech_and_goes_on_counting() -> None:
    detector = Detector()
    list(detector.feed([True, True, True]))

    detector.reset()

    assert list(detector.feed([False, False, True, True, True])) == [SpeechChange(True, 5, 8)]


@pytest.mark.parametrize(("threshold", "dbfs"), [(0, -62), (0.5, -42), (1, -22)])
def test_the_threshold_is_a_level(threshold: float, dbfs: float) -> None:
    amplitude = 32_768 * 10 ** (dbfs / 20)

    assert level_dbfs(threshold) == pytest.approx(dbfs)
    assert active_frames(noise(400, int(amplitude) + 1), 400, threshold) == [True]
    assert active_frames(noise(400, int(amplitude)), 400, threshold) == [False]


def test_each_frame_is_judged_by_itself() -> None:
    loud, quiet = noise(240, 3000), noise(240, 30)

    assert active_frames(np.concatenate([quiet, loud, quiet, quiet, loud]), 240, 0.5) == [
        False, True, False, False, True,
    ]  # fmt: skip


def test_the_loudest_samples_are_loud() -> None:
    assert active_frames(np.full(480, -32_768, dtype=np.int16), 240, 1.0) == [True, True]


@thorough
@given(frames=st.text("#.", max_size=60), cuts=st.lists(st.integers(0, 60)), silence_ms=st.integers(0, 100))
def test_feeding_frames_in_pieces_changes_nothing(frames: str, cuts: list[int], silence_ms: int) -> None:
    detector = Detector()
    detector.silence_ms = silence_ms
    bounds = [0, *sorted(cuts), len(frames)]

    pieces = [frames[begin:end] for begin, end in pairwise(bounds)]
    seen = [change for piece in pieces for change in detector.feed(frame == "#" for frame in piece)]

    whole = changes("".join(pieces), silence_ms)
    assert seen == whole
    assert [change.began for change in seen] == [place % 2 == 0 for place in range(len(seen))]


@thorough
@given(frames=st.text("#.", max_size=80), silence_ms=st.integers(1, 8).map(lambda tens: tens * 10))
def test_speech_ends_exactly_where_so_much_silence_follows_its_last_frame(frames: str, silence_ms: int) -> None:
    for change in changes(frames, silence_ms):
        if change.began:
            assert frames[change.frame : change.heard] == "###"
        else:
            assert frames[change.frame : change.heard] == "#" + "." * (silence_ms // 10)
