"""The caller's turns. The VAD and the client create turns at the same time, in the order of the
real service.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire.audio import AudioFormatName
from rtbench_simulator.behaviour import Behaviour
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
    LATER_NS,
    LENIENT,
    MS,
    SECOND,
    VAD,
    constant,
    done,
    drain,
    function,
    hearing,
    listening,
    one,
    session_update,
    sound,
    talk,
    types,
    user_text,
)

# Commit, clear and updates while the service listens.


def test_a_client_cannot_use_the_id_of_an_announced_item() -> None:
    behaviour = listening(BY_CLIENT)
    events = talk(behaviour, sound(500)) + drain(behaviour)
    item_id = one(events, "speech_started")["item_id"]

    item = user_text()["item"] | {"id": item_id}
    behaviour.receive({"type": "conversation.item.create", "item": item}, LATER_NS)
    events = talk(behaviour, sound(0, 400), LATER_NS) + drain(behaviour)

    assert one(events, "error")["error"]["code"] == "item_create_duplicate_item_id"
    assert one(events, "committed")["item_id"] == item_id


# Tests with random events of a client.

IDLE = VAD | {"idle_timeout_ms": 5_000}
DETECTIONS = st.sampled_from(
    [
        None,
        VAD,
        BY_CLIENT,
        LENIENT,
        IDLE,
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


# The silence that ends a turn: semantic VAD and the idle timeout.


# Semantic VAD.


# Idle timeout.


def answered(behaviour: Behaviour) -> tuple[list[dict[str, Any]], float]:
    """Request a response; return its events, and the time in ms at which its playback would end."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + 4 * SECOND)
    first_ns = next(event["due_ns"] for event in events if event["type"].endswith("audio.delta"))
    return events, (first_ns - AT_NS) / MS + 2000


def test_the_idle_timeout_event_has_the_audio_times_of_the_silence() -> None:
    behaviour = listening(IDLE)
    _, played_ms = answered(behaviour)

    events = talk(behaviour, sound(0, 6000), AT_NS + 4 * SECOND) + drain(
        behaviour, AT_NS + 10 * SECOND
    )

    timeout = one(events, "timeout_triggered")
    due_ms = (timeout["due_ns"] - AT_NS) // MS
    assert timeout["audio_end_ms"] == (due_ms - 4000) // 100 * 100
    assert timeout["audio_start_ms"] == max(0, (played_ms - 4000) // 100 * 100)


def test_no_idle_prompt_follows_a_removed_timeout() -> None:
    behaviour = listening(IDLE)
    answered(behaviour)

    behaviour.receive(hearing(AZURE_GA, VAD), AT_NS + 4 * SECOND)

    assert types(drain(behaviour)) == ["session.updated"]


# The effect of the caller's speech on a response.


def spoken_over(behaviour: Behaviour, audio: bytes) -> list[dict[str, Any]]:
    """Request a response, and send the caller's audio from 1 s later on; return the events of
    the response.
    """
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + SECOND)
    return events + talk(behaviour, audio, AT_NS + SECOND)


def test_an_interrupted_response_is_created_before_it_is_cancelled() -> None:
    behaviour = listening(
        delays={"response_created": 700, "first_audio": 900, "speech_started": 15}
    )

    events = talk(behaviour, sound(0, 100, 500, 250, 500)) + drain(behaviour)

    responses = [
        name
        for name in types(events)
        if name.startswith("response.") or name.endswith("speech_started")
    ]
    assert responses == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_started",
        "response.created",
        "response.done",
    ]
    assert done(events)["status_details"]["reason"] == "turn_detected"


def test_an_uninterruptible_response_continues_and_the_turn_gets_no_response() -> None:
    behaviour = listening(LENIENT, generation_speed=0.5, delays={"first_audio": 500})

    events = spoken_over(behaviour, sound(300, 400)) + drain(behaviour)

    response, error = done(events), one(events, "error")["error"]
    assert response["status"] == "completed"
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] is None
    assert response["id"] in error["message"]
    assert one(events, "committed")["item_id"]


# A VAD may ignore short sounds, and speech during a reply. In both cases it reports nothing, and
# the reply continues.


DEAF = TurnTakingSettings(ignored_backchannel_share=1.0, backchannel_ms=60_000)


def test_an_ignored_sound_does_not_reset_the_idle_timeout() -> None:
    behaviour = listening(
        VAD | {"idle_timeout_ms": 5_000},
        generation_speed=50.0,
        turn_taking=DEAF,
        delays={"first_audio": 500},
    )

    behaviour.receive(CREATE, AT_NS)
    drain(behaviour, AT_NS + SECOND)

    talk(behaviour, sound(300, 400), AT_NS + SECOND)

    assert "input_audio_buffer.timeout_triggered" in types(drain(behaviour, AT_NS + 9 * SECOND))
