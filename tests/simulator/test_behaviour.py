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
    build_behaviour,
    create,
    done,
    drain,
    function,
    output,
    types,
    user_text,
    without_deltas,
)
from tests.simulator.sdk_types import assert_typed

TEXT_GA, TEXT_PREVIEW = create(output_modalities=["text"]), create(modalities=["text"])
DIALECTS = (AZURE_GA, AZURE_PREVIEW, OPENAI_GA, OPENAI_PREVIEW)


@pytest.mark.parametrize("seed", range(20))
def test_three_to_five_transcript_deltas_precede_the_first_audio(seed: int) -> None:
    names = types(answers(build_behaviour(seed=seed), CREATE))

    ahead = names[: names.index("response.output_audio.delta")].count(
        "response.output_audio_transcript.delta"
    )
    assert 3 <= ahead <= 5


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
