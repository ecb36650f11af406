"""Sessions with the simulated GPT-Live, without a network, whose events have the SDK's types."""

from __future__ import annotations

import gc
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.gpt_live.events import DELEGATED
from rtbench_simulator.profile import quiet_profile
from rtbench_simulator.recorded_replies import load_replies
from rtbench_simulator.services.gpt_live.behaviour import GptLiveBehaviour
from tests.helpers import seated
from tests.memory_transport import LiveTransport, SimulatedPeer
from tests.simulator.builders import JSON, constant, session_parts
from tests.simulator.live_call import (
    CLIENT_MODE,
    RESPONSES_MODE,
    LiveCall,
    live_profile,
)

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav"
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
steps: [audio: {AUDIO}, audio: {AUDIO}]
"""
replies = cache(load_replies)


def test_gpt_live_answers_turns_without_delegation(tmp_path: Path) -> None:
    path = tmp_path / "call.yaml"
    service = SimulatedPeer(GptLiveBehaviour(session_parts(quiet_profile(), replies())))
    path.write_text(SCRIPT)
    session, timeline, listening = seated(
        CompiledScript(load_script(path), GPT_LIVE).prepare_session(0, 0), LiveTransport(service)
    )
    session.run()

    assert [turn.outcome for turn in listening.turns] == ["ok", "ok"]
    assert timeline.session().outcome == "ok"
    assert all(sent.type != DELEGATED for sent in service.said)


MESSAGE: dict[str, Any] = {"role": "user", "content": [{"type": "input_text", "text": "Hi."}]}


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
        result = {"content": "It is on its way.", "delegation_id": call.delegation_id}
        call.send("session.commentary.append", **result)
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
