"""Agents that send nothing while they are silent: silence precedes their stream, so that it may
begin with a voice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.plan.recordings import FULL_SCALE
from bench.record.event_log import EventLog
from bench.record.replay import replay_log
from bench.wire.audio import Samples
from tests.observe.agent_calls import FORMATS, Call
from tools.benchmarks.onsets import voices

LOUD = 4_000
"""The recordings begin softly. Those here begin with a sample that is so loud."""


def voice(rate_hz: int, part: float, number: int = 3) -> Samples:
    """Return a recorded voice of 2 s from a loud sample on, and silence after it."""
    recorded = np.rint(voices(rate_hz)[number] * FULL_SCALE).astype(np.int16)
    loud = np.flatnonzero(np.abs(recorded) > LOUD)
    begin = loud[int(part * len(loud))]
    return np.concatenate((recorded[begin : begin + 2 * rate_hz], np.zeros(rate_hz, np.int16)))


def room(rate_hz: int, milliseconds: int) -> Samples:
    """Return the loud noise of a room, which would be a sound if it began after silence."""
    return (
        np.random.default_rng(1).normal(0, 1_000, rate_hz * milliseconds // 1_000).astype(np.int16)
    )


def room_and_voice(room_ms: int) -> Samples:
    """Return the noise of a room, and then a voice that is much louder."""
    loud = np.clip(voice(8_000, 0, number=2) * 4.0, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return np.concatenate((room(8_000, room_ms), loud))


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize("greeting", [True, False], ids=["greeting", "reply"])
@pytest.mark.parametrize("after_ms", [201, 5_000])
def test_a_stream_that_begins_late_begins_with_its_voice(
    dialect: str, greeting: bool, after_ms: float
) -> None:
    call = Call(dialect, greeting=greeting)
    heard = call.heard(call.hear(voice(call.audio.rate_hz, 0.34), after_ms))
    assert (abs(heard.after_ms) <= 5, heard.bound_ms <= 25) == (True, True), heard


def test_a_soft_part_at_the_start_of_a_late_stream_is_not_its_background() -> None:
    """If the stream had begun at once, the soft part could be the background of the voice, which
    is louder.
    """
    call = Call()
    heard = call.heard(call.hear(voice(8_000, 0), 201))
    assert (abs(heard.after_ms) <= 5, heard.bound_ms <= 25) == (True, True), heard


@pytest.mark.parametrize(("after_ms", "error_ms"), [(20, 0), (199, 0), (200, 0), (210, 11)])
def test_a_stream_that_may_have_begun_at_once_has_a_background(
    after_ms: float, error_ms: float
) -> None:
    call = Call()
    heard = call.heard(call.hear(room_and_voice(1_500), after_ms, error_ms))
    assert abs(heard.after_ms - 1_500) <= heard.bound_ms < 400, heard


def test_a_stream_that_began_before_the_answer_did_not_begin_late() -> None:
    """The background before the answer of a telephone call is still that of the voice after it."""
    call = Call("sip", early=room(8_000, 3_000))
    heard = call.heard(call.hear(room_and_voice(1_000), 500))
    assert abs(heard.after_ms - 1_000) <= heard.bound_ms < 400, heard


@pytest.mark.parametrize("record_audio", [False, True])
def test_the_replay_of_a_late_stream_is_the_same(tmp_path: Path, record_audio: bool) -> None:
    path = tmp_path / "log.jsonl"
    log = EventLog(path, hide=str, record_audio=record_audio)
    call = Call(log=log)
    turn = call.hear(voice(8_000, 0), 201)
    log.close()

    assert replay_log(path).turns == (turn,)
