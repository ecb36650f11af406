"""Sessions with the simulated GPT-Live, without a network: its answers, its delegations, and its
refusals.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.full_duplex import AUDIO_DELTA
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.gpt_live.events import DELEGATED
from rtbench_simulator.profile import quiet_profile
from rtbench_simulator.recorded_replies import load_replies
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.gpt_live.backend import MAX_BUFFER_BYTES, MAX_BUFFER_ITEMS
from rtbench_simulator.services.gpt_live.behaviour import (
    MAX_CONTENT_TOKENS,
    SILENCE_MS,
    GptLiveBehaviour,
)
from tests.helpers import seated
from tests.memory_transport import LiveTransport, PeerAnswer
from tests.simulator.builders import AT_NS, JSON, MS, constant, session_parts, silence, sound
from tests.simulator.live_call import (
    ANSWER_MS,
    BACKEND,
    CLIENT_MODE,
    RESPONSES_MODE,
    SPEECH_MS,
    LiveCall,
    live_profile,
)

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav"
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
steps: [audio: {AUDIO}, audio: {AUDIO}]
"""
FILLER_MS = 800
replies = cache(load_replies)


# Without delegation


class Service:
    """A `tests.memory_transport.LivePeer` with one simulated session."""

    def __init__(self) -> None:
        self.behaviour = GptLiveBehaviour(session_parts(quiet_profile(), replies()))
        self.said: list[OutgoingEvent] = []

    def hear(self, message: bytes, at_ns: int) -> None:
        self.behaviour.receive_text(message, at_ns)

    def next_due_ns(self) -> int | None:
        return self.behaviour.next_due_ns()

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        for sent in self.behaviour.due(now_ns):
            self.said.append(sent)
            yield sent.due_ns, sent.body


def play_call(
    folder: Path,
) -> tuple[list[TurnObservation], SessionObservation, list[OutgoingEvent]]:
    path, service = folder / "call.yaml", Service()
    path.write_text(SCRIPT)
    session, timeline, listening = seated(
        CompiledScript(load_script(path), GPT_LIVE).prepare_session(0, 0), LiveTransport(service)
    )
    session.run()
    return listening.turns, timeline.session(), service.said


def test_gpt_live_answers_turns_without_delegation(tmp_path: Path) -> None:
    turns, session, sent_events = play_call(tmp_path)

    assert ([turn.outcome for turn in turns], session.outcome) == (["ok", "ok"], "ok")
    assert all(sent.type != DELEGATED for sent in sent_events)


# Delegation to the client


def commentary(
    call: LiveCall, delegation_id: str | None, content: str = "It is on its way."
) -> None:
    call.send("session.commentary.append", content=content, delegation_id=delegation_id)


def test_a_task_of_the_client_is_answered_one_delay_after_its_accepted_result() -> None:
    call = LiveCall()
    call.speak()
    call.silent_ms(2000)
    assert call.kinds() == ["filler"]
    commentary(call, call.delegation_id)
    accepted_ms = SPEECH_MS + 1000 + 2000
    call.silent_ms(3000)

    created = call.one(DELEGATED)
    assert created["delegation"] == {
        "id": call.delegation_id,
        "target": "client",
        "type": "delegation",
    }
    assert call.one("session.commentary.appended")["start_ms"] == accepted_ms
    (filler, _), (answer, kind) = call.speech()
    assert (filler * 100, answer * 100, kind) == (
        created["offset_ms"],
        accepted_ms + ANSWER_MS,
        "answer",
    )


def test_refused_context_causes_one_error_and_no_speech() -> None:
    call = LiveCall(live_profile(filler=0))
    call.speak()
    commentary(call, "del_other")
    commentary(call, call.delegation_id, "x" * 4 * MAX_CONTENT_TOKENS + "x")
    call.behaviour.receive({"type": "session.commentary.append", "content": "Here."}, call.now_ns)
    call.silent_ms(2000)

    assert [code for code, _ in call.errors] == [
        "invalid_value",
        "string_above_max_length",
        "missing_required_parameter",
    ]
    assert (call.speech(), call.all_of("session.commentary.appended")) == ([], [])


def test_commentary_for_an_answered_delegation_is_refused() -> None:
    call = LiveCall()
    call.speak()
    commentary(call, call.delegation_id)
    call.silent_ms(2000)
    commentary(call, call.delegation_id)
    call.silent_ms(4000)

    assert call.kinds() == ["filler", "answer"]
    assert call.errors == [("invalid_value", "delegation_id")]


def test_a_client_that_does_the_tasks_cannot_use_the_backend() -> None:
    call = LiveCall(delegation=CLIENT_MODE)
    call.send(
        "response.item.create",
        item={"type": "function_call_output", "call_id": "call_1", "output": "x"},
    )
    call.send("response.create")
    call.pass_ms(1000)

    assert call.errors == [("invalid_value", "type")] * 2


def test_an_acknowledgement_waits_and_is_cancelled_by_context() -> None:
    waiting, cancelled = (
        LiveCall(delegation=CLIENT_MODE | {"acknowledgement_delay_ms": 700}) for _ in range(2)
    )
    for call in (waiting, cancelled):
        call.speak()
    cancelled.send("session.thinking.append", content="Soon.", delegation_id=None)
    for call in (waiting, cancelled):
        call.silent_ms(2000)

    assert waiting.speech() == [((waiting.one(DELEGATED)["offset_ms"] + 700) // 100, "filler")]
    assert cancelled.speech() == []


# Delegation to the backend


def responses_call(**settings: Any) -> LiveCall:
    """Return a call in which the caller has delegated one task to the backend, after its first
    response.
    """
    call = LiveCall(live_profile(**settings), delegation=RESPONSES_MODE)
    call.speak()
    call.silent_ms(1000)
    return call


def ends(call: LiveCall) -> list[dict[str, Any]]:
    """Return the final snapshots of the backend's responses."""
    finals = ("response.completed", "response.failed", "response.incomplete")
    return [event["response"] for event in call.nested() if event["type"] in finals]


def test_a_response_is_refused_until_all_calls_have_outputs() -> None:
    call = responses_call(functions={"parallel": (2, 2)})
    first, second = call.calls()
    call.answer_calls(first)
    call.send("response.create")
    call.answer_calls(first)
    call.pass_ms(200)
    assert call.errors == [
        ("function_call_outputs_required", None),
        ("invalid_tool_call_id", "item.call_id"),
    ]

    call.answer_calls(second)
    call.send("response.create")
    call.silent_ms(3000)
    assert (len(call.errors), call.kinds()) == (2, ["filler", "answer"])


def test_calls_can_have_wrong_names_and_arguments() -> None:
    call = responses_call(functions={"wrong_name": 1, "wrong_arguments": 1})

    (made,) = call.calls()
    assert (made["name"], made["arguments"]) == ("undeclared_find_parcel", '{"undeclared":true}')


def test_non_null_ids_are_refused_with_responses_delegation() -> None:
    call = responses_call()
    for name in ("commentary", "thinking", "instructions"):
        call.send(f"session.{name}.append", content="Here.", delegation_id=call.delegation_id)
        call.send(f"session.{name}.append", content="Here.", delegation_id=None)
    call.silent_ms(2000)

    assert call.errors == [("invalid_value", "delegation_id")] * 3
    assert call.kinds() == ["filler", "greeting"]


@pytest.mark.parametrize("after_text", [True, False])
def test_a_failed_response_drops_its_calls_and_its_answer(after_text: bool) -> None:
    functions = {"share": 0.0 if after_text else 1.0, "parallel": (2, 2)}
    call = responses_call(functions=functions, backend_ms=constant(3000))
    while not (call.nested("output_text.delta") or call.calls()):
        call.pass_ms(10)
    (created,) = call.nested("response.created")
    error = {"type": "server_error", "code": "server_error", "message": "Injected."}
    call.behaviour.end_response(
        created["response"]["id"], call.now_ns, "failed", {"type": "failed", "error": error}
    )
    call.silent_ms(3000)
    assert (ends(call)[0]["status"], ends(call)[0]["error"]["code"]) == ("failed", "server_error")
    assert call.kinds() == ["filler"]

    call.answer_calls(*call.calls())
    call.send("response.create")
    call.silent_ms(1000)
    assert [code for code, _ in call.errors] == ["invalid_tool_call_id"] * len(call.calls())
    assert len(call.nested("response.created")) == 2


def test_an_incomplete_response_keeps_its_reason() -> None:
    call = responses_call(functions={"share": 0}, backend_ms=constant(3000))
    (created,) = call.nested("response.created")
    details = {"type": "incomplete", "reason": "content_filter"}
    call.behaviour.end_response(created["response"]["id"], call.now_ns, "incomplete", details)
    call.behaviour.end_response("resp_other", call.now_ns, "incomplete", details)
    call.silent_ms(100)

    assert ends(call)[0]["incomplete_details"] == {"reason": "content_filter"}


def test_a_refused_output_leaves_its_call_without_an_output() -> None:
    call = responses_call()
    (made,) = call.calls()
    large = {
        "type": "function_call_output",
        "call_id": made["call_id"],
        "output": "x" * MAX_BUFFER_BYTES,
    }
    call.send("response.item.create", item=large)
    call.send("response.create")
    call.answer_calls(made)
    for _ in range(MAX_BUFFER_ITEMS):
        call.send("response.item.create", item={"type": "message", "role": "user", "content": "x"})
    call.pass_ms(200)

    full, pending = "response_input_buffer_full", "function_call_outputs_required"
    assert [code for code, _ in call.errors] == [full, pending, full]


def test_a_response_after_the_answer_belongs_to_no_delegation() -> None:
    call = responses_call()
    for _ in range(2):
        call.answer_calls(*call.calls()[len(ends(call)) - 1 :])
        call.send("response.create")
        call.silent_ms(3000)
    completed = [sent for sent in call.sent if sent.nested == "response.completed"]

    assert [(sent.facts or {}).get("delegation") for sent in completed] == [
        call.delegation_id,
        call.delegation_id,
        None,
    ]
    details = {"type": "incomplete", "reason": "content_filter"}
    call.behaviour.end_response(str(completed[-1].response_id), call.now_ns, "incomplete", details)
    call.pass_ms(100)
    assert len(ends(call)) == 3  # a response that has ended does not end again


def test_the_calls_of_an_incomplete_response_need_outputs() -> None:
    call = responses_call(functions={"parallel": (2, 2)}, backend_ms=constant(3000))
    while not call.calls():
        call.pass_ms(10)
    (created,) = call.nested("response.created")
    details = {"type": "incomplete", "reason": "max_output_tokens"}
    call.behaviour.end_response(created["response"]["id"], call.now_ns, "incomplete", details)
    call.send("response.create")
    call.pass_ms(1000)

    assert (len(call.calls()), ends(call)[0]["status"]) == (1, "incomplete")
    assert [code for code, _ in call.errors] == ["function_call_outputs_required"]


# The caller


def test_a_greeting_is_said_after_the_caller_has_spoken() -> None:
    call = LiveCall(live_profile(delegates=0))
    commentary(call, None)
    call.pass_ms(50)
    call.speak(5000)

    assert sorted(call.kinds()) == ["answer", "greeting"]


def test_no_output_precedes_the_start_of_the_session() -> None:
    behaviour = GptLiveBehaviour(session_parts(quiet_profile(), replies()))
    start = {"type": "session.start", "session": {"model": "gpt-live-1"}}
    append = {"type": "session.input_audio.append", "audio": silence(300)}
    for event in (start, append, start):
        behaviour.receive(event, AT_NS)

    sent = [event.type for event in behaviour.due(AT_NS + 1000 * MS)]
    assert sent == ["session.started", *[AUDIO_DELTA] * 3, "error"]


def test_the_caller_stops_speech_but_not_the_backend() -> None:
    call = LiveCall(live_profile(functions={"share": 0}), delegation=RESPONSES_MODE)
    call.speak(600)
    call.hear(sound(3000))
    spoken = [sent for sent in call.sent if (sent.facts or {}).get("utterance")]
    assert {(sent.facts or {})["utterance"] for sent in spoken} == {"filler"}
    assert len(spoken) * 100 < FILLER_MS
    assert ends(call)[0]["status"] == "completed"

    call.silent_ms(6000)
    assert call.kinds() == ["filler", "answer", "filler", "answer"]
    first_answer = call.speech()[1][0] * 100
    # it waits until the caller's silence is detected
    assert first_answer + 100 == SPEECH_MS + 600 + 3000 + SILENCE_MS


def test_muted_input_is_silence() -> None:
    call = LiveCall(live_profile(delegates=0))
    call.send("session.input_audio.mute")
    call.speak()
    assert call.all_of("session.input_transcript.delta") == []
    call.send("session.input_audio.unmute")
    call.speak()

    assert len(call.all_of("session.input_transcript.delta")) == 1
    assert call.one("session.input_audio.muted")["client_event_id"] == "client_1"
    assert call.one("session.input_audio.unmuted")["client_event_id"]


# The session


def test_usage_is_reported_every_ten_seconds_and_in_whole_seconds_at_the_end() -> None:
    call = LiveCall(live_profile(delegates=0))
    call.speak(22_850 - SPEECH_MS)
    call.send("session.close")
    call.send("session.input_audio.append", audio="AAAA")
    call.pass_ms(10_000)

    updates = call.all_of("session.usage.updated")
    assert [update["usage"] for update in updates] == [{"seconds": 10}, {"seconds": 20}]
    ratios = [update["context_window"]["usage_ratio"] for update in updates]
    assert 0 < ratios[0] < ratios[1] < 1
    closed = call.events[-1]
    assert (closed["type"], closed["reason"], closed["usage"]) == (
        "session.closed",
        "close_requested",
        {"seconds": 22},
    )
    assert call.sent[-1].close == (1000, "")
    assert call.behaviour.next_due_ns() is None


def test_a_session_that_expires_ends_with_its_usage() -> None:
    call = LiveCall()
    call.silent_ms(1500)
    call.receive(
        call.behaviour.expiry(call.now_ns, "The session has reached its limit.", "expired")
    )

    assert (call.events[-1]["reason"], call.events[-1]["usage"]) == ("expired", {"seconds": 1})
    assert call.sent[-1].close == (1000, "")


def test_an_update_changes_settings_of_the_backend_only() -> None:
    call = LiveCall(delegation=RESPONSES_MODE)
    call.send(
        "session.update", session={"delegation": {"type": "responses", "responses": {"tools": []}}}
    )
    call.behaviour.receive(
        {"type": "session.update", "session": {"model": "gpt-live-1.1"}}, call.now_ns
    )
    call.behaviour.receive(
        {"type": "session.update", "session": {"delegation": {"type": "client"}}}, call.now_ns
    )
    call.speak()
    call.silent_ms(2000)

    updated = call.one("session.updated")["session"]["delegation"]["responses"]
    assert (updated["tools"], updated["instructions"]) == ([], BACKEND["instructions"])
    assert [code for code, _ in call.errors] == ["unknown_parameter", "invalid_value"]
    assert call.calls() == []


MESSAGE: dict[str, Any] = {"role": "user", "content": [{"type": "input_text", "text": "Hi."}]}


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"model": None}, "session.model"),
        ({"speed": 2}, "session.speed"),
        ({"audio": {"format": {"type": "audio/pcm", "rate": []}}}, "session.audio.format"),
        ({"audio": {"output": {"voice": {"name": "marin"}}}}, "session.audio.output.voice.id"),
        ({"delegation": {"type": "decisions"}}, "session.delegation.type"),
        (
            {"delegation": {"type": "responses", "responses": {}}},
            "session.delegation.responses.model",
        ),
        (
            {
                "delegation": {
                    "type": "responses",
                    "responses": BACKEND | {"tools": [{"type": "web_search"}]},
                }
            },
            "session.delegation.responses.tools[0].type",
        ),
        (
            {
                "delegation": {
                    "type": "responses",
                    "responses": BACKEND | {"tool_choice": {"type": "function", "name": "x"}},
                }
            },
            "tool_choice",
        ),
        ({"input": [MESSAGE] * 129}, "session.input"),
        ({"input": [MESSAGE | {"content": MESSAGE["content"] * 2}]}, "session.input[0].content"),
        ({"input": [MESSAGE | {"role": "system"}]}, "session.input[0].role"),
    ],
)
def test_a_session_with_wrong_settings_does_not_start(settings: dict[str, Any], param: str) -> None:
    behaviour = GptLiveBehaviour(session_parts(quiet_profile(), replies()))
    behaviour.receive(
        {"type": "session.start", "session": {"model": "gpt-live-1"} | settings}, AT_NS
    )
    behaviour.receive({"type": "session.close"}, AT_NS)

    errors = [sent.body for sent in behaviour.due(AT_NS + 1000 * MS)]
    assert len(errors) == 2
    assert f'"param":"{param}"'.encode() in errors[0]
    assert b"session_not_started" in errors[1]


def test_the_backend_reads_the_text_history() -> None:
    item = {"type": "message", "role": "user", "content": "x"}
    reads = []
    for history in (
        [],
        [MESSAGE, {"role": "assistant", "content": [{"text": "Hello, who are you?"}]}],
    ):
        call = LiveCall(delegation=RESPONSES_MODE, input=history)
        call.send("response.item.create", item=item)
        call.send("response.create")
        call.pass_ms(1500)
        reads.append(ends(call)[0]["usage"]["input_tokens"])

    assert reads[1] - reads[0] == 1 + 5


def test_an_ended_session_is_freed_without_garbage_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        call = LiveCall(live_profile(backend_ms=constant(9000)), delegation=RESPONSES_MODE)
        call.speak()
        parts = [
            weakref.ref(part)
            for part in (call.behaviour, call.behaviour._backend, call.behaviour._stream)
        ]
        call.behaviour.end()
        del call

        assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()


# Types and order

EVERY_TYPE = {
    "session.started",
    "session.updated",
    "session.closed",
    "session.usage.updated",
    "error",
    "response.event",
    "session.output_audio.delta",
    "session.output_transcript.delta",
    "session.input_transcript.delta",
    "session.input_audio.muted",
    "session.input_audio.unmuted",
    DELEGATED,
    *(f"session.{name}.appended" for name in ("commentary", "thinking", "instructions")),
}


@pytest.mark.parametrize("mode", [CLIENT_MODE, RESPONSES_MODE])
def test_every_event_of_a_call_has_the_type_of_the_sdk(mode: dict[str, Any]) -> None:
    backend = mode is RESPONSES_MODE
    call = LiveCall(
        delegation=mode,
        instructions="Be brief.",
        input=[MESSAGE],
        audio={"output": {"voice": {"id": "v"}}},
    )
    call.send("session.update", session={"delegation": mode})
    for name in ("commentary", "thinking", "instructions"):
        call.send(f"session.{name}.append", content="Hello.", delegation_id=None)
    call.silent_ms(4000)
    call.speak(2500)
    call.send("response.create")
    if backend:
        call.answer_calls(*call.calls())
        call.send("response.create")
    else:
        commentary(call, call.delegation_id)
    call.silent_ms(4000)
    call.send("session.input_audio.mute")
    call.send("session.input_audio.unmute")
    call.send("session.close")
    call.pass_ms(1000)

    assert {event["type"] for event in call.events} == EVERY_TYPE - (
        {"response.event"} if not backend else set()
    )
    assert call.typed["out"] == len(call.events) > 120
    assert call.typed["in"] > 115
    assert call.typed["nested"] == len(call.all_of("response.event"))
    assert (call.typed["nested"] > 20) == backend


TYPES = st.sampled_from(
    [
        "session.start",
        "session.update",
        "session.close",
        "response.item.create",
        "response.create",
        "audio",
        "session.commentary.append",
        "session.thinking.append",
        "session.input_audio.mute",
        "output",
        "speech",
    ]
)


@pytest.mark.parametrize("mode", [CLIENT_MODE, RESPONSES_MODE])
@given(
    steps=st.lists(
        st.tuples(TYPES, st.dictionaries(st.text(max_size=6), JSON, max_size=2), JSON), max_size=12
    )
)
def test_no_client_event_raises_and_events_stay_in_order(
    mode: dict[str, Any], steps: list[tuple[str, Any, Any]]
) -> None:
    call = LiveCall(live_profile(functions={"parallel": (1, 3)}), delegation=mode)
    for name, fields, value in steps:
        match name:
            case "speech":
                call.speak(700)
            case "audio":
                call.silent_ms(300)
            case "output":
                call.answer_calls(*call.calls())
            case _:
                wrong = {
                    "session": value,
                    "item": value,
                    "content": value,
                    "delegation_id": value,
                } | fields
                call.behaviour.receive({"type": name} | wrong, call.now_ns)
                call.behaviour.receive(
                    {"type": name, "content": "x", "delegation_id": None}, call.now_ns
                )
    call.pass_ms(5000)

    dues = [sent.due_ns for sent in call.sent]
    assert dues == sorted(dues)
    assert call.events[0]["type"] == "session.started"
    for response_id in {sent.response_id for sent in call.sent if sent.response_id}:
        numbers = [
            event["event"]["sequence_number"]
            for event, sent in zip(call.events, call.sent, strict=True)
            if sent.response_id == response_id
        ]
        assert numbers == list(range(len(numbers)))
    assert call.typed["out"] == len(call.events) > 0
