"""Turns in which the service calls functions, and answers in several items."""

from __future__ import annotations

from typing import Any

import pytest

import bench.observe.turn_parts
from bench.observe import inputs
from bench.observe.inputs import CallFunction, GoOn
from bench.observe.observation import TurnObservation
from bench.observe.pending_turns import NOT_OVER
from tests.helpers import LOUD, MS, Talk, after_ms, at, created, done, message


def item(kind: str, response_id: str, item_id: str, **fields: Any) -> bytes:
    """An item of a response begins, or is whole (`kind`: added, done)."""
    described = {"id": item_id, "type": "message"} | fields
    return message(f"response.output_item.{kind}", response_id=response_id, item=described)


def call_added(response_id: str, call_id: str, name: str) -> bytes:
    return item("added", response_id, f"item_{call_id}", type="function_call", call_id=call_id, name=name)


def function_call_done(response_id: str, call_id: str, arguments: str = "{}") -> bytes:
    fields = {"response_id": response_id, "item_id": f"item_{call_id}", "call_id": call_id, "arguments": arguments}
    return message("response.function_call_arguments.done", **fields)


def audio(response_id: str, item_id: str, payload: str = LOUD) -> bytes:
    fields = {"response_id": response_id, "item_id": item_id, "delta": payload}
    return message("response.output_audio.delta", **fields)


def called(talk: Talk, at_ms: float = 100, response_id: str = "r1", *call_ids: str) -> None:
    """A response calls functions, one 10 ms after the other, and is done 10 ms after the last."""
    talk.hear(at_ms, created(response_id))
    for number, call_id in enumerate(call_ids or ("c1",), 1):
        talk.hear(at_ms + 10 * number, call_added(response_id, call_id, f"function_{call_id}"))
        talk.hear(at_ms + 10 * number + 5, function_call_done(response_id, call_id))
    talk.hear(at_ms + 10 * len(call_ids or ("c1",)) + 15, done(response_id))


def answer_call(talk: Talk, at_ms: float, *call_ids: str, wrong: str = "") -> None:
    for call_id in call_ids:
        talk.timeline.tell(inputs.CallAnswered(call_id, at(at_ms), wrong))
    talk.send(at_ms + 1, "response.create")


def goes_on(talk: Talk, at_ms: float, response_id: str = "r2") -> TurnObservation:
    talk.hear(at_ms, created(response_id), audio(response_id, f"item_{response_id}"), done(response_id))
    return talk.only()


def test_a_turn_with_a_call_ends_with_the_response_that_follows_what_the_function_returned() -> None:
    talk = Talk()
    talk.ask(0, functions=True, jitter_buffer_ns=50 * MS)
    called(talk)
    assert not talk.timeline.turns.all_over
    assert [work.call.name for work in talk.work(116, CallFunction)] == ["function_c1"]
    assert not talk.work(117, CallFunction), "each is made once"
    assert talk.deadline() == (at(300_000), "timeout:turn", f"{NOT_OVER} within the limit turn of 300 s"), (
        "it is ours to go on"
    )
    answer_call(talk, 400, "c1")
    turn = goes_on(talk, 900)

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
    metrics = {name: ns / MS for name, ns in turn.metrics_ns().items() if name.startswith("function")}
    assert metrics == {
        "function_call_added": 110,
        "function_call_done": 115,
        "function_execution": 285,
        "function_answer_ttfa": 499,
    }
    assert turn.dead_air_ns == 950 * MS


def test_of_calls_at_once_the_last_counts_and_our_own_time_is_from_there_to_the_last_output() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk, 100, "r1", "c1", "c2")
    talk.timeline.tell(inputs.CallAnswered("c1", at(118)))
    assert not talk.work(118, GoOn)
    talk.timeline.tell(inputs.CallAnswered("c2", at(300)))
    assert talk.work(300, GoOn)
    talk.send(301, "response.create")
    turn = goes_on(talk, 900)

    assert (after_ms(turn, "function_call_added"), after_ms(turn, "function_call_done")) == (110, 125)
    assert (turn.function_calls, turn.function_execution_ns) == (2, 175 * MS)


def test_calls_may_come_in_several_rounds_of_which_the_first_has_the_instants() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    called(talk, 100, "r1", "c1")
    answer_call(talk, 200, "c1")
    called(talk, 300, "r2", "c2")
    answer_call(talk, 500, "c2")
    turn = goes_on(talk, 900, "r3")

    assert (turn.outcome, turn.function_calls, turn.function_execution_ns) == ("ok", 2, (85 + 185) * MS)
    assert (after_ms(turn, "function_call_done"), after_ms(turn, "answer_request_sent")) == (115, 501)
    assert (turn.response_id, turn.answer_response_id) == ("r1", "r3")


def test_calls_are_known_from_the_end_of_their_response_where_nothing_told_of_them_before() -> None:
    talk = Talk()
    talk.ask(0, functions=True)
    output = [{"type": "function_call", "id": "i", "call_id": "c1", "name": "find", "arguments": "{}"}]
    talk.hear(
        100, created("r1"), message("response.done", response={"id": "r1", "status": "completed", "output": output})
    )

    assert [(work.call.call_id, work.call.name) for work in talk.work(101, CallFunction)] == [("c1", "find")]
    answer_call(talk, 200, "c1")
    assert after_ms(goes_on(talk, 900), "function_call_done") == 100


@pytest.mark.parametrize(
    ("expected", "wrong", "detail"),
    [
        (
            None,
            "the service called hang_up, which nobody declared",
            "the service called hang_up, which nobody declared",
        ),
        ({"function_c1": 1, "pay": 1}, "", "the script expects a call of pay, and none came"),
        ({"function_c1": 2}, "", "the script expects a call of function_c1, and none came"),
        ({"function_c1": 1}, "", ""),
    ],
)
def test_a_wrong_or_a_missing_call_is_the_outcome_of_its_turn(
    expected: dict[str, int] | None, wrong: str, detail: str
) -> None:
    talk = Talk()
    talk.ask(0, functions=True, expected_calls=expected)
    called(talk)
    answer_call(talk, 200, "c1", wrong=wrong)
    turn = goes_on(talk, 900)

    assert (turn.outcome, turn.detail) == ("wrong_function_call" if detail else "ok", detail)


def test_a_session_without_functions_counts_no_calls() -> None:
    talk = Talk()
    talk.ask(0)

    assert goes_on(talk, 100, "r1").function_calls is None


def test_the_service_has_its_limit_again_for_the_response_after_a_call() -> None:
    talk = Talk(first_delta=30, next_delta=10)
    talk.ask(0, functions=True)
    called(talk)
    talk.timeline.tell(inputs.CallAnswered("c1", at(50_000)))
    talk.send(50_000, "response.create")

    assert talk.deadline()[:2] == (at(80_000), "timeout:first_delta")


# Answers in several items.


def preamble(talk: Talk, phases: tuple[str | None, str | None]) -> TurnObservation:
    """A response says something at 100 ms, and something else at 2,000 ms; 100 ms of sound each."""
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
def test_the_answer_is_told_by_its_phase_or_is_the_last_item(
    phases: tuple[str | None, str | None], answers_ms: float | None, has_preamble: bool
) -> None:
    turn = preamble(Talk(), phases)

    assert after_ms(turn, "first_audio") == 100
    assert after_ms(turn, "answer_audio") == answers_ms
    assert turn.preamble is has_preamble
    assert turn.dead_air_ns == (2_050 - 250) * MS


def test_between_two_items_nobody_owes_any_audio() -> None:
    turn = preamble(Talk(), ("commentary", "final_answer"))

    assert (turn.stall_duration_ns, turn.stall_count, turn.gaps_ns, turn.audio_speed) == (0, 0, (), None)
    assert after_ms(turn, "answer_audible") == 2_050


def test_an_item_that_comes_while_another_is_played_is_played_behind_it() -> None:
    talk = Talk()
    talk.ask(0, jitter_buffer_ns=50 * MS)
    talk.hear(100, created("r1"), audio("r1", "i1"), audio("r1", "i1"), audio("r1", "i2"), done("r1"))
    turn = talk.only()

    assert (after_ms(turn, "answer_audio"), after_ms(turn, "answer_audible")) == (100, 350)
    assert turn.dead_air_ns == 150 * MS


def test_a_model_may_think_between_two_items() -> None:
    talk = Talk(first_delta=30, next_delta=10)
    talk.ask(0)
    talk.hear(100, created("r1"), item("added", "r1", "i1"), audio("r1", "i1"))
    assert talk.deadline()[:2] == (at(10_100), "timeout:next_delta")

    talk.hear(200, item("done", "r1", "i1"))
    assert talk.deadline()[:2] == (at(30_200), "timeout:first_delta")
    talk.hear(20_000, item("added", "r1", "i2"))
    talk.hear(21_000, audio("r1", "i2"))
    assert talk.deadline()[:2] == (at(31_000), "timeout:next_delta")


def test_calls_without_end_within_one_response_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.observe.turn_parts, "MOST_CALLS", 3)
    talk = Talk(wanted=1)
    talk.ask(0, functions=True)
    talk.hear(1, created("r1"), *(function_call_done("r1", f"c{number}") for number in range(3)))
    assert not talk.timeline.over
    talk.hear(2, function_call_done("r1", "c3"))
    assert (talk.only().outcome, talk.timeline.session().outcome) == ("limit_exceeded:calls", "limit_exceeded:calls")
