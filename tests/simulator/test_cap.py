"""A cap on the tokens of an answer cuts it there, and changes nothing of what comes before."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import FORMATS
from bench.protocol.openai_ga import ga_format
from bench.simulator.answering.plan import AUDIO_ANSWER_TEXT_TOKENS
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, WireDialect
from tests.simulator.builders import REPLY, answers, build_behaviour, create, done, one, without_deltas

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
WORDS = len(REPLY.tokens)
AUDIO_TOKENS = REPLY.audio_ms // 50
WHOLE = WORDS + AUDIO_ANSWER_TEXT_TOKENS + AUDIO_TOKENS
LEAD = 3
FIRST_WITH_AUDIO = LEAD + AUDIO_ANSWER_TEXT_TOKENS + 1
"""The smallest cap with room for a token of audio, behind as much transcript as is ahead of it."""


def asked(cap: Any, *, dialect: WireDialect = AZURE_GA, audio: bool = True, name: AudioFormatName = "pcm16") -> Any:
    """A response.create with a cap; None: without."""
    output: dict[str, Any] = {} if cap is None else {"max_output_tokens": cap}
    if dialect.names is GA:
        output |= {"output_modalities": ["audio" if audio else "text"]}
        output |= {"audio": {"output": {"format": ga_format(FORMATS[name])}}} if audio else {}
    else:
        output |= {"modalities": ["audio", "text"] if audio else ["text"], "output_audio_format": name}
    return create(**output)


def answered(dialect: WireDialect, *events: Any) -> list[dict[str, Any]]:
    return answers(build_behaviour(dialect, transcript_lead_deltas=(LEAD, LEAD)), *events)


def deltas(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"].endswith(".delta")]


def dues(events: list[dict[str, Any]]) -> list[int]:
    return [event["due_ns"] for event in events]


def said(events: list[dict[str, Any]]) -> list[str]:
    return [event["delta"] for event in deltas(events) if "audio.delta" not in event["type"]]


def audio_of(events: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in deltas(events) if "audio.delta" in event["type"])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("audio", "cap"), [(True, FIRST_WITH_AUDIO), (True, 30), (True, WHOLE - 1), (False, 4)])
def test_an_answer_ends_as_incomplete_with_as_many_tokens_as_the_cap_allows(
    dialect: WireDialect, audio: bool, cap: int
) -> None:
    response = done(answered(dialect, asked(cap, dialect=dialect, audio=audio)))

    assert response["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == response["max_output_tokens"] == cap
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["incomplete"]


@given(cap=st.integers(1, WHOLE + 9), dialect=st.sampled_from(DIALECTS), audio=st.booleans(),
       name=st.sampled_from([*FORMATS]))  # fmt: skip
def test_a_cut_answer_is_the_beginning_of_the_whole_one_and_its_usage_is_of_what_was_said(
    cap: int, dialect: WireDialect, audio: bool, name: AudioFormatName
) -> None:
    whole = answered(dialect, asked(None, dialect=dialect, audio=audio, name=name))
    cut = answered(dialect, asked(cap, dialect=dialect, audio=audio, name=name))

    response, words, heard = done(cut), said(cut), audio_of(cut)
    usage = response["usage"]["output_token_details"]
    assert dues(deltas(cut)) == dues(deltas(whole))[: len(deltas(cut))]
    assert said(whole)[: len(words)] == words
    assert audio_of(whole).startswith(heard)
    assert usage["audio_tokens"] == len(heard) * 20 / FORMATS[name].bytes_per_s
    assert usage["text_tokens"] == len(words) + (AUDIO_ANSWER_TEXT_TOKENS if heard else 0)
    assert usage["audio_tokens"] + usage["text_tokens"] <= cap
    assert "".join(words) in response["output"][0]["content"][0].values()
    assert (response["status"] == "completed") == (cap >= (WHOLE if audio else WORDS))
    assert without_deltas(cut) == without_deltas(whole)
    assert dues(cut) == sorted(dues(cut))


@pytest.mark.parametrize("cap", ["inf", WHOLE, 4096])
def test_a_cap_that_the_answer_does_not_reach_changes_nothing(cap: Any) -> None:
    without, capped = answered(AZURE_GA, asked(None)), answered(AZURE_GA, asked(cap))

    for event in (*without, *capped):
        event.get("response", {}).pop("max_output_tokens", None)
    assert capped == without


@pytest.mark.parametrize(
    ("dialect", "session"),
    [
        (AZURE_GA, {"type": "realtime", "max_output_tokens": 30}),
        (AZURE_PREVIEW, {"max_response_output_tokens": 30}),
    ],
)
def test_the_session_s_cap_is_that_of_its_responses_unless_they_say_another(
    dialect: WireDialect, session: dict[str, Any]
) -> None:
    update = {"type": "session.update", "session": session}

    by_session = answered(dialect, update, {"type": "response.create"})
    by_response = answered(dialect, update, asked("inf", dialect=dialect))

    assert done(by_session)["usage"]["output_tokens"] == 30
    assert done(by_response)["status"] == "completed"


def test_a_cap_too_small_for_the_first_audio_leaves_the_words_ahead_of_it() -> None:
    events = answered(AZURE_GA, asked(FIRST_WITH_AUDIO - 1))

    assert len(deltas(events)) == LEAD
    assert done(events)["usage"]["output_tokens"] == LEAD


def test_a_cap_with_room_for_nothing_still_gives_one_done() -> None:
    behaviour = build_behaviour(transcript_lead_deltas=(0, 0))
    events = answers(behaviour, asked(1))

    assert deltas(events) == []
    assert done(events)["usage"]["output_tokens"] == 0
    assert dues(events) == sorted(dues(events))


def test_the_same_cap_cuts_the_same_way() -> None:
    assert answered(AZURE_GA, asked(40)) == answered(AZURE_GA, asked(40))


@pytest.mark.parametrize(("dialect", "most"), [(AZURE_GA, 32_000), (AZURE_PREVIEW, 4096)])
def test_no_cap_is_larger_than_what_a_model_can_say(dialect: WireDialect, most: int) -> None:
    largest, beyond = (answered(dialect, asked(cap, dialect=dialect)) for cap in (most, most + 1))

    assert done(largest)["status"] == "completed"
    assert one(beyond, "error")["error"]["param"] == "response.max_output_tokens"
