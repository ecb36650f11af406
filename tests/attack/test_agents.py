"""Calls with every agent of the table, in memory. Each turn has one outcome, and no metric is
invented.

The clock is virtual. The observations of each call are compared with what the agent sent, and with
a replay of the event log.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bench.catalogue.outcomes import meaning, outcome_class
from bench.catalogue.timeouts import MAX_EVENTS
from bench.observe import timeline
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.steps import PauseStep
from bench.record.replay import replay_log
from bench.wire.audio import PCM16_48K
from tests.attack.agent_calls import JITTER_MS, MEMORY_KB, STEPS, Call, play_call
from tests.attack.agents import AFTER_UTTERANCE, AGENTS, VOICES, Actions, AgentVoice
from tests.helpers import MS


def test_at_least_101_hostile_agents_are_defined() -> None:
    assert len(AGENTS) >= 101


@pytest.mark.parametrize("name", AGENTS)
def test_each_turn_with_a_hostile_agent_has_the_expected_outcome_and_no_invented_metrics(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = AGENTS[name]
    monkeypatch.setattr(timeline, "MAX_EVENTS", MAX_EVENTS // 100)
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    voice = VOICES[agent.dialect]
    call = play_call(voice, agent.act(voice), STEPS[: agent.turns], tmp_path / "call.jsonl")

    session, outcomes = call.session, [turn.outcome for turn in call.turns]
    assert " ".join(outcomes) == agent.outcomes, [turn.detail for turn in call.turns]
    assert session.turns_started == session.turns_ended == len(outcomes)
    ended = next((outcome for outcome in outcomes if outcome_class(outcome) != "success"), "ok")
    assert session.outcome == (ended if ended.startswith(ENDS_CALL) else "ok")
    assert all(meaning(one) or outcome_class(one) == "success" for one in outcomes)
    for turn in call.turns:
        assert_no_invented_metrics(turn, session)
    assert session.audio_bytes_received <= call.agent.sent_bytes or call.agent.echoes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < MEMORY_KB
    again = replay_log(tmp_path / "call.jsonl")
    assert (again.session, list(again.turns)) == (session, call.turns)


HEARD_ALONE = {
    "voice_to_voice",
    "dead_air",
    "stall_duration",
    "overlap",
    "unplayed_audio",
    "barge_in_yield",
    "barge_in_last_audio",
    "barge_in_detection",
    "barge_in_late_audio",
}
"""All metrics that a call can have if its service reports no events except that it detected the
caller's speech."""
ENDS_CALL = ("timeout:", "closed:", "protocol_error:", "limit_exceeded:")


def assert_no_invented_metrics(turn: TurnObservation, session: SessionObservation) -> None:
    """Assert that the turn has no metric or text that no message supports.

    The turn's instants must be in order.
    """
    instants, metrics = turn.instants, turn.metrics_ns()
    assert set(metrics) <= HEARD_ALONE
    assert (turn.usage, turn.reply_text, turn.input_text, turn.response_id) == (None, "", "", "")
    is_answered = (
        "speech_end" in instants and instants.get("first_audible", -1) >= instants["speech_end"]
    )
    assert ("voice_to_voice" in metrics) is is_answered
    assert all(
        session.start_ns <= at_ns <= instants["ended"] + 2 * JITTER_MS * MS
        for at_ns in instants.values()
    )
    assert all(value >= 0 for value in metrics.values())
    assert turn.cut_off or metrics.get("voice_to_voice", 0) >= 0
    assert (turn.interruption == "speech") is ("barge_in" in instants)


# Tests of single cases in detail.

PCM, TWILIO = (VOICES[name] for name in ("pcm", "twilio"))


def since_ms(call: Call, at_ns: int) -> float:
    return (at_ns - call.began_ns) / MS


def test_a_mark_returns_once_the_audio_before_it_was_played_or_dropped(tmp_path: Path) -> None:
    """An agent may send a minute of audio in advance.

    If marks returned immediately, all of that audio would count as played.
    """

    def actions() -> Actions:
        yield TWILIO.mark("first")
        yield TWILIO.audio(TWILIO.speech(600))
        yield TWILIO.mark("greeting_audible")
        yield 100
        yield TWILIO.audio(TWILIO.speech(40))
        yield TWILIO.mark("more")
        yield 1_800
        yield TWILIO.audio(TWILIO.speech(2_000))
        yield TWILIO.mark("dropped")
        yield 300
        yield TWILIO.clear()
        yield TWILIO.mark("last")

    call = play_call(TWILIO, actions(), STEPS[:2], tmp_path / "call.jsonl")

    assert [(since_ms(call, at_ns), name) for at_ns, name in call.agent.marks] == [
        (0, "first"),
        (600, "greeting_audible"),
        (640, "more"),
        (2_200, "dropped"),
        (2_200, "last"),
    ]


def test_audio_right_after_a_clear_belongs_to_the_interrupted_reply(tmp_path: Path) -> None:
    agent = AGENTS["late audio after the clear and then an answer"]
    call = play_call(TWILIO, agent.act(TWILIO), STEPS, tmp_path / "call.jsonl")
    _, question, objection = call.turns

    detected, silent = question.instants["barge_in_detected"], question.instants["barge_in_silent"]
    assert silent - detected == (300 + JITTER_MS) * MS
    assert question.late_audio_ns == 300 * MS
    assert question.unplayed_audio_ns is not None
    assert abs(question.unplayed_audio_ns - (3_000 - 700 + JITTER_MS) * MS) <= 20 * MS
    assert objection.instants["first_audible"] - silent >= 400 * MS


def test_an_agent_that_is_not_silent_within_two_seconds_has_not_yielded(tmp_path: Path) -> None:
    call = play_call(PCM, AGENTS["never falls silent"].act(PCM), STEPS, tmp_path / "call.jsonl")

    assert (call.turns[1].yielded, call.turns[1].outcome) == (False, "interrupted")


def test_a_greeting_is_decoded_in_the_output_format_of_the_session(tmp_path: Path) -> None:
    """The session outputs 48 kHz.

    If the greeting were decoded in a wrong format, its playback would last until the first answer.
    The greeting would then count as part of that answer.
    """
    voice = AgentVoice("pcm", PCM16_48K)

    def actions() -> Actions:
        yield from voice.says(900)
        yield AFTER_UTTERANCE
        yield 400
        yield from voice.says()

    steps = (PauseStep(1), *STEPS[1:2])
    call = play_call(voice, actions(), steps, tmp_path / "call.jsonl", output_format="pcm16@48000")

    (turn,) = call.turns
    assert turn.outcome == "ok"
    # the tolerance is one chunk of the caller's audio
    assert 0 < turn.metrics_ns()["voice_to_voice"] - (400 + JITTER_MS) * MS <= 101 * MS
