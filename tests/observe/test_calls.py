"""Turns in which the service calls functions, answers in several items, or sends a filler while
the caller waits.
"""

from __future__ import annotations

from typing import Any

import pytest

import bench.observe.tool_calls
from bench.observe import inputs
from bench.observe.inputs import CallFunction, RequestContinuation
from bench.observe.observation import TurnObservation
from bench.services.openai.preview import PREVIEW
from tests.helpers import MS, Talk, after_ms, at, created, done, message
from tests.observe.function_calls import (
    answer_call,
    audio,
    called,
    final_response,
    function_call_done,
    item,
    talk_with_filler,
)

NOT_OVER = "the turn was not over"


def test_a_turn_with_a_function_call_ends_with_the_response_to_its_output() -> None:
    talk = Talk()
    talk.ask(0, functions=True, jitter_buffer_ns=50 * MS)
    called(talk)
    assert not talk.timeline.turns.are_all_over
    assert [work.call.name for work in talk.work(116, CallFunction)] == ["function_c1"]
    assert not talk.work(117, CallFunction), "each is made once"
    assert talk.deadline() == (
        at(300_000),
        "timeout:turn",
        f"{NOT_OVER} within 300 s (timeout `turn`)",
    ), "it is ours to go on"
    answer_call(talk, 400, "c1")
    turn = final_response(talk, 900)

    assert (turn.outcome, turn.turn_type, turn.function_calls) == ("ok", "function_calls", 1)
    assert (turn.response_id, turn.answer_response_id) == ("r1", "r2")
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "request_sent": 0,
        "response_created": 100,
        "function_call_added": 110,
        "function_call_done": 115,
        "answer_request_sent": 401,
        "first_audio": 900,
        "answer_audio": 900,
        "last_audio": 900,
        "first_audible": 950,
        "answer_audible": 950,
        "function_audible": 950,
        "response_done": 900,
        "ended": 900,
    }
    metrics = {
        name: ns / MS for name, ns in turn.metrics_ns().items() if name.startswith("function")
    }
    assert metrics == {
        "function_call_added": 110,
        "function_call_done": 115,
        "function_execution": 285,
        "function_answer_ttfa": 499,
        "function_call_to_answer": 840,
    }
    assert turn.dead_air_ns == 950 * MS


def test_the_function_call_instants_of_a_turn_are_those_of_the_first_round() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk, 100, "r1", "c1")
    answer_call(talk, 200, "c1")
    called(talk, 300, "r2", "c2")
    answer_call(talk, 500, "c2")
    turn = final_response(talk, 900, "r3")

    assert (turn.outcome, turn.function_calls, turn.function_execution_ns) == (
        "ok",
        2,
        (85 + 185) * MS,
    )
    assert (after_ms(turn, "function_call_done"), after_ms(turn, "answer_request_sent")) == (
        115,
        501,
    )
    assert (turn.response_id, turn.answer_response_id) == ("r1", "r3")


def test_function_calls_are_found_in_response_done_if_no_event_reported_them_before() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    output = [
        {"type": "function_call", "id": "i", "call_id": "c1", "name": "find", "arguments": "{}"}
    ]
    talk.hear(
        100,
        created("r1"),
        message("response.done", response={"id": "r1", "status": "completed", "output": output}),
    )

    assert [(work.call.call_id, work.call.name) for work in talk.work(101, CallFunction)] == [
        ("c1", "find")
    ]
    answer_call(talk, 200, "c1")
    assert after_ms(final_response(talk, 900), "function_call_done") == 100


@pytest.mark.parametrize(
    ("expected", "wrong", "detail"),
    [
        (
            None,
            "the service called hang_up, which the script does not declare",
            "the service called hang_up, which the script does not declare",
        ),
        ({"function_c1": 1, "pay": 1}, "", "the script expects a call of pay, and none came"),
        ({"function_c1": 2}, "", "the script expects a call of function_c1, and none came"),
        ({"function_c1": 1}, "", ""),
    ],
)
def test_a_wrong_or_missing_function_call_fails_its_turn(
    expected: dict[str, int] | None, wrong: str, detail: str
) -> None:
    talk = Talk()
    talk.ask(0, functions=True, expected_calls=expected)
    called(talk)
    answer_call(talk, 200, "c1", wrong=wrong)
    turn = final_response(talk, 900)

    assert (turn.outcome, turn.detail) == ("wrong_function_call" if detail else "ok", detail)


def test_the_response_after_a_function_call_has_the_whole_timeout_again() -> None:
    talk = Talk(first_delta=30, next_delta=10)
    talk.ask(0, functions=True)
    called(talk)
    talk.timeline.apply(inputs.FunctionOutputSent("c1", at(50_000)))
    talk.send(50_000, "response.create")

    assert talk.deadline()[:2] == (at(80_000), "timeout:first_delta")


# Answers in several items.


def preamble(talk: Talk, phases: tuple[str | None, str | None]) -> TurnObservation:
    """Return a turn whose reply has two items: 100 ms of sound at 100 ms, and 100 ms of sound at
    2,000 ms.
    """
    talk.ask(0, jitter_buffer_ns=50 * MS)
    talk.hear(90, created("r1"))
    for at_ms, item_id, phase in ((100, "i1", phases[0]), (2_000, "i2", phases[1])):
        talk.hear(at_ms - 1, item("added", "r1", item_id, **({"phase": phase} if phase else {})))
        talk.hear(at_ms, audio("r1", item_id))
        talk.hear(at_ms + 1, item("done", "r1", item_id))
    talk.hear(2_100, done("r1"))
    return talk.only()


@pytest.mark.parametrize(
    ("phases", "answers_ms", "has_preamble"),
    [
        (("commentary", "final_answer"), 2_000, True),
        ((None, None), 2_000, True),
        (("final_answer", "final_answer"), 100, False),
        (("commentary", "commentary"), None, True),
    ],
)
def test_the_answer_is_the_final_answer_item_or_else_the_last_item(
    phases: tuple[str | None, str | None], answers_ms: float | None, has_preamble: bool
) -> None:
    turn = preamble(Talk(), phases)

    assert after_ms(turn, "first_audio") == 100
    assert after_ms(turn, "answer_audio") == answers_ms
    assert turn.preamble is has_preamble
    assert turn.dead_air_ns == (2_050 - 250) * MS


def test_stalls_gaps_and_audio_speed_are_not_measured_between_items() -> None:
    turn = preamble(Talk(), ("commentary", "final_answer"))

    assert (turn.stall_duration_ns, turn.stall_count, turn.gaps_ns, turn.audio_speed) == (
        0,
        0,
        (),
        None,
    )
    assert after_ms(turn, "answer_audible") == 2_050


def test_too_many_function_calls_in_one_response_end_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench.observe.tool_calls, "MAX_CALLS", 3)
    talk = Talk(wanted=1)
    talk.ask(0, functions=True)
    talk.hear(1, created("r1"), *(function_call_done("r1", f"c{number}") for number in range(3)))
    assert not talk.timeline.is_over
    talk.hear(2, function_call_done("r1", "c3"))
    assert (talk.only().outcome, talk.timeline.session().outcome) == (
        "limit_exceeded:calls",
        "limit_exceeded:calls",
    )


STATIC = {"type": "static_interim_response", "triggers": ["tool"], "texts": ["One moment."]}


def updated(**settings: Any) -> bytes:
    return message("session.updated", session={"id": "sess_1", "model": "gpt-4.1"} | settings)


def test_the_answer_is_requested_when_the_filler_is_over() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    talk.timeline.apply(inputs.FunctionOutputSent("c1", at(500)))
    assert not talk.work(501, RequestContinuation)
    talk.hear(700, done("rf", status="cancelled", reason="turn_detected"))
    assert talk.work(700, RequestContinuation)
    talk.send(701, "response.create")

    assert final_response(talk, 900).outcome == "ok"


def test_a_filler_that_does_not_end_times_out_after_next_delta() -> None:
    talk = Talk(next_delta=2)
    talk.ask(0, functions=True)
    called(talk)
    talk.hear(400, created("rf"), audio("rf", "item_f"))
    assert talk.timeline.next_deadline_ns == at(300_000), "the function runs"
    talk.timeline.apply(inputs.FunctionOutputSent("c1", at(5_000)))
    assert talk.timeline.next_deadline_ns == at(7_000)
    talk.hear(6_000, audio("rf", "item_f"))
    talk.timeline.expire(at(8_000))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:next_delta", 8_000)


def test_the_tokens_of_a_filler_are_not_the_length_of_the_conversation() -> None:
    talk = talk_with_filler()
    answer_call(talk, 2_000, "c1")
    read = {"input_tokens": 20, "output_tokens": 7, "output_token_details": {"audio_tokens": 7}}
    talk.hear(2_500, created("r2"), audio("r2", "item_r2"), done("r2", usage=read))
    first = talk.only()
    talk.ask(3_000, 2)
    talk.hear(
        3_100, created("r3"), audio("r3", "item_r3"), done("r3", usage=read | {"input_tokens": 19})
    )
    second = talk.only()

    assert (first.turn_type, second.turn_type) == ("function_calls+filler", "after_truncation")


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("described", "on"),
    [({"interim_response": STATIC}, True), ({"interim_response": None}, False), ({}, False)],
)
def test_every_turn_of_a_session_with_fillers_has_the_filler_turn_type(
    described: dict[str, Any], sent: bool, on: bool
) -> None:
    talk = Talk(PREVIEW)
    talk.hear(1, updated(**described))
    talk.ask(10, fillers=sent, wants_audio=False)
    talk.hear(
        100,
        created("r1"),
        message("response.text.delta", response_id="r1", item_id="i", delta="No."),
        done("r1"),
    )

    assert talk.only().turn_type == ("filler" if on or sent else "regular")


def test_a_session_may_enable_fillers_during_a_turn() -> None:
    talk = Talk()
    for number in (1, 2, 3):
        talk.ask(number * 1_000, number)
        talk.hear(number * 1_000 + 100, created(f"r{number}"))
        if number == 2:
            talk.hear(2_200, updated(interim_response=STATIC))
        talk.hear(number * 1_000 + 300, audio(f"r{number}", f"item_{number}"), done(f"r{number}"))

    assert [turn.turn_type for turn in talk.take(9_000)] == ["regular", "filler", "filler"]
