"""A simulated service takes turns as its profile states: the same rule for every service."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from rtbench_simulator.profile import (
    AgentSettings,
    LatencyGrowth,
    Profile,
    TurnTakingSettings,
    quiet_profile,
)
from rtbench_simulator.turn_taking import TurnDecision
from tests.simulator.builders import constant
from tests.simulator.spoken_calls import CHUNK_MS, SERVICES, SILENCE_MS, SpokenCall

FIRST_AUDIO_MS, SPEECH_MS = 400, 1_500
every_service = pytest.mark.parametrize("service", SERVICES)


def build(agent: AgentSettings | None = None, session_sd: float = 0.0, **rules: Any) -> Profile:
    """Return a profile with constant delays, whose agents do not greet."""
    delays = replace(
        quiet_profile().delays, first_audio=constant(FIRST_AUDIO_MS), speech_started=constant(15)
    )
    return replace(
        quiet_profile(),
        delays=delays,
        agent=agent or AgentSettings(greets=False),
        session_sd=session_sd,
        turn_taking=TurnTakingSettings(**rules),
    )


def kinds(call: SpokenCall) -> list[str]:
    return [decision.kind for decision in call.decisions]


def answered(service: str, profile: Profile, seed: int = 1) -> tuple[SpokenCall, float]:
    """Return a call in which the reply to the first turn is heard, and the end of the caller's
    speech.
    """
    call = SpokenCall(SERVICES[service], profile, seed)
    call.speak(SPEECH_MS)
    ended_ms = call.now_ms
    call.listen(SILENCE_MS + FIRST_AUDIO_MS + 600)
    return call, ended_ms


@every_service
@pytest.mark.parametrize("yield_ms", [300, 900])
def test_a_reply_stops_one_time_to_yield_after_the_start_of_speech(
    service: str, yield_ms: int
) -> None:
    call, _ = answered(service, build(yield_ms=constant(yield_ms)))
    begun_ms = call.now_ms
    call.speak(1_200, 800)

    (decision,) = [each for each in call.decisions if each.kind == "yield"]
    assert decision.at_ns is not None
    assert decision.from_ns is not None
    assert decision.at_ns - decision.from_ns == pytest.approx(yield_ms * 1e6, abs=1e3)
    stopped_ms = call.stopped_ms(begun_ms, begun_ms + 1_200 + SILENCE_MS)
    assert stopped_ms == pytest.approx(begun_ms + yield_ms, abs=CHUNK_MS)


@every_service
def test_after_an_interruption_the_service_answers_the_new_turn(service: str) -> None:
    call, _ = answered(service, build(yield_ms=constant(2_000)))
    call.speak(700)
    ended_ms = call.now_ms
    call.listen(4_000)

    assert kinds(call) == ["yield"]
    assert call.first_audible_ms(max(ended_ms + SILENCE_MS, ended_ms - 700 + 2_000)) is not None


@every_service
def test_a_turn_without_a_reply_is_logged_and_the_next_one_may_be_answered(service: str) -> None:
    call = SpokenCall(SERVICES[service], build(no_reply_share=1.0))
    before_ms = call.now_ms
    call.speak(SPEECH_MS, 5_000)

    assert kinds(call) == ["no_reply"]
    assert call.first_audible_ms(before_ms) is None

    answers, ended_ms = answered(service, build(no_reply_share=0.0))
    assert kinds(answers) == []
    assert answers.first_audible_ms(ended_ms) is not None


@every_service
@pytest.mark.parametrize("cut_in_ms", [1_000, 940], ids=["at the end of a chunk", "within a chunk"])
def test_a_cut_in_is_heard_while_the_caller_speaks_and_the_rest_is_a_turn(
    service: str, cut_in_ms: int
) -> None:
    turn_taking = build(cut_in_share=1.0, cut_in_ms=constant(cut_in_ms), yield_ms=constant(900))
    call = SpokenCall(SERVICES[service], turn_taking)
    begun_ms = call.now_ms
    call.speak(3_000)
    ended_ms = call.now_ms

    heard_ms = call.first_audible_ms(begun_ms)
    assert kinds(call) == ["cut_in", "yield"]
    assert heard_ms is not None
    assert begun_ms + 1_000 <= heard_ms < begun_ms + 1_000 + 600 < ended_ms

    call.listen(4_000)
    assert call.first_audible_ms(ended_ms + SILENCE_MS) is not None
    assert kinds(call) == ["cut_in", "yield"]


@every_service
def test_speech_that_ends_before_the_cut_in_has_none(service: str) -> None:
    call = SpokenCall(SERVICES[service], build(cut_in_share=1.0, cut_in_ms=constant(1_000)))
    call.speak(800, 3_000)

    assert kinds(call) == []


@every_service
def test_a_short_utterance_during_a_reply_is_ignored_and_a_long_one_is_not(service: str) -> None:
    rules: dict[str, Any] = {
        "ignored_backchannel_share": 1.0,
        "backchannel_ms": 500,
        "yield_ms": constant(800),
    }
    call, _ = answered(service, build(**rules))
    begun_ms = call.now_ms
    call.speak(300, 700)

    assert kinds(call) == ["ignored_backchannel"]
    if SERVICES[service].stop_event:
        assert call.stopped_ms(begun_ms, begun_ms + 1_000) is None
    else:
        assert call.first_audible_ms(begun_ms + 800) is not None

    call.speak(1_000, 700)
    assert kinds(call) == ["ignored_backchannel", "yield"]


@every_service
def test_each_session_has_its_own_speed(service: str) -> None:
    sd, factors = 0.3, []
    for seed in range(12):
        call, ended_ms = answered(service, build(session_sd=sd), seed)
        call.listen(6_000)
        call.speak(700, 700)
        first, second = [
            decision.slowness for decision in call.decisions if decision.kind == "answer"
        ]
        assert first == second
        heard_ms = call.first_audible_ms(ended_ms)
        assert heard_ms is not None
        assert heard_ms - ended_ms >= max(SILENCE_MS, FIRST_AUDIO_MS * first)
        factors.append(first)

    assert np.std(np.log(factors)) == pytest.approx(sd, rel=0.5)


@every_service
def test_delays_grow_within_a_session_up_to_a_maximum(service: str) -> None:
    profile = replace(build(), growth=LatencyGrowth(per_min=6.0, max_factor=2.0))
    call = SpokenCall(SERVICES[service], profile)
    for _ in range(3):
        call.speak(SPEECH_MS, 4_500)

    slowness = [decision.slowness for decision in call.decisions if decision.kind == "answer"]
    assert slowness[0] < slowness[1] <= slowness[2] == 2.0


def test_a_greeting_may_have_two_phrases_with_a_pause_between_them() -> None:
    pause_ms = 1_100
    call = SpokenCall(SERVICES["agent"], build(AgentSettings(greeting_pause_ms=constant(pause_ms))))
    call.listen(12_000)

    audible_ms = [event.due_ns / 1e6 for event in call.audio if event.audible_byte is not None]
    gaps_ms = [later - earlier for earlier, later in pairwise(audible_ms)]
    assert max(gaps_ms) == pytest.approx(pause_ms, abs=25)
    assert [event.facts["utterance"] for event in call.audio if event.facts] == [
        "greeting",
        "greeting",
    ]


@every_service
def test_the_share_of_each_decision_is_that_of_the_profile(service: str) -> None:
    rules: dict[str, Any] = {"no_reply_share": 0.3, "cut_in_share": 0.3, "cut_in_ms": constant(400)}
    counts = dict.fromkeys(("no_reply", "cut_in", "turns"), 0)
    for seed in range(40):
        call = SpokenCall(SERVICES[service], build(**rules), seed)
        call.speak(700, 700)
        for kind in ("no_reply", "cut_in"):
            counts[kind] += kinds(call).count(kind)
        counts["turns"] += 1

    assert abs(counts["cut_in"] / 40 - 0.3) < 3 * math.sqrt(0.3 * 0.7 / 40)
    assert abs(counts["no_reply"] / 40 - 0.3) < 3 * math.sqrt(0.3 * 0.7 / 40)


def test_a_decision_is_logged_without_its_empty_fields() -> None:
    assert msgspec.json.encode(TurnDecision("no_reply")) == b'{"kind":"no_reply"}'
