"""The client sends events, and the simulator answers with events in the order and by the rules
of the service.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.services.openai.dialect import FORMATS, ga_format
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import SIMULATOR_VALUE
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.profile import FunctionCalls, PreambleSettings
from rtbench_simulator.responses.response_plan import AUDIO_ANSWER_TEXT_TOKENS
from rtbench_simulator.server_events import GA
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    JSON,
    MS,
    REPLY,
    all_of,
    answers,
    append,
    begun,
    build_behaviour,
    create,
    done,
    drain,
    function,
    one,
    output,
    types,
    user_text,
    without_deltas,
    without_repeats,
)
from tests.simulator.sdk_types import assert_typed

TEXT_GA, TEXT_PREVIEW = create(output_modalities=["text"]), create(modalities=["text"])
DIALECTS = (AZURE_GA, AZURE_PREVIEW, OPENAI_GA, OPENAI_PREVIEW)


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    (event,) = events
    assert event["type"] == "error"
    error: dict[str, Any] = event["error"]
    return error


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_session_is_marked_as_simulated_and_accepts_its_own_mark(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect)
    kind = {"type": "realtime"} if dialect.names is GA else {}
    update = {
        "type": "session.update",
        "session": {**kind, SIMULATOR_VALUE: True, "instructions": "Hum."},
    }
    created, updated = drain(behaviour) + answers(behaviour, update)

    assert created["session"][SIMULATOR_VALUE] is updated["session"][SIMULATOR_VALUE] is True
    assert updated["session"]["instructions"] == "Hum."


def test_a_text_turn_in_ga_has_the_order_of_the_captures() -> None:
    events = answers(build_behaviour(), user_text(), TEXT_GA)

    assert without_repeats(types(events)) == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_three_to_five_transcript_deltas_precede_the_first_audio(seed: int) -> None:
    names = types(answers(build_behaviour(seed=seed), CREATE))

    ahead = names[: names.index("response.output_audio.delta")].count(
        "response.output_audio_transcript.delta"
    )
    assert 3 <= ahead <= 5


@pytest.mark.parametrize("audio_ms", [0, 99])
def test_a_commit_of_less_than_100_ms_is_an_error(audio_ms: int) -> None:
    error = error_of(answers(build_behaviour(), append(audio_ms), COMMIT))

    assert error["code"] == "input_audio_buffer_commit_empty"
    assert f"only has {audio_ms:.2f}ms" in error["message"]


def test_a_cancel_closes_open_items_with_their_content_so_far() -> None:
    behaviour = build_behaviour()
    drain(behaviour)
    response_id = behaviour.receive(CREATE, AT_NS).response
    before, now_ns = begun(behaviour, "audio.delta")
    received = behaviour.receive({"type": "response.cancel"}, now_ns)
    after = drain(behaviour)

    transcript = "".join(
        event["delta"]
        for event in before
        if event["type"] == "response.output_audio_transcript.delta"
    )
    assert received.response == response_id
    assert types(after) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert after[1]["transcript"] == transcript
    assert after[4]["item"]["status"] == "incomplete"
    assert after[5]["response"]["status"] == "cancelled"
    assert after[5]["response"]["status_details"] == {
        "type": "cancelled",
        "reason": "client_cancelled",
    }


def test_a_cancel_before_any_output_gives_one_created_and_one_done() -> None:
    events = answers(build_behaviour(), CREATE, {"type": "response.cancel"})

    assert types(events) == ["response.created", "response.done", "rate_limits.updated"]
    assert events[1]["response"]["output"] == []


def test_an_item_is_inserted_after_the_given_previous_item() -> None:
    behaviour = build_behaviour()
    first, second = (answers(behaviour, user_text())[0]["item"]["id"] for _ in range(2))

    at_root = answers(behaviour, user_text() | {"previous_item_id": "root"})
    behind = answers(behaviour, user_text() | {"previous_item_id": first})
    last = answers(behaviour, user_text())

    assert [events[0]["previous_item_id"] for events in (at_root, behind, last)] == [
        None,
        first,
        second,
    ]


def test_azure_preview_accepts_fields_of_legacy_clients() -> None:
    session = {
        "model": "gpt-4o-realtime-preview",
        "turn_detection": {"type": "none"},
        "voice": "echo",
    }
    legacy = {"commit": True, "cancel_previous": True, "append_input_items": [], "input_items": []}

    events = answers(
        build_behaviour(AZURE_PREVIEW),
        {"event_id": None, "type": "session.update", "session": session},
        create(**legacy),
    )

    assert "error" not in types(events)
    assert events[0]["session"]["turn_detection"] is None


def test_the_voice_cannot_change_after_audio_output() -> None:
    behaviour = build_behaviour(AZURE_PREVIEW)
    answers(behaviour, CREATE)

    error = error_of(answers(behaviour, {"type": "session.update", "session": {"voice": "echo"}}))

    assert error["code"] == "cannot_update_voice"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"[" * 10_000, "invalid_json"),
    ],
)
def test_a_message_that_is_not_a_json_object_is_an_error(message: bytes, code: str) -> None:
    behaviour = build_behaviour()
    drain(behaviour)

    behaviour.receive_text(message, AT_NS)

    assert error_of(drain(behaviour))["code"] == code


@pytest.mark.parametrize("audio", [None, 5, "!!!!", "AAA", "é"])
def test_audio_that_is_not_base64_is_an_error(audio: Any) -> None:
    event = {"type": "input_audio_buffer.append", "audio": audio}

    assert error_of(answers(build_behaviour(), event))["param"] == "audio"


def test_a_binary_frame_is_an_error() -> None:
    behaviour = build_behaviour()
    drain(behaviour)

    behaviour.receive_binary(b"", AT_NS)

    assert error_of(drain(behaviour))["code"] == "invalid_event"


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("none", []),
        ("after_created", ["between"]),
        ("after_done", ["after"]),
        ("both", ["between", "after"]),
    ],
)
def test_rate_limits_are_sent_at_the_place_of_the_profile(setting: str, place: list[str]) -> None:
    names = types(answers(build_behaviour(rate_limits_updated=setting), CREATE))

    done = names.index("response.done")
    seen = [
        "after" if at > done else "between"
        for at, name in enumerate(names)
        if name == "rate_limits.updated"
    ]
    assert seen == place


def test_the_same_seed_gives_the_same_events_and_instants() -> None:
    runs = [answers(build_behaviour(seed=7), append(500), COMMIT, CREATE) for _ in range(2)]
    other = answers(build_behaviour(seed=8), append(500), COMMIT, CREATE)

    assert runs[0] == runs[1]
    assert [event["due_ns"] for event in other] != [event["due_ns"] for event in runs[0]]


def test_obfuscation_pads_text_deltas_but_not_audio() -> None:
    events = answers(build_behaviour(obfuscation=True), CREATE)

    padding = [
        len(event["obfuscation"]) for event in events if event["type"].endswith("transcript.delta")
    ]
    assert all(11 <= letters <= 15 for letters in padding)
    assert not any(
        "obfuscation" in event for event in events if event["type"].endswith("audio.delta")
    )


# Tests with random events of a client.

SENSIBLE = st.sampled_from(
    [
        append(100),
        COMMIT,
        CREATE,
        TEXT_GA,
        TEXT_PREVIEW,
        user_text(),
        {"type": "response.cancel"},
        {"type": "input_audio_buffer.clear"},
        create(conversation="none"),
        {
            "type": "session.update",
            "session": {"type": "realtime", "audio": {"output": {"voice": "echo"}}},
        },
        {"type": "session.update", "session": {"voice": "echo", "turn_detection": None}},
        {
            "type": "session.update",
            "session": {"type": "realtime", "tools": [function(), function("f")]},
        },
        {"type": "session.update", "session": {"tools": [function()], "tool_choice": "required"}},
        *(output(f"call_{'a' * 12}00000000{n}") for n in (4, 5, 6)),
        *(
            {
                "type": f"conversation.item.{verb}",
                "item_id": f"item_{'a' * 12}00000000{n}",
                "content_index": 0,
                "audio_end_ms": 0,
            }
            for verb in ("delete", "truncate", "retrieve")
            for n in (2, 3, 4)
        ),
    ]
)
HOSTILE_TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "conversation.item.create",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
    "?",
)
HOSTILE_KEYS = (
    "session",
    "response",
    "item",
    "item_id",
    "audio",
    "event_id",
    "response_id",
    "previous_item_id",
    "content_index",
    "audio_end_ms",
)
HOSTILE = st.fixed_dictionaries(
    {"type": st.sampled_from(HOSTILE_TYPES) | JSON}, optional=dict.fromkeys(HOSTILE_KEYS, JSON)
)


@given(
    dialect=st.sampled_from(DIALECTS),
    script=st.lists(st.tuples(SENSIBLE | HOSTILE, st.integers(0, 2_000 * MS)), max_size=12),
)
def test_any_events_are_handled_and_each_response_is_done_once(
    dialect: WireDialect, script: list[tuple[dict[str, Any], int]]
) -> None:
    functions = FunctionCalls(
        parallel=(1, 3), rounds=2, preamble=0.5, wrong_name=0.2, wrong_arguments=0.2
    )
    behaviour = build_behaviour(
        dialect,
        rate_limits_updated="both",
        functions=functions,
        preamble=PreambleSettings(share=0.5),
    )
    now_ns, events = AT_NS, []
    for event, pause_ns in script:
        behaviour.receive(event, now_ns)
        now_ns += pause_ns
        events += drain(behaviour, now_ns)
    events += drain(behaviour)

    created = [event["response"]["id"] for event in events if event["type"] == "response.created"]
    done = [event["response"]["id"] for event in events if event["type"] == "response.done"]
    assert len(set(created)) == len(created)
    assert sorted(done) == sorted(created)
    assert all(
        done.index(response) <= created.index(response) + len(created) for response in created
    )
    assert [event["due_ns"] for event in events] == sorted(event["due_ns"] for event in events)
    assert len({event["event_id"] for event in events}) == len(events)
    assert_typed(dialect, events)
    for event in all_of(events, "response.done"):
        response = event["response"]
        announced, closed = (
            [
                item["item"]["id"]
                for item in all_of(events, f"response.output_item.{name}")
                if item["response_id"] == response["id"]
            ]
            for name in ("added", "done")
        )
        assert [item["id"] for item in response["output"]] == announced == closed
        assert all(
            item.get("status", "completed") in ("completed", "incomplete")
            for item in response["output"]
        )


def test_parameters_that_are_not_simulated_are_accepted_and_listed() -> None:
    behaviour = build_behaviour(AZURE_GA)
    before = dict(behaviour.session.shown)
    update = {
        "type": "session.update",
        "session": {"type": "realtime", "tracing": "auto", "prompt": {"id": "pmpt_1"}},
    }
    receipt = behaviour.receive(update, AT_NS)

    assert receipt.not_simulated == ["session.tracing", "session.prompt"]
    assert behaviour.session.shown == before
    assert behaviour.receive({"type": "input_audio_buffer.clear"}, AT_NS).not_simulated is None


# A limit on the tokens of an answer ends it early, and does not change the part before the limit.


AZURE = (AZURE_GA, AZURE_PREVIEW)
WORDS = len(REPLY.tokens)
AUDIO_TOKENS = REPLY.audio_ms // 50
WHOLE = WORDS + AUDIO_ANSWER_TEXT_TOKENS + AUDIO_TOKENS
LEAD = 3
FIRST_WITH_AUDIO = LEAD + AUDIO_ANSWER_TEXT_TOKENS + 1
"""The smallest limit that allows one token of audio, after the transcript that precedes the
audio."""


def create_with_limit(
    limit: Any,
    *,
    dialect: WireDialect = AZURE_GA,
    audio: bool = True,
    name: AudioFormatName = "pcm16",
) -> Any:
    """Return a response.create with a limit on output tokens; None for no limit."""
    output: dict[str, Any] = {} if limit is None else {"max_output_tokens": limit}
    if dialect.names is GA:
        output |= {"output_modalities": ["audio" if audio else "text"]}
        output |= {"audio": {"output": {"format": ga_format(FORMATS[name])}}} if audio else {}
    else:
        output |= {
            "modalities": ["audio", "text"] if audio else ["text"],
            "output_audio_format": name,
        }
    return create(**output)


def events_of(dialect: WireDialect, *events: Any) -> list[dict[str, Any]]:
    return answers(build_behaviour(dialect, transcript_lead_deltas=(LEAD, LEAD)), *events)


def deltas(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"].endswith(".delta")]


def dues(events: list[dict[str, Any]]) -> list[int]:
    return [event["due_ns"] for event in events]


def transcript_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["delta"] for event in deltas(events) if "audio.delta" not in event["type"]]


def audio_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"])
        for event in deltas(events)
        if "audio.delta" in event["type"]
    )


@given(
    limit=st.integers(1, WHOLE + 9),
    dialect=st.sampled_from(AZURE),
    audio=st.booleans(),
    name=st.sampled_from([*FORMATS]),
)
@example(limit=FIRST_WITH_AUDIO, dialect=AZURE_GA, audio=True, name="pcm16")
@example(limit=WHOLE - 1, dialect=AZURE_PREVIEW, audio=True, name="pcm16")
def test_a_truncated_response_is_a_prefix_with_matching_usage(
    limit: int, dialect: WireDialect, audio: bool, name: AudioFormatName
) -> None:
    whole = events_of(dialect, create_with_limit(None, dialect=dialect, audio=audio, name=name))
    cut = events_of(dialect, create_with_limit(limit, dialect=dialect, audio=audio, name=name))

    response, words, output_audio = done(cut), transcript_of(cut), audio_of(cut)
    usage = response["usage"]["output_token_details"]
    assert dues(deltas(cut)) == dues(deltas(whole))[: len(deltas(cut))]
    assert transcript_of(whole)[: len(words)] == words
    assert audio_of(whole).startswith(output_audio)
    assert usage["audio_tokens"] == len(output_audio) * 20 / FORMATS[name].bytes_per_s
    assert usage["text_tokens"] == len(words) + (AUDIO_ANSWER_TEXT_TOKENS if output_audio else 0)
    total, most = usage["audio_tokens"] + usage["text_tokens"], WHOLE if audio else WORDS
    assert total == min(limit, most) if limit >= FIRST_WITH_AUDIO or not audio else total <= limit
    assert (response["max_output_tokens"], response["usage"]["output_tokens"]) == (limit, total)
    assert "".join(words) in response["output"][0]["content"][0].values()
    ended = {
        "status": "incomplete",
        "status_details": {"type": "incomplete", "reason": "max_output_tokens"},
    }
    assert response.items() >= (ended if limit < most else {"status": "completed"}).items()
    assert [item["status"] for item in response["output"]] == [response["status"]]
    assert without_deltas(cut) == without_deltas(whole)
    assert dues(cut) == sorted(dues(cut))


@pytest.mark.parametrize(
    ("dialect", "session"),
    [
        (AZURE_GA, {"type": "realtime", "max_output_tokens": 30}),
        (AZURE_PREVIEW, {"max_response_output_tokens": 30}),
    ],
)
def test_the_token_limit_of_a_session_applies_unless_a_response_overrides_it(
    dialect: WireDialect, session: dict[str, Any]
) -> None:
    update = {"type": "session.update", "session": session}

    by_session = events_of(dialect, update, {"type": "response.create"})
    by_response = events_of(dialect, update, create_with_limit("inf", dialect=dialect))

    assert done(by_session)["usage"]["output_tokens"] == 30
    assert done(by_response)["status"] == "completed"


@pytest.mark.parametrize(("dialect", "most"), [(AZURE_GA, 32_000), (AZURE_PREVIEW, 4096)])
def test_a_token_limit_above_the_maximum_of_the_model_is_refused(
    dialect: WireDialect, most: int
) -> None:
    largest, beyond = (
        events_of(dialect, create_with_limit(limit, dialect=dialect)) for limit in (most, most + 1)
    )

    assert done(largest)["status"] == "completed"
    assert one(beyond, "error")["error"]["param"] == "response.max_output_tokens"
