"""The caller's turns. The VAD and the client create turns at the same time, in the order of the
real service.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire.audio import AudioFormatName
from rtbench_simulator.profile import (
    FunctionCalls,
    PreambleSettings,
    SpeechDetection,
    TurnTakingSettings,
)
from rtbench_simulator.services.azure import AZURE_GA
from tests.simulator.builders import (
    AT_NS,
    BY_CLIENT,
    CLEAR,
    COMMIT,
    CREATE,
    LENIENT,
    MS,
    VAD,
    constant,
    drain,
    function,
    hearing,
    listening,
    session_update,
    sound,
    talk,
    types,
)

DETECTIONS = st.sampled_from(
    [
        None,
        VAD,
        BY_CLIENT,
        LENIENT,
        VAD | {"idle_timeout_ms": 5_000},
        VAD | {"silence_duration_ms": 0},
        {"type": "semantic_vad"},
        {"type": "semantic_vad", "eagerness": "high", "interrupt_response": False},
    ]
)
NAMES: tuple[AudioFormatName, ...] = ("pcm16", "g711_ulaw", "g711_alaw")
UPDATES = st.builds(
    hearing,
    st.just(AZURE_GA),
    DETECTIONS,
    st.sampled_from(NAMES),
    st.sampled_from(["", "whisper-1", "mine"]),
)
TOOLS = session_update(AZURE_GA, tools=[function("f"), function("g")])
ACTS = st.lists(
    st.sampled_from([COMMIT, CLEAR, CREATE, TOOLS, {"type": "response.cancel"}]) | UPDATES,
    max_size=2,
)
SPEECH = st.lists(st.integers(0, 700), max_size=6)


@settings(max_examples=60)
@given(
    script=st.lists(
        st.tuples(ACTS, SPEECH, st.sampled_from(NAMES), st.integers(0, 3000)), max_size=6
    )
)
def test_speech_starts_and_stops_alternate_and_each_response_is_done_once(
    script: list[tuple[list[dict[str, Any]], list[int], AudioFormatName, int]],
) -> None:
    functions = FunctionCalls(share=0.5, preamble=0.5, parallel=(1, 2))
    vad = SpeechDetection(min_speech_ms=100)
    rules = TurnTakingSettings(constant(400), 0.2, 0.3, constant(200), 0.3, 300)
    behaviour = listening(
        functions=functions,
        preamble=PreambleSettings(share=0.5),
        vad=vad,
        turn_taking=rules,
        session_sd=0.1,
    )
    now_ns, events = AT_NS, []
    for acts, parts_ms, name, pause_ms in script:
        for act in acts:
            behaviour.receive(act, now_ns)
        events += talk(behaviour, sound(0, *parts_ms, name=name), now_ns, name=name)
        now_ns += (sum(parts_ms) + 100 + pause_ms) * MS
        events += drain(behaviour, now_ns)
    behaviour.receive(hearing(AZURE_GA, None), now_ns)
    events += drain(behaviour)

    names = types(events)
    created = [event["response"]["id"] for event in events if event["type"] == "response.created"]
    response = [event["response"]["id"] for event in events if event["type"] == "response.done"]
    added = [event["item"]["id"] for event in events if event["type"] == "conversation.item.added"]
    assert sorted(response) == sorted(created) == sorted(set(created))
    assert len(set(added)) == len(added)
    assert names.count("input_audio_buffer.speech_stopped") <= names.count(
        "input_audio_buffer.speech_started"
    )
    assert [event["due_ns"] for event in events] == sorted(event["due_ns"] for event in events)
    for event in events:
        if event["type"] == "input_audio_buffer.committed":
            assert event["item_id"] in added
