"""The caller's turns. The VAD and the client create turns at the same time, in the order of the real service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.behaviour import Behaviour, WireDialect
from bench.simulator.caller_turns import semantic_silence_ms
from bench.simulator.profile import FunctionCalls, PreambleSettings, SpeechDetection
from bench.simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from bench.wire.audio import AudioFormatName
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
    all_of,
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
    without_deltas,
)

DIALECTS = (AZURE_GA, AZURE_PREVIEW)


@pytest.mark.parametrize(
    ("detection", "start_ms", "end_ms"),
    [
        (VAD, 200, 1500),
        (VAD | {"prefix_padding_ms": 0}, 500, 1500),
        (VAD | {"prefix_padding_ms": 900}, 0, 1500),
        (VAD | {"silence_duration_ms": 500}, 200, 1800),
        (VAD | {"silence_duration_ms": 505}, 200, 1810),
    ],
)
def test_speech_events_have_audio_times_with_padding_and_silence(
    detection: dict[str, Any], start_ms: int, end_ms: int
) -> None:
    behaviour = listening(detection)

    events = talk(behaviour, sound(0, 500, 800, 900)) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == start_ms
    assert one(events, "speech_stopped")["audio_end_ms"] == end_ms


def test_delays_count_from_the_append_that_triggers_the_event() -> None:
    delays = {"speech_started": 15, "speech_stopped": 20, "vad_committed": 5, "response_created": 50}
    behaviour = listening(delays=delays)

    events = talk(behaviour, sound(0, 500, 800, 400)) + drain(behaviour)

    at_ms = {event["type"].split(".")[1]: (event["due_ns"] - AT_NS) / MS for event in events}
    assert at_ms["speech_started"] == 600 + 15
    assert at_ms["speech_stopped"] == 1500 + 20
    assert at_ms["committed"] == 1500 + 20 + 5
    assert at_ms["created"] == 1500 + 20 + 5 + 50


# Commit, clear and updates while the service listens.


def test_a_commit_during_speech_creates_the_announced_item_and_no_response() -> None:
    behaviour = listening()
    speech_events = talk(behaviour, sound(500)) + drain(behaviour, AT_NS + SECOND)

    behaviour.receive(COMMIT, AT_NS + SECOND)
    events = drain(behaviour)

    assert types(events) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert events[0]["item_id"] == one(speech_events, "speech_started")["item_id"]


def test_a_commit_takes_the_whole_buffer_and_the_next_speech_begins_a_new_item() -> None:
    behaviour = listening(BY_CLIENT)
    talk(behaviour, sound(500))
    behaviour.receive(COMMIT, AT_NS + SECOND)
    first = drain(behaviour)

    events = talk(behaviour, sound(300, 400), LATER_NS) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == 200
    assert one(events, "committed")["previous_item_id"] == one(first, "committed")["item_id"]


def test_a_clear_during_speech_prevents_its_stop_and_commit() -> None:
    behaviour = listening()
    talk(behaviour, sound(500))
    drain(behaviour)

    behaviour.receive(CLEAR, LATER_NS)
    events = talk(behaviour, sound(0, 500), LATER_NS) + drain(behaviour)

    assert types(events) == ["input_audio_buffer.cleared"]


def test_a_client_cannot_use_the_id_of_an_announced_item() -> None:
    behaviour = listening(BY_CLIENT)
    events = talk(behaviour, sound(500)) + drain(behaviour)
    item_id = one(events, "speech_started")["item_id"]

    item = user_text()["item"] | {"id": item_id}
    behaviour.receive({"type": "conversation.item.create", "item": item}, LATER_NS)
    events = talk(behaviour, sound(0, 400), LATER_NS) + drain(behaviour)

    assert one(events, "error")["error"]["code"] == "item_create_duplicate_item_id"
    assert one(events, "committed")["item_id"] == item_id


@pytest.mark.parametrize("dialect", DIALECTS)
def test_turn_detection_can_be_disabled_and_enabled(dialect: WireDialect) -> None:
    behaviour = listening(dialect=dialect)

    behaviour.receive(hearing(dialect, None), AT_NS)
    off = talk(behaviour, sound(500, 500), AT_NS) + drain(behaviour)
    behaviour.receive(hearing(dialect, BY_CLIENT), LATER_NS)
    on = talk(behaviour, sound(500, 500), LATER_NS) + drain(behaviour)

    assert types(off) == ["session.updated"]
    assert types(on)[:3] == [
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
    ]
    assert one(on, "speech_stopped")["audio_end_ms"] == 1700


# Tests with random events of a client.

IDLE = VAD | {"idle_timeout_ms": 5_000}
DETECTIONS = st.sampled_from([
    None, VAD, BY_CLIENT, LENIENT, IDLE, VAD | {"silence_duration_ms": 0}, {"type": "semantic_vad"},
    {"type": "semantic_vad", "eagerness": "high", "interrupt_response": False},
])  # fmt: skip
NAMES: tuple[AudioFormatName, ...] = ("pcm16", "g711_ulaw", "g711_alaw")
UPDATES = st.builds(
    hearing, st.just(AZURE_GA), DETECTIONS, st.sampled_from(NAMES), st.sampled_from(["", "whisper-1", "mine"])
)
TOOLS = session_update(AZURE_GA, tools=[function("f"), function("g")])
ACTS = st.lists(st.sampled_from([COMMIT, CLEAR, CREATE, TOOLS, {"type": "response.cancel"}]) | UPDATES, max_size=2)
SPEECH = st.lists(st.integers(0, 700), max_size=6)


@settings(max_examples=60)
@given(script=st.lists(st.tuples(ACTS, SPEECH, st.sampled_from(NAMES), st.integers(0, 3000)), max_size=6))
def test_speech_starts_and_stops_alternate_and_each_response_is_done_once(
    script: list[tuple[list[dict[str, Any]], list[int], AudioFormatName, int]],
) -> None:
    functions = FunctionCalls(share=0.5, preamble=0.5, parallel=(1, 2))
    vad = SpeechDetection(min_speech_ms=100, ignored_barge_in_share=0.3)
    behaviour = listening(functions=functions, preamble=PreambleSettings(share=0.5), vad=vad)
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
    assert names.count("input_audio_buffer.speech_stopped") <= names.count("input_audio_buffer.speech_started")
    assert [event["due_ns"] for event in events] == sorted(event["due_ns"] for event in events)
    for event in events:
        if event["type"] == "input_audio_buffer.committed":
            assert event["item_id"] in added


# The silence that ends a turn: semantic VAD and the idle timeout.


# Semantic VAD.


@pytest.mark.parametrize(
    ("drawn_ms", "eagerness", "silence_ms"),
    [
        (600, "auto", 600),
        (600, "low", 1200),
        (600, "high", 300),
        (9000, "low", 8000),
        (9000, "high", 2000),
    ],
)
def test_eagerness_scales_the_silence_up_to_its_maximum(drawn_ms: float, eagerness: str, silence_ms: float) -> None:
    assert semantic_silence_ms(drawn_ms, eagerness) == silence_ms


@pytest.mark.parametrize("dialect", DIALECTS)
def test_semantic_vad_waits_for_its_drawn_silence(dialect: WireDialect) -> None:
    behaviour = listening({"type": "semantic_vad"}, dialect=dialect, delays={"semantic_end": 700})

    events = talk(behaviour, sound(0, 500, 800, 600, 300, 900)) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == 200
    assert one(events, "speech_stopped")["audio_end_ms"] == 500 + 800 + 600 + 300 + 700
    assert done(events)["status"] == "completed"


# Idle timeout.


def answered(behaviour: Behaviour) -> tuple[list[dict[str, Any]], float]:
    """Request a response; return its events, and the time in ms at which its playback would end."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + 4 * SECOND)
    first_ns = next(event["due_ns"] for event in events if event["type"].endswith("audio.delta"))
    return events, (first_ns - AT_NS) / MS + 2000


def test_the_service_prompts_after_its_idle_timeout() -> None:
    behaviour = listening(IDLE)
    _, played_ms = answered(behaviour)

    events = drain(behaviour, AT_NS + 10 * SECOND)

    assert without_deltas(events)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert (events[0]["due_ns"] - AT_NS) / MS == pytest.approx(played_ms + 5000)
    assert events[0]["item_id"] == events[1]["item_id"]


def test_the_idle_timeout_event_has_the_audio_times_of_the_silence() -> None:
    behaviour = listening(IDLE)
    _, played_ms = answered(behaviour)

    events = talk(behaviour, sound(0, 6000), AT_NS + 4 * SECOND) + drain(behaviour, AT_NS + 10 * SECOND)

    timeout = one(events, "timeout_triggered")
    due_ms = (timeout["due_ns"] - AT_NS) // MS
    assert timeout["audio_end_ms"] == (due_ms - 4000) // 100 * 100
    assert timeout["audio_start_ms"] == max(0, (played_ms - 4000) // 100 * 100)


def test_no_idle_prompt_follows_a_removed_timeout() -> None:
    behaviour = listening(IDLE)
    answered(behaviour)

    behaviour.receive(hearing(AZURE_GA, VAD), AT_NS + 4 * SECOND)

    assert types(drain(behaviour)) == ["session.updated"]


def test_an_idle_timeout_does_not_interrupt_a_response() -> None:
    behaviour = listening(IDLE | {"idle_timeout_ms": 500}, generation_speed=0.2)
    behaviour.receive(CREATE, AT_NS)
    drain(behaviour, AT_NS + SECOND)
    behaviour.receive({"type": "response.cancel"}, AT_NS + SECOND)
    drain(behaviour, AT_NS + SECOND + 200 * MS)
    behaviour.receive(CREATE, AT_NS + SECOND + 200 * MS)

    events = drain(behaviour, AT_NS + 4 * SECOND)

    assert "input_audio_buffer.timeout_triggered" not in types(events)
    assert "error" not in types(events)


# The effect of the caller's speech on a response.


def spoken_over(behaviour: Behaviour, audio: bytes) -> list[dict[str, Any]]:
    """Request a response, and send the caller's audio from 1 s later on; return the events of the response."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + SECOND)
    return events + talk(behaviour, audio, AT_NS + SECOND)


def test_an_interrupted_response_is_created_before_it_is_cancelled() -> None:
    behaviour = listening(delays={"response_created": 700, "first_audio": 900, "speech_started": 15})

    events = talk(behaviour, sound(0, 100, 500, 250, 500)) + drain(behaviour)

    responses = [name for name in types(events) if name.startswith("response.") or name.endswith("speech_started")]
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


# A VAD may ignore short sounds, and speech during a reply. In both cases it reports nothing, and the reply continues.


DEAF = SpeechDetection(ignored_barge_in_share=1.0)


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return [event["response"]["status"] for event in all_of(events, "response.done")]


@pytest.mark.parametrize("speed", [1.0, 50.0])
@pytest.mark.parametrize("detection", [VAD, {"type": "semantic_vad"}])
def test_ignored_speech_does_not_stop_a_reply(speed: float, detection: Any) -> None:
    behaviour = listening(detection, generation_speed=speed, vad=DEAF, delays={"first_audio": 500})

    events = spoken_over(behaviour, sound(300, 100, 300, 400)) + drain(behaviour)

    assert statuses(events) == ["completed"]
    assert not [name for name in types(events) if "input_audio_buffer" in name]


@pytest.mark.parametrize("stop", ["truncate", "cancel"])
def test_speech_after_the_client_stopped_the_reply_is_not_ignored(stop: str) -> None:
    behaviour = listening(
        generation_speed=50.0 if stop == "truncate" else 2.0, vad=DEAF, delays={"first_audio": 500, "cancelled": 1}
    )
    behaviour.receive(CREATE, AT_NS)
    item_id = one(drain(behaviour, AT_NS + SECOND), "output_item.added")["item"]["id"]
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 400}
    behaviour.receive(truncate if stop == "truncate" else {"type": "response.cancel"}, AT_NS + SECOND)

    events = talk(behaviour, sound(300, 400), AT_NS + SECOND) + drain(behaviour)

    assert statuses(events)[-1] == "completed"


def test_an_ignored_sound_does_not_reset_the_idle_timeout() -> None:
    behaviour = listening(
        VAD | {"idle_timeout_ms": 5_000}, generation_speed=50.0, vad=DEAF, delays={"first_audio": 500}
    )

    behaviour.receive(CREATE, AT_NS)
    drain(behaviour, AT_NS + SECOND)

    talk(behaviour, sound(300, 400), AT_NS + SECOND)

    assert "input_audio_buffer.timeout_triggered" in types(drain(behaviour, AT_NS + 9 * SECOND))
