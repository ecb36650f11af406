"""The client's messages in both dialects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.glm import GLM
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS, SERVICES, TRACKS
from bench.wire.dialect import BinaryMessage, ClientMessage, Dialect, MessageKind
from bench.wire.events import EMPTY, ServerEvent
from bench.wire.settings import (
    InputTranscription,
    SessionSettings,
    TurnDetection,
    merged,
)
from tests.examples import thorough
from tests.helpers import (
    OTHER,
    REALTIME,
    build_message,
    delta,
    event_of,
    transcribed,
)


def decoded(message: ClientMessage) -> dict[str, Any]:
    """Return a message's JSON. Assert that its type is the message's name."""
    body = msgspec.json.decode(message.data, type=dict[str, Any])
    assert body["type"] == message.name
    return body


def set_up(dialect: Dialect, settings: SessionSettings, event_id: str) -> dict[str, Any]:
    """Return the only message that sets up a session."""
    (update,) = (
        step
        for step in dialect.setup_messages(settings, event_id)
        if isinstance(step, ClientMessage)
    )
    return decoded(update)


def session_of(dialect: Dialect, **settings: Any) -> dict[str, Any]:
    """Return the session object of the message that sets up a session."""
    session: dict[str, Any] = set_up(dialect, SessionSettings(**settings), "e")["session"]
    return session


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_settings_that_are_not_set_are_omitted_but_turn_detection_is_always_written(
    dialect: Dialect,
) -> None:
    session = session_of(dialect)
    input_settings = session.get("audio", {}).get("input", {}) | session

    assert {"instructions", "voice", "temperature", "max_output_tokens"}.isdisjoint(session)
    assert input_settings["turn_detection"] == ({"type": "client_vad"} if dialect is GLM else None)
    assert {"transcription", "input_audio_transcription"}.isdisjoint(input_settings)


def input_settings_of(dialect: Dialect, settings: SessionSettings) -> dict[str, Any]:
    """Return the session's input format and turn detection, from the place that the dialect
    uses.
    """
    session = set_up(dialect, settings, "e")["session"]
    input_settings = session.get("audio", {}).get("input", {}) | session
    format = (
        input_settings["input_audio_format"]
        if "input_audio_format" in session
        else input_settings["format"]
    )
    return {"format": format, "turn_detection": input_settings["turn_detection"]}


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (TurnDetection(), {"type": "server_vad"}),
        (
            TurnDetection(
                threshold=0.0,
                prefix_padding_ms=0,
                silence_duration_ms=500,
                create_response=False,
                interrupt_response=False,
            ),
            {
                "type": "server_vad",
                "threshold": 0.0,
                "prefix_padding_ms": 0,
                "silence_duration_ms": 500,
                "create_response": False,
                "interrupt_response": False,
            },
        ),
        (TurnDetection(idle_timeout_ms=6_000), {"type": "server_vad", "idle_timeout_ms": 6_000}),
        (
            TurnDetection(type="semantic_vad", eagerness="high"),
            {"type": "semantic_vad", "eagerness": "high"},
        ),
    ],
)
def test_turn_detection_is_written_with_only_the_given_settings(
    dialect: Dialect, wanted: TurnDetection, written: dict[str, Any]
) -> None:
    assert (
        input_settings_of(dialect, SessionSettings(turn_detection=wanted))["turn_detection"]
        == written
    )


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_each_kind_of_message_has_one_name(dialect: Dialect) -> None:
    """RAW is a message whose name comes from the script. A session of these dialects ends with its
    connection.
    """
    kinds = set(MessageKind) - {MessageKind.RAW, MessageKind.CLOSE}
    assert set(dialect.message_kinds.values()) == kinds


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_a_message_without_its_audio_decodes_to_the_same_events(dialect: Dialect) -> None:
    append, other = dialect.append(bytes(300), "e1"), dialect.message(build_message("Hello"), "e2")
    for data in (delta(dialect, "audio", "resp_1"), delta(OTHER[dialect], "audio", "resp_1")):
        whole, stored = (event_of(each, dialect) for each in (data, dialect.without_audio(data)))
        assert (stored.kind, stored.name, stored.other_dialect) == (
            whole.kind,
            whole.name,
            whole.other_dialect,
        )
        assert (stored.response_id, stored.item_id, stored.payload) == (
            whole.response_id,
            whole.item_id,
            EMPTY,
        )

    assert decoded(replace(append, data=dialect.without_audio(append.data))) == {
        "type": append.name,
        "event_id": "e1",
    }
    for data in (other.data, transcribed("item_1"), delta(dialect, "text", "resp_1")):
        assert dialect.without_audio(data) == data


def test_the_dialect_names_of_a_targets_file_are_those_of_the_dialects() -> None:
    registered = {
        d
        for service in SERVICES.values()
        for d in (service.dialect, *(r.dialect for r in service.routes))
    }

    assert set(DIALECTS.values()) == registered | {
        dialect for tracks in TRACKS.values() for dialect in tracks.dialects
    }


VAD = TurnDetection(silence_duration_ms=400)


def conflict(dialect: Dialect, settings: SessionSettings) -> tuple[tuple[str, ...], str] | None:
    """Return (key under `extra`, remedy) if the dialect refuses a key on which the load
    generator relies.
    """
    refused = dialect.unsupported_setting(settings)
    if refused is None:
        return None
    above, *place = refused.setting
    assert above == "extra"
    refused_key, remedy = refused.reason.removeprefix("extra must not set ").split(
        ", which this tool relies on: "
    )
    assert refused_key == ".".join(place)
    return tuple(place), remedy


def test_mappings_merge_key_by_key_and_other_values_replace() -> None:
    settings = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}}

    assert merged(settings, {"a": {"c": {"h": None}}, "e": [2], "f": None, "i": {}}) == {
        "a": {"b": 1, "c": {"d": 2, "h": None}},
        "e": [2],
        "f": None,
        "i": {},
    }
    assert settings == {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}}


def test_ga_merges_extra_into_the_session() -> None:
    extra = {"tool_choice": "none", "audio": {"input": {"noise_reduction": {"type": "near_field"}}}}
    plain, more = session_of(GA), session_of(GA, extra=extra)

    assert more == merged(plain, extra)
    assert more["audio"]["input"]["format"] == plain["audio"]["input"]["format"]


@pytest.mark.parametrize(
    ("dialect", "path", "remedy"),
    [(GA, *kept) for kept in GA.stored.items()]
    + [(PREVIEW, *kept) for kept in PREVIEW.stored.items()],
)
def test_extra_must_not_set_keys_that_the_tool_relies_on_or_their_parents(
    dialect: Dialect, path: tuple[str, ...], remedy: str
) -> None:
    for depth in range(1, len(path) + 1):
        extra: Any = None
        for key in reversed(path[:depth]):
            extra = {key: extra}
        settings = SessionSettings(
            turn_detection=VAD,
            input_transcription=InputTranscription(model="whisper-1"),
            extra=extra,
        )
        place, advice = conflict(dialect, settings) or ((), "")
        assert place == path[:depth]
        assert advice == remedy or depth < len(path)


@thorough
@given(
    data=st.binary(max_size=300),
    binary=st.booleans(),
    dialect=st.sampled_from(list(DIALECTS.values())),
)
def test_no_message_makes_a_dialect_raise(data: bytes, binary: bool, dialect: Dialect) -> None:
    assert all(
        isinstance(event, ServerEvent)
        for event in dialect.decode(BinaryMessage(data) if binary else data)
    )
