"""Fillers, which a service speaks while its caller waits: whose they are, and which turns may have some."""

from __future__ import annotations

from typing import Any

import pytest

from bench.observe import inputs
from bench.observe.inputs import GoOn
from bench.protocol.openai_preview import PREVIEW
from tests.helpers import MS, Talk, after_ms, at, created, done, error, message, speaks, usage
from tests.observe.test_calls import answer_call, audio, call_added, called, function_call_done, goes_on

STATIC = {"type": "static_interim_response", "triggers": ["tool"], "texts": ["One moment."]}


def updated(**settings: Any) -> bytes:
    return message("session.updated", session={"id": "sess_1", "model": "gpt-4.1"} | settings)


def filled(*, service_responds: bool = False) -> Talk:
    """A function is called, and while it runs something is said that nobody asked for, from 400 to 600 ms."""
    talk = Talk(service_responds=service_responds)
    if service_responds:
        speaks(talk, end_ms=50, functions=True)
        talk.hear(
            80, *(message(f"input_audio_buffer.{name}", item_id="item_1") for name in ("speech_stopped", "committed"))
        )
    else:
        talk.ask(0, functions=True, jitter_buffer_ns=50 * MS)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    talk.hear(600, done("rf", usage=usage(audio_out=20)))
    return talk


@pytest.mark.parametrize("service_responds", [False, True])
def test_what_is_said_unasked_while_a_function_runs_is_heard_and_answers_nothing(service_responds: bool) -> None:
    talk = filled(service_responds=service_responds)
    assert not talk.timeline.turns.all_over
    assert not talk.work(601, GoOn), "the function runs"
    answer_call(talk, 2_000, "c1")
    turn = goes_on(talk, 2_500)

    assert (turn.outcome, turn.turn_type, turn.preamble) == ("ok", "function_calls+filler", True)
    assert (turn.response_id, turn.answer_response_id) == ("r1", "r2")
    assert (after_ms(turn, "first_audio"), after_ms(turn, "answer_audio")) == (400, 2_500)
    assert (after_ms(turn, "function_call_done"), turn.function_calls) == (115, 1)
    assert turn.usage is not None
    assert turn.usage.audio_out == 20


def test_the_answer_is_asked_for_once_the_filler_is_over() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    talk.timeline.tell(inputs.CallAnswered("c1", at(500)))
    assert not talk.work(501, GoOn)
    talk.hear(700, done("rf", status="cancelled", reason="turn_detected"))
    assert talk.work(700, GoOn)
    talk.send(701, "response.create")

    assert goes_on(talk, 900).outcome == "ok"


def test_a_filler_that_does_not_end_is_waited_for_no_longer_than_for_any_delta() -> None:
    talk = Talk(next_delta=2)
    talk.ask(0, functions=True)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    assert talk.timeline.wake_ns == at(300_000), "the function runs"
    talk.timeline.tell(inputs.CallAnswered("c1", at(5_000)))
    assert talk.timeline.wake_ns == at(7_000)
    talk.hear(6_000, audio("rf", "item_f"))
    talk.timeline.expire(at(8_000))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:next_delta", 8_000)


def test_a_filler_s_tokens_do_not_tell_how_long_the_conversation_is() -> None:
    talk = filled()
    answer_call(talk, 2_000, "c1")
    read = {"input_tokens": 20, "output_tokens": 7, "output_token_details": {"audio_tokens": 7}}
    talk.hear(2_500, created("r2"), audio("r2", "item_r2"), done("r2", usage=read))
    first = talk.only()
    talk.ask(3_000, 2)
    talk.hear(3_100, created("r3"), audio("r3", "item_r3"), done("r3", usage=read | {"input_tokens": 19}))
    second = talk.only()

    assert (first.turn_type, second.turn_type) == ("function_calls+filler", "after_truncation")


def test_of_several_rounds_each_may_have_a_filler() -> None:
    talk = filled()
    answer_call(talk, 2_000, "c1")
    talk.hear(2_100, created("r2"), call_added("r2", "c2", "function_c2"), function_call_done("r2", "c2"), done("r2"))
    talk.hear(2_400, created("rg"), audio("rg", "item_g"), done("rg"))
    answer_call(talk, 3_000, "c2")
    turn = goes_on(talk, 3_500, "r3")

    assert (turn.outcome, turn.turn_type, turn.answer_response_id) == ("ok", "function_calls+filler", "r3")
    assert after_ms(turn, "answer_audio") == 3_500


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("described", "on"),
    [({"interim_response": STATIC}, True), ({"interim_response": None}, False), ({}, False)],
)
def test_every_turn_of_a_session_that_fills_waits_is_apart(described: dict[str, Any], sent: bool, on: bool) -> None:
    talk = Talk(PREVIEW)
    talk.hear(1, updated(**described))
    talk.ask(10, fillers=sent, wants_audio=False)
    talk.hear(
        100, created("r1"), message("response.text.delta", response_id="r1", item_id="i", delta="No."), done("r1")
    )

    assert talk.only().turn_type == ("filler" if on or sent else "regular")


def test_a_session_may_say_during_a_turn_that_it_fills_waits_from_now_on() -> None:
    talk = Talk()
    for number in (1, 2, 3):
        talk.ask(number * 1_000, number)
        talk.hear(number * 1_000 + 100, created(f"r{number}"))
        if number == 2:
            talk.hear(2_200, updated(interim_response=STATIC))
        talk.hear(number * 1_000 + 300, audio(f"r{number}", f"item_{number}"), done(f"r{number}"))

    assert [turn.turn_type for turn in talk.take(9_000)] == ["regular", "filler", "filler"]


def test_a_response_that_follows_the_outputs_is_the_answer_and_no_filler() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk)
    answer_call(talk, 300, "c1")
    talk.hear(320, error("rate_limit", event_id=None))
    turn = goes_on(talk, 500)

    assert (turn.outcome, turn.turn_type) == ("ok", "function_calls")
