"""What the client says, in both dialects."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from bench.protocol.audio import AudioFormatName
from bench.protocol.base import Act, Awaited, ClientMessage, Dialect
from bench.protocol.dialects import DIALECTS, GLM
from bench.protocol.events import EMPTY, Kind
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.settings import Output, ResponseSettings, SessionSettings, TurnDetection
from bench.run.document import TargetEntry
from tests.helpers import OTHER, REALTIME, build_message, delta, event_of, message, transcribed

FULL = SessionSettings(
    output="audio", instructions="Be brief.", voice="alloy", max_output_tokens=400, input_transcription="whisper-1"
)


def decoded(message: ClientMessage) -> dict[str, Any]:
    """What a message says; it is called what it says that it is."""
    said = msgspec.json.decode(message.data, type=dict[str, Any])
    assert said["type"] == message.name
    return said


def set_up(dialect: Dialect, settings: SessionSettings, event_id: str) -> dict[str, Any]:
    """The one message that sets a session up."""
    (update,) = (step for step in dialect.set_up(settings, event_id) if isinstance(step, ClientMessage))
    return decoded(update)


def test_preview_says_a_flat_session() -> None:
    settings = msgspec.structs.replace(FULL, temperature=0.7)

    assert set_up(PREVIEW, settings, "session-update") == {
        "type": "session.update",
        "event_id": "session-update",
        "session": {
            "modalities": ["audio", "text"],
            "instructions": "Be brief.",
            "voice": "alloy",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": None,
            "temperature": 0.7,
            "max_response_output_tokens": 400,
        },
    }


def test_ga_says_a_nested_session_with_its_type() -> None:
    pcm = {"type": "audio/pcm", "rate": 24_000}

    assert set_up(GA, FULL, "session-update") == {
        "type": "session.update",
        "event_id": "session-update",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "audio": {
                "input": {"format": pcm, "turn_detection": None, "transcription": {"model": "whisper-1"}},
                "output": {"format": pcm, "voice": "alloy"},
            },
            "max_output_tokens": 400,
        },
    }


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_what_is_not_set_is_not_said_but_turn_detection_is_always_off(dialect: Dialect) -> None:
    session = set_up(dialect, SessionSettings(), "e")["session"]
    heard = session.get("audio", {}).get("input", {}) | session

    assert {"instructions", "voice", "temperature", "max_output_tokens"}.isdisjoint(session)
    assert heard["turn_detection"] == ({"type": "client_vad"} if dialect is GLM else None)
    assert {"transcription", "input_audio_transcription"}.isdisjoint(heard)


def heard(dialect: Dialect, settings: SessionSettings) -> dict[str, Any]:
    """What a session says of the caller's audio: (format, turn detection) wherever the dialect keeps them."""
    session = set_up(dialect, settings, "e")["session"]
    heard = session.get("audio", {}).get("input", {}) | session
    format = heard["input_audio_format"] if "input_audio_format" in session else heard["format"]
    return {"format": format, "turn_detection": heard["turn_detection"]}


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (TurnDetection(), {"type": "server_vad"}),
        (
            TurnDetection(threshold=0.0, prefix_padding_ms=0, silence_duration_ms=500, create_response=False,
                          interrupt_response=False),
            {"type": "server_vad", "threshold": 0.0, "prefix_padding_ms": 0, "silence_duration_ms": 500,
             "create_response": False, "interrupt_response": False},
        ),
        (TurnDetection(idle_timeout_ms=6_000), {"type": "server_vad", "idle_timeout_ms": 6_000}),
        (TurnDetection(type="semantic_vad", eagerness="high"), {"type": "semantic_vad", "eagerness": "high"}),
    ],
)  # fmt: skip
def test_turn_detection_is_said_with_what_was_set_of_it_alone(
    dialect: Dialect, wanted: TurnDetection, said: dict[str, Any]
) -> None:
    assert heard(dialect, SessionSettings(turn_detection=wanted))["turn_detection"] == said


@pytest.mark.parametrize(
    ("wanted", "responds"),
    [
        (TurnDetection(), True),
        (TurnDetection(create_response=True), True),
        (TurnDetection(create_response=False), False),
    ],
)
def test_a_service_that_detects_turns_answers_them_unless_told_not_to(wanted: TurnDetection, responds: bool) -> None:
    assert wanted.service_responds is responds


@pytest.mark.parametrize(
    ("format", "ga"),
    [
        ("pcm16", {"type": "audio/pcm", "rate": 24_000}),
        ("g711_ulaw", {"type": "audio/pcmu"}),
        ("g711_alaw", {"type": "audio/pcma"}),
    ],
)
def test_each_dialect_has_its_word_for_a_format_in_either_direction(
    format: AudioFormatName, ga: dict[str, Any]
) -> None:
    settings = SessionSettings(input_format=format, output_format="pcm16" if format != "pcm16" else "g711_ulaw")
    back = SessionSettings(output_format=format)

    assert heard(PREVIEW, settings)["format"] == format
    assert heard(GA, settings)["format"] == ga
    assert set_up(PREVIEW, back, "e")["session"]["output_audio_format"] == format
    assert set_up(GA, back, "e")["session"]["audio"]["output"]["format"] == ga


@pytest.mark.parametrize(
    ("format", "rate_hz"), [("pcm16@8000", 8_000), ("pcm16@16000", 16_000), ("pcm16@48000", 48_000)]
)
def test_each_dialect_says_another_rate_of_pcm_in_its_own_place(format: AudioFormatName, rate_hz: int) -> None:
    said = SessionSettings(input_format=format)

    assert (
        set_up(PREVIEW, said, "e")["session"].items()
        >= {
            "input_audio_format": "pcm16",
            "input_audio_sampling_rate": rate_hz,
        }.items()
    )
    assert heard(GA, said)["format"] == {"type": "audio/pcm", "rate": rate_hz}
    assert "input_audio_sampling_rate" not in set_up(PREVIEW, SessionSettings(), "e")["session"]


def test_a_rate_of_replies_that_a_dialect_cannot_say_is_refused() -> None:
    refused = PREVIEW.refuses(SessionSettings(output_format="pcm16@16000"))

    assert refused is not None
    assert refused.setting == ("output_format",)
    assert "not pcm16@16000" in refused.problem
    assert GA.refuses(SessionSettings(output_format="pcm16@16000")) is None


@pytest.mark.parametrize(
    ("dialect", "output", "said"),
    [
        (PREVIEW, "audio", {"modalities": ["audio", "text"]}),
        (PREVIEW, "text", {"modalities": ["text"]}),
        (GA, "audio", {"output_modalities": ["audio"]}),
        (GA, "text", {"output_modalities": ["text"]}),
    ],
)
def test_each_dialect_has_its_word_for_the_output(dialect: Dialect, output: Output, said: dict[str, Any]) -> None:
    response = decoded(dialect.request(ResponseSettings(output=output), "e"))["response"]
    session = set_up(dialect, SessionSettings(output=output), "e")["session"]

    assert response == said
    assert said.items() <= session.items()


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_response_that_asks_for_nothing_special_is_a_bare_event(dialect: Dialect) -> None:
    assert decoded(dialect.request(ResponseSettings(), "e1")) == {"type": "response.create", "event_id": "e1"}


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_response_says_what_it_is_to_be(dialect: Dialect) -> None:
    settings = ResponseSettings(instructions="Sing.", max_output_tokens=9)

    assert decoded(dialect.request(settings, "e1"))["response"] == {
        "instructions": "Sing.",
        "max_output_tokens": 9,
    }


def test_the_other_events_are_the_same_everywhere() -> None:
    item = decoded(GA.message(build_message('say "é"'), "e1"))

    assert item["type"] == "conversation.item.create"
    assert item["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": 'say "é"'}],
    }
    assert decoded(GA.append(bytes(3), "e2")) == {
        "type": "input_audio_buffer.append",
        "event_id": "e2",
        "audio": "AAAA",
    }
    assert decoded(GA.commit("e3")) == {"type": "input_audio_buffer.commit", "event_id": "e3"}
    assert decoded(GA.clear("e4")) == {"type": "input_audio_buffer.clear", "event_id": "e4"}


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_session_is_told_its_settings_once_it_is_greeted_and_is_ready_once_they_are_taken(dialect: Dialect) -> None:
    greeting, update, taken = dialect.set_up(SessionSettings(), "e")

    assert isinstance(greeting, Awaited)
    assert isinstance(update, ClientMessage)
    assert isinstance(taken, Awaited)
    assert (greeting.kind, update.act, taken.kind) == (Kind.SESSION_CREATED, Act.SET_UP, Kind.SESSION_UPDATED)
    assert [event_of(message(step.name), dialect).kind for step in (greeting, taken)] == [greeting.kind, taken.kind]


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_the_name_of_every_message_tells_its_act(dialect: Dialect) -> None:
    said = [
        *(step for step in dialect.set_up(SessionSettings(), "e") if isinstance(step, ClientMessage)),
        dialect.message(build_message("Hello"), "e"),
        dialect.append(b"", "e"),
        dialect.commit("e"),
        dialect.clear("e"),
        dialect.request(ResponseSettings(), "e"),
        dialect.cancel("e"),
        dialect.truncate("item_1", 250, "e"),
        dialect.retrieve("item_1", "e"),
    ]

    acts = [act for act in Act if act is not Act.RAW]  # whatever a script names itself
    assert [dialect.acts[message.name] for message in said] == [message.act for message in said] == acts
    assert len(dialect.acts) == len(acts)


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_message_is_kept_without_its_audio_and_as_the_same_events(dialect: Dialect) -> None:
    append, other = dialect.append(bytes(300), "e1"), dialect.message(build_message("Hello"), "e2")
    for data in (delta(dialect, "audio", "resp_1"), delta(OTHER[dialect], "audio", "resp_1")):
        whole, kept = (event_of(each, dialect) for each in (data, dialect.without_audio(data)))
        assert (kept.kind, kept.name, kept.foreign) == (whole.kind, whole.name, whole.foreign)
        assert (kept.response_id, kept.item_id, kept.payload) == (whole.response_id, whole.item_id, EMPTY)

    assert decoded(append._replace(data=dialect.without_audio(append.data))) == {"type": append.name, "event_id": "e1"}
    for data in (other.data, transcribed("item_1"), delta(dialect, "text", "resp_1")):
        assert dialect.without_audio(data) == data


def test_the_names_that_users_choose_from_are_the_dialects_own() -> None:
    assert tuple(DIALECTS) == tuple(dialect.name for dialect in DIALECTS.values())
    assert get_args(get_type_hints(TargetEntry)["dialect"]) == (*DIALECTS,)
