"""Turns whose tasks the service delegates, to its client or to a backend: the answer is not the
filler.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import CallFunction, RequestContinuation, SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.services.gpt_live.dialect import (
    APPEND,
    BACKEND_ITEM,
    BACKEND_REQUEST,
    COMMENTARY,
    GPT_LIVE,
)
from bench.wire.audio import PCM16
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import decoder_of
from bench.wire.events import FunctionCall
from tests.helpers import AT_NS, MS, at, build_turn, due_actions

NOT_DONE = "the backend did not complete the delegated task"
NOT_SPOKEN = "nothing was said after the result of the delegated task"
NO_FUNCTIONS = (
    "the service delegated a task to the client, and the script has no functions (`tools`) that"
    " could do it"
)

DELTA_MS, SPOKEN_MS = 100, 200
"""The duration of a delta, and the instant at which the caller's speech ends."""
LOUD, SILENT = (
    base64.b64encode(
        PCM16.encode(np.resize(np.array([level, -level], np.int16), 24 * DELTA_MS))
    ).decode()
    for level in (3_000, 0)
)


class Call:
    """A session whose caller has just asked. Audio arrives in deltas of 100 ms, in real time."""

    def __init__(self, *, functions: bool = True, answer_min_ms: int = 0) -> None:
        self.timeline = Timeline(
            SessionStart(AT_NS, 2, Timeouts(), service_responds=True), GPT_LIVE
        )
        self.decode = decoder_of(GPT_LIVE)
        self.now_ms = 5
        self.receive("session.started", session={"id": "live_1"})
        plan = build_turn(
            vad=True,
            service_responds=True,
            functions=functions,
            answer_min_ns=answer_min_ms * MS,
        )
        self.timeline.apply(inputs.TurnStarted(at(10), plan))
        instants = {"speech_start": 100 * MS, "speech_end": 0}
        self.now_ms = SPOKEN_MS
        self.sent(APPEND, instants=instants)
        self.turns: list[TurnObservation] = []

    def receive(self, name: str, **fields: Any) -> None:
        data = msgspec.json.encode({"type": name} | fields)
        message = ReceivedMessage(data, Arrival(at(self.now_ms)), len(data))
        self.timeline.apply(inputs.Received(self.decode(data), message))

    def backend(self, name: str, **fields: Any) -> None:
        self.receive("response.event", delegation_id="d1", event={"type": name} | fields)

    def delegate(self, target: str, task: str = "d1") -> None:
        self.receive(
            "session.delegation.created",
            delegation={"id": task, "target": target, "type": "delegation"},
        )

    def hear(self, pattern: str) -> None:
        """Receive a delta for each character: `#` is sound, `.` is silence."""
        for character in pattern:
            self.now_ms += DELTA_MS
            self.receive("session.output_audio.delta", delta=LOUD if character == "#" else SILENT)

    def sent(self, name: str, **more: Any) -> None:
        self.timeline.apply(inputs.Sent(name, at(self.now_ms), 100, **more))

    def return_result(self, task: str = "d1") -> None:
        self.sent(COMMENTARY)
        self.timeline.apply(inputs.FunctionOutputSent(task, at(self.now_ms), ""))

    def accept_result(self) -> None:
        self.receive("session.commentary.appended", client_event_id="turn-1-output-1")

    def return_output(self, call: str = "c1") -> None:
        self.sent(BACKEND_ITEM)
        self.timeline.apply(inputs.FunctionOutputSent(call, at(self.now_ms), ""))

    def respond(
        self, response_id: str, *items: dict[str, Any], status: str = "completed", **more: Any
    ) -> None:
        """Receive a complete response of the backend."""
        self.backend("response.created", response={"id": response_id})
        for item in items:
            self.backend("response.output_item.added", item=item)
            self.backend("response.output_item.done", item=item)
        self.backend(f"response.{status}", response={"id": response_id} | more)

    def actions(self) -> list[Any]:
        found = due_actions(self.timeline, at(self.now_ms))
        self.turns += [action.turn for action in found if isinstance(action, inputs.DeliverTurn)]
        return [
            action for action in found if isinstance(action, CallFunction | RequestContinuation)
        ]

    @property
    def turn(self) -> TurnObservation:
        """The turn, which has ended."""
        self.actions()
        self.turns += self.timeline.pop_turns(at(self.now_ms + 60_000))
        (turn,) = self.turns
        return turn


def ms(turn: TurnObservation, instant: str) -> float:
    return (turn.instants[instant] - AT_NS) / MS


CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'}
REASONING, MESSAGE = {"type": "reasoning", "id": "r1"}, {"type": "message", "id": "m1"}
SILENCE = "." * 30


def test_the_answer_to_a_task_for_the_client_follows_the_accepted_result() -> None:
    call = Call()
    call.delegate("client")
    assert call.actions() == [CallFunction(FunctionCall("d1", is_task=True))]
    call.hear("..##......")  # a filler, and then the caller waits
    call.return_result()
    call.hear("..")
    call.accept_result()
    call.hear("...####" + SILENCE)

    turn = call.turn
    assert (turn.outcome, turn.turn_type, turn.delegations, turn.function_calls) == (
        "ok",
        "function_calls",
        1,
        1,
    )
    assert ms(turn, "function_call_added") == ms(turn, "function_call_done") == SPOKEN_MS
    assert ms(turn, "first_audible") == SPOKEN_MS + 300
    assert ms(turn, "answer_request_sent") == SPOKEN_MS + 1_000
    assert ms(turn, "function_audible") == ms(turn, "answer_audible") == SPOKEN_MS + 1_600
    assert turn.function_execution_ns == 1_000 * MS
    assert (turn.preamble, turn.dead_air_ns) == (True, 1_100 * MS)
    metrics = turn.metrics_ns()
    assert metrics["function_voice_to_voice"] == 1_600 * MS
    assert metrics["function_voice_to_voice_minus_execution"] == 600 * MS
    assert metrics["function_call_to_answer"] == 1_600 * MS


def test_a_filler_that_outlasts_the_silence_of_a_reply_does_not_end_the_turn() -> None:
    call = Call()
    call.delegate("client")
    call.hear("##" + SILENCE + "##" + SILENCE)
    assert not call.turns
    call.return_result()
    call.accept_result()
    call.hear(".##" + SILENCE)

    assert call.turn.outcome == "ok"
    assert ms(call.turns[0], "function_audible") == SPOKEN_MS + 100 * 66


def test_a_filler_that_is_still_spoken_when_the_result_comes_is_not_the_answer() -> None:
    call = Call()
    call.delegate("client")
    call.hear(".##")
    call.return_result()
    call.hear("##")
    call.accept_result()
    call.hear("##....###" + SILENCE)

    assert ms(call.turn, "function_audible") == SPOKEN_MS + 100 * 12


@pytest.mark.parametrize(
    ("answer_min_ms", "sounds", "audible_ms"),
    [
        (0, "#." + "#" * 30 + "...####", 600),  # the first sound is longer than any filler
        (800, "#.######...####", 600),  # the script states what is longer than a filler
        (0, "#.######...####", 1_500),  # the first sound may be a filler
        (800, "#...####...#########", 1_500),  # two fillers
    ],
)
def test_a_sound_that_is_too_long_for_a_filler_contains_the_answer(
    answer_min_ms: int, sounds: str, audible_ms: int
) -> None:
    call = Call(answer_min_ms=answer_min_ms)
    call.delegate("client")
    call.hear(".##")
    call.return_result()
    call.accept_result()
    call.hear(sounds + SILENCE)

    assert (call.turn.outcome, ms(call.turns[0], "function_audible")) == (
        "ok",
        SPOKEN_MS + audible_ms,
    )


def test_a_short_answer_without_a_pause_is_accepted_if_no_other_sound_follows() -> None:
    call = Call()
    call.delegate("client")
    call.hear(".##")
    call.return_result()
    call.accept_result()
    call.hear("##.###" + SILENCE)
    assert not call.turns
    call.now_ms += 120_000

    assert (call.turn.outcome, ms(call.turns[0], "function_audible")) == ("ok", SPOKEN_MS + 700)


def test_the_start_of_an_answer_that_follows_a_filler_without_a_gap_is_unknown() -> None:
    call = Call()
    call.delegate("client")
    call.hear(".##")
    call.return_result()
    call.accept_result()
    call.hear("#" * 25 + SILENCE)

    turn = call.turn
    assert (turn.outcome, turn.turn_type) == ("ok", "function_calls")
    assert "function_audible" not in turn.instants


def test_a_turn_whose_delegated_task_is_never_answered_names_it() -> None:
    call = Call()
    call.delegate("client")
    call.hear(".##.")
    call.return_result()
    call.accept_result()
    call.hear(SILENCE)
    call.now_ms += 120_000

    turn = call.turn
    assert turn.outcome == "timeout:first_delta"
    assert turn.detail.startswith(NOT_SPOKEN)
    assert "function_audible" not in turn.instants


def test_a_task_for_the_client_without_functions_ends_the_session() -> None:
    call = Call(functions=False)
    call.delegate("client")

    assert (call.turn.outcome, call.turns[0].detail) == ("failed:delegation", NO_FUNCTIONS)
    assert call.timeline.session().outcome == "failed:delegation"


def test_a_task_for_the_client_outside_of_a_turn_ends_the_session() -> None:
    call = Call()
    call.hear("..##" + SILENCE)
    assert call.turn.outcome == "ok"
    call.delegate("client")

    assert call.timeline.session().outcome == "failed:delegation"


def test_an_answer_may_begin_while_its_backend_still_writes() -> None:
    call = Call()
    call.delegate("responses")
    call.backend("response.created", response={"id": "resp_1"})
    call.hear("..")
    call.backend("response.output_item.added", item=MESSAGE)
    call.hear("..##" + SILENCE)
    assert not call.turns
    call.backend("response.completed", response={"id": "resp_1"})

    assert call.turn.outcome == "ok"
    assert ms(call.turns[0], "function_audible") == SPOKEN_MS + 500


def test_a_backend_without_functions_needs_no_request() -> None:
    call = Call(functions=False)
    call.delegate("responses")
    call.respond("resp_1", REASONING, MESSAGE)
    assert call.actions() == []
    call.hear("..##" + SILENCE)

    turn = call.turn
    assert (turn.outcome, turn.turn_type, turn.delegations, turn.function_calls) == (
        "ok",
        "function_calls",
        1,
        None,
    )
    assert (turn.function_execution_ns, ms(turn, "function_audible")) == (0, SPOKEN_MS + 300)


def test_no_continuation_is_requested_while_a_call_of_another_task_is_open() -> None:
    """Service: `function_call_outputs_required`, for the whole session (livekit/agents#7266)."""
    call = Call()
    call.delegate("responses")
    call.respond("resp_1", CALL)
    call.delegate("responses", "d2")
    call.respond("resp_2", CALL | {"call_id": "c2"})
    assert len(call.actions()) == 2
    call.return_output("c2")
    assert call.actions() == []
    call.return_output("c1")
    assert call.actions() == [RequestContinuation()]
    call.sent(BACKEND_REQUEST)
    call.respond("resp_3", MESSAGE)
    call.hear("..##" + SILENCE)

    assert (call.turn.outcome, call.turns[0].delegations) == ("ok", 2)


@pytest.mark.parametrize(
    ("status", "more", "outcome", "words"),
    [
        (
            "failed",
            {"error": {"code": "x", "message": "Oops."}},
            "failed:backend_failed",
            "x: Oops.",
        ),
        (
            "incomplete",
            {"incomplete_details": {"reason": "max_tokens"}},
            "failed:backend_incomplete",
            "max_tokens",
        ),
    ],
)
def test_a_backend_that_fails_fails_its_turn(
    status: str, more: dict[str, Any], outcome: str, words: str
) -> None:
    call = Call()
    call.delegate("responses")
    call.hear(".##")
    call.respond("resp_1", status=status, usage={"input_tokens": 7, "output_tokens": 1}, **more)

    turn = call.turn
    assert turn.outcome == outcome
    assert turn.detail.startswith(f"{NOT_DONE}: {words}")
    assert turn.usage is not None
    assert turn.usage.text_in == 7


def test_repeated_and_reordered_events_of_a_backend_change_nothing() -> None:
    call = Call()
    call.backend("response.created", response={"id": "resp_1"})
    delegation = {"id": "d1", "target": "responses", "type": "delegation", "response_id": "resp_1"}
    call.receive("session.delegation.created", delegation=delegation)
    for _ in range(2):
        call.backend(
            "response.completed",
            response={"id": "resp_1", "usage": {"input_tokens": 5, "output_tokens": 5}},
        )
    call.hear("..##" + SILENCE)

    turn = call.turn
    assert (turn.outcome, turn.delegations) == ("ok", 1)
    assert turn.usage is not None
    assert turn.usage.text_in == 5


@given(
    st.lists(
        st.sampled_from(
            [
                "client",
                "responses",
                "created",
                "call",
                "message",
                "completed",
                "result",
                "accepted",
                "output",
                "request",
                "#",
                ".",
                "......................",
            ]
        ),
        max_size=30,
    )
)
def test_any_order_of_events_gives_at_most_one_answer_after_the_speech(steps: list[str]) -> None:
    call = Call()
    actions = {
        "client": lambda: call.delegate("client"),
        "responses": lambda: call.delegate("responses"),
        "created": lambda: call.backend("response.created", response={"id": "resp_1"}),
        "call": lambda: call.backend("response.output_item.done", item=CALL),
        "message": lambda: call.backend("response.output_item.added", item=MESSAGE),
        "completed": lambda: call.backend("response.completed", response={"id": "resp_1"}),
        "result": call.return_result,
        "accepted": call.accept_result,
        "output": call.return_output,
        "request": lambda: call.sent(BACKEND_REQUEST),
    }
    for step in steps:
        actions.get(step, lambda step=step: call.hear(step))()  # type: ignore[misc]
        call.actions()
    call.hear(SILENCE)
    call.now_ms += 1_000_000

    turn = call.turn
    answer = turn.instants.get("function_audible")
    assert answer is None or answer >= max(
        turn.instants["speech_end"], turn.instants.get("function_call_added", 0)
    )
    if turn.outcome == "ok":
        assert answer is None or turn.turn_type == "function_calls"
