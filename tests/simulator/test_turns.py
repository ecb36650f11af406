"""The caller's turns, by VAD and by the client meanwhile: in the orders of the service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import FORMATS
from bench.simulator.profile import AnswerParts, FunctionCalls, SpeechDetection
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, WireDialect
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
    append,
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


def test_a_turn_in_ga_goes_from_speech_to_the_response_without_the_client() -> None:
    behaviour = listening()

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    assert without_deltas(events)[:7] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
    ]
    assert done(events)["status"] == "completed"


def test_a_turn_in_preview_has_its_names() -> None:
    behaviour = listening(dialect=AZURE_PREVIEW)

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    assert without_deltas(events)[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "response.created",
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_item_is_announced_stopped_committed_and_added(dialect: WireDialect) -> None:
    behaviour = listening(BY_CLIENT, dialect=dialect)

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    ids = {event["item_id"] if "item_id" in event else event["item"]["id"] for event in events}
    assert len(ids) == 1
    assert one(events, "committed")["previous_item_id"] is None


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
def test_events_tell_the_audio_clock_with_padding_and_silence(
    detection: dict[str, Any], start_ms: int, end_ms: int
) -> None:
    behaviour = listening(detection)

    events = talk(behaviour, sound(0, 500, 800, 900)) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == start_ms
    assert one(events, "speech_stopped")["audio_end_ms"] == end_ms


def test_delays_count_from_the_append_that_tells() -> None:
    delays = {"speech_started": 15, "speech_stopped": 20, "vad_committed": 5, "response_created": 50}
    behaviour = listening(delays=delays)

    events = talk(behaviour, sound(0, 500, 800, 400)) + drain(behaviour)

    at_ms = {event["type"].split(".")[1]: (event["due_ns"] - AT_NS) / MS for event in events}
    assert at_ms["speech_started"] == 600 + 15
    assert at_ms["speech_stopped"] == 1500 + 20
    assert at_ms["committed"] == 1500 + 20 + 5
    assert at_ms["created"] == 1500 + 20 + 5 + 50


def test_speech_whose_silence_is_never_sent_does_not_end() -> None:
    behaviour = listening()

    events = talk(behaviour, sound(800, 100)) + drain(behaviour)

    assert types(events) == ["input_audio_buffer.speech_started"]


def test_nothing_is_heard_in_what_is_quieter_than_the_threshold() -> None:
    behaviour = listening(VAD | {"threshold": 1.0})

    behaviour.receive(append(500), AT_NS)
    quiet = talk(behaviour, sound(0, 500, 500, 500)[: 48 * 400]) + drain(behaviour)

    assert quiet == []


def test_without_create_response_the_client_asks() -> None:
    behaviour = listening(BY_CLIENT)
    heard = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    behaviour.receive(CREATE, LATER_NS)
    asked = drain(behaviour)

    assert types(heard)[-1] == "conversation.item.done"
    assert done(asked)["usage"]["input_token_details"]["audio_tokens"] == 13


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_format_is_heard_and_answered(dialect: WireDialect, name: AudioFormatName) -> None:
    behaviour = listening(dialect=dialect, name=name)

    events = talk(behaviour, sound(0, 500, 800, 400, name=name), name=name) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == 200
    assert one(events, "speech_stopped")["audio_end_ms"] == 1500
    assert done(events)["status"] == "completed"


@pytest.mark.parametrize("chunk_ms", [20, 50, 200])
def test_places_in_the_stream_do_not_depend_on_the_chunk(chunk_ms: int) -> None:
    behaviour = listening(BY_CLIENT)
    audio = sound(0, 300, 800, 400)

    sent = []
    for begin in range(0, len(audio), 48 * chunk_ms):
        talk(behaviour, audio[begin : begin + 48 * chunk_ms], AT_NS, chunk_ms=chunk_ms)
        sent += list(behaviour.due(LATER_NS))

    places = {event.type.split(".")[1]: event.facts for event in sent if event.facts}
    assert places == {"speech_started": {"speech_at_byte": 300 * 48}, "speech_stopped": {"speech_at_byte": 1100 * 48}}


# Commit, clear and updates while the service listens


def test_a_commit_in_mid_speech_makes_the_announced_item_and_no_response() -> None:
    behaviour = listening()
    heard = talk(behaviour, sound(500)) + drain(behaviour, AT_NS + SECOND)

    behaviour.receive(COMMIT, AT_NS + SECOND)
    events = drain(behaviour)

    assert types(events) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert events[0]["item_id"] == one(heard, "speech_started")["item_id"]


def test_a_commit_takes_all_that_waits_and_the_next_speech_begins_anew() -> None:
    behaviour = listening(BY_CLIENT)
    talk(behaviour, sound(500))
    behaviour.receive(COMMIT, AT_NS + SECOND)
    first = drain(behaviour)

    events = talk(behaviour, sound(300, 400), LATER_NS) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == 200
    assert one(events, "committed")["previous_item_id"] == one(first, "committed")["item_id"]


def test_a_clear_in_mid_speech_leaves_nothing_to_commit_and_nothing_to_stop() -> None:
    behaviour = listening()
    talk(behaviour, sound(500))
    drain(behaviour)

    behaviour.receive(CLEAR, LATER_NS)
    events = talk(behaviour, sound(0, 500), LATER_NS) + drain(behaviour)

    assert types(events) == ["input_audio_buffer.cleared"]


def test_a_client_cannot_take_the_id_of_the_item_to_come() -> None:
    behaviour = listening(BY_CLIENT)
    events = talk(behaviour, sound(500)) + drain(behaviour)
    item_id = one(events, "speech_started")["item_id"]

    item = user_text()["item"] | {"id": item_id}
    behaviour.receive({"type": "conversation.item.create", "item": item}, LATER_NS)
    events = talk(behaviour, sound(0, 400), LATER_NS) + drain(behaviour)

    assert one(events, "error")["error"]["code"] == "item_create_duplicate_item_id"
    assert one(events, "committed")["item_id"] == item_id


@pytest.mark.parametrize("dialect", DIALECTS)
def test_turn_detection_can_be_switched_off_and_on(dialect: WireDialect) -> None:
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


def test_another_silence_counts_from_the_next_append() -> None:
    behaviour = listening(VAD | {"silence_duration_ms": 10_000})
    talk(behaviour, sound(500, 1000))

    behaviour.receive(hearing(AZURE_GA, BY_CLIENT), AT_NS + 1500 * MS)
    events = talk(behaviour, sound(0, 100), AT_NS + 1500 * MS) + drain(behaviour)

    assert one(events, "speech_stopped")["audio_end_ms"] == 1510


def test_a_change_of_format_in_mid_speech_reads_each_byte_as_it_came() -> None:
    behaviour = listening(BY_CLIENT)
    talk(behaviour, sound(500))

    behaviour.receive(hearing(AZURE_GA, BY_CLIENT, "g711_ulaw"), AT_NS + 500 * MS)
    narrow = sound(300, 400, name="g711_ulaw")
    events = talk(behaviour, narrow, AT_NS + 500 * MS, name="g711_ulaw") + drain(behaviour)

    assert one(events, "speech_stopped")["audio_end_ms"] == 1000


# Whatever a client says

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
def test_speech_starts_and_stops_by_turns_and_every_response_is_done_once(
    script: list[tuple[list[dict[str, Any]], list[int], AudioFormatName, int]],
) -> None:
    functions = FunctionCalls(share=0.5, preamble=0.5, parallel=(1, 2))
    vad = SpeechDetection(min_speech_ms=100, ignored_barge_in_share=0.3)
    behaviour = listening(functions=functions, preamble=AnswerParts(share=0.5), vad=vad)
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
