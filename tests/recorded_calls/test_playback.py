"""The measurement of a recorded call by the timeline of live sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.observe.observation import TurnObservation
from tests.recorded_calls.composed import RATE_HZ, START_NS, composed, measured, words
from tests.recorded_calls.constructed import Conditions, audible, constructed_call
from tests.recorded_calls.imports import found_utterances, recording

QUIET = Conditions(rate_hz=RATE_HZ)
SOFT_EDGES_NS = 250 * NS_PER_MS
"""The maximum bound of the voices, which begin with a nasal or a breathy consonant, and fade."""


def waits_ms(turns: tuple[TurnObservation, ...]) -> list[float]:
    """Return the wait from the end of the caller's speech to the first audible sample of each
    reply.
    """
    return [
        (turn.instants["first_audible"] - turn.instants["speech_end"]) / NS_PER_MS
        for turn in turns
        if "speech_end" in turn.instants
    ]


@pytest.mark.parametrize("turn_detection", ["full_duplex", "server_vad"])
@pytest.mark.parametrize(
    "conditions",
    [
        QUIET,
        replace(QUIET, overlaps=True),
        replace(QUIET, greets=False),
        Conditions(rate_hz=24_000),
        Conditions(g711=True),
    ],
    ids=str,
)
def test_the_wait_of_each_turn_is_the_true_wait(
    conditions: Conditions, turn_detection: str, tmp_path: Path
) -> None:
    call = constructed_call(5, conditions, turns=3)
    turns = measured(recording(call, tmp_path), tmp_path, turn_detection).turns

    spoken = [turn for turn in turns if turn.step != "greeting"]
    assert waits_ms(turns) == pytest.approx(call.waits_ms, abs=3)
    assert [turn.step.split("-")[0] for turn in spoken] == call.kinds
    assert max(turn.onset_uncertainty_ns or 0 for turn in spoken) <= SOFT_EDGES_NS
    greets = conditions.greets and turn_detection == "full_duplex"
    assert [turn.step for turn in turns if turn.step == "greeting"] == ["greeting"] * greets


def test_a_wait_in_noise_is_within_its_uncertainty_of_the_true_wait(tmp_path: Path) -> None:
    call = constructed_call(6, replace(QUIET, snr_db=25), turns=3)
    turns = [
        turn
        for turn in measured(recording(call, tmp_path), tmp_path).turns
        if turn.step != "greeting"
    ]

    for turn, wait_ms, true_ms in zip(turns, waits_ms(tuple(turns)), call.waits_ms, strict=True):
        assert turn.onset_uncertainty_ns is not None
        assert 0 < abs(wait_ms - true_ms) <= turn.onset_uncertainty_ns / NS_PER_MS + 3


def test_an_interruption_has_the_time_until_the_agent_is_silent(tmp_path: Path) -> None:
    reply = words("appointment")[: 2 * RATE_HZ]
    call = composed(
        {1: words("not_today"), 5.5: words("late_parcel")}, {4: reply, 10: words("sure")}, 14
    )
    first, second = measured(recording(call, tmp_path), tmp_path).turns

    assert first.outcome == "interrupted"
    overlap_s = (first.instants["barge_in_silent"] - first.instants["barge_in"]) / NS_PER_S
    assert overlap_s == pytest.approx(4 + audible(reply)[1] / RATE_HZ - 5.5, abs=0.005)
    assert second.outcome == "ok"


def test_a_turn_without_an_answer_timed_out(tmp_path: Path) -> None:
    call = composed({1: words("not_today"), 8: words("not_today")}, {12: words("sure")}, 16)
    first, second = measured(recording(call, tmp_path), tmp_path).turns

    assert first.outcome == "timeout:first_delta"
    assert "had not answered when the caller spoke again" in first.detail
    assert "first_audible" not in first.instants
    assert second.outcome == "ok"


def test_an_interruption_that_starts_after_the_agent_stopped_ends_the_turn(tmp_path: Path) -> None:
    """The caller interrupts in a pause of the agent, which then says one more word."""
    reply = words("appointment")
    call = composed(
        {1: words("not_today"), 6.7: words("late_parcel")},
        {4: reply[: round(2.5 * RATE_HZ)], 6.9: reply[:RATE_HZ], 11: words("sure")},
        15,
    )
    talk, _ = found_utterances(read := recording(call, tmp_path))
    assert [said.kind for said in talk.utterances] == ["turn", "interruption"]

    turns = measured(read, tmp_path).turns
    assert [turn.step for turn in turns] == ["turn-1", "interruption-2"]
    assert all("first_audible" in turn.instants for turn in turns)


def test_a_backchannel_during_a_reply_is_not_a_turn(tmp_path: Path) -> None:
    reply = np.concatenate([words("appointment"), words("order")])
    call = composed(
        {1: words("not_today"), 5: words("uh_huh"), 16: words("not_today")},
        {3: reply, 19: words("sure")},
        23,
    )
    turns = measured(recording(call, tmp_path), tmp_path).turns

    assert [(turn.step, turn.outcome) for turn in turns] == [("turn-1", "ok"), ("turn-3", "ok")]
    assert [turn.false_yield for turn in turns] == [False, None]


def test_what_a_recording_does_not_contain_is_unknown(tmp_path: Path) -> None:
    found = measured(recording(constructed_call(5, QUIET, turns=2), tmp_path), tmp_path)

    for turn in found.turns:
        assert (
            turn.stall_duration_ns is turn.stall_count is turn.stall_duration_uncertainty_ns is None
        )
        assert (
            turn.wire_bytes_sent
            is turn.wire_bytes_received
            is turn.events
            is turn.late_chunks
            is None
        )
        assert turn.kernel_stamps == 0
    assert not {"connect_start", "tcp_done", "opened", "session_created"} & set(
        found.session.instants
    )


def test_the_instants_count_from_the_start_of_the_call(tmp_path: Path) -> None:
    call = constructed_call(5, replace(QUIET, greets=False), turns=1)
    (turn,) = measured(recording(call, tmp_path), tmp_path).turns

    assert turn.instants["speech_start"] == pytest.approx(
        START_NS + call.starts_s[0] * NS_PER_S, abs=3 * NS_PER_MS
    )


def test_a_caller_who_starts_shortly_after_the_agent_interrupts_this_reply(tmp_path: Path) -> None:
    """The WAV of the interruption has 0.2 s before the speech, so it would start before the
    reply.
    """
    call = composed(
        {2.1: words("late_parcel")}, {2: words("hello")[: 2 * RATE_HZ], 6: words("sure")}, 10
    )
    greeting, turn = measured(recording(call, tmp_path), tmp_path).turns

    assert (greeting.step, greeting.outcome) == ("greeting", "interrupted")
    assert greeting.instants["barge_in"] - greeting.instants["first_audible"] == pytest.approx(
        1e8, abs=1e7
    )
    assert (turn.step, turn.outcome) == ("interruption-1", "ok")


def test_a_second_interruption_before_the_answer_ends_the_turn_of_the_first(tmp_path: Path) -> None:
    reply = np.concatenate([words("appointment"), words("order")])
    call = composed(
        {1: words("not_today"), 5: words("not_today"), 11: words("late_parcel")},
        {4: reply, 17: words("sure")},
        21,
    )
    turns = measured(recording(call, tmp_path), tmp_path).turns

    assert [turn.step for turn in turns] == ["turn-1", "interruption-2", "interruption-3"]
    assert turns[1].outcome == "timeout:first_delta"
