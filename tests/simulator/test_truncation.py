"""A truncate cuts an item: its audio, its transcript, its tokens, and what a later truncate is judged by."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.audio import AudioFormatName
from bench.protocol.openai import FORMATS
from bench.protocol.openai_ga import ga_format
from bench.simulator.behaviour import Behaviour
from bench.simulator.profile import AnswerParts
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, WireDialect
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    HELLO,
    MS,
    REPLY,
    SECOND,
    all_of,
    answers,
    build_behaviour,
    done,
    drain,
    one,
    user_text,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
LENGTH_MS = REPLY.audio_ms


def truncate(item_id: str, audio_end_ms: Any) -> dict[str, Any]:
    return {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}


def retrieve(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.retrieve", "item_id": item_id}


def create(dialect: WireDialect, name: AudioFormatName) -> dict[str, Any]:
    in_ga = {"audio": {"output": {"format": ga_format(FORMATS[name])}}}
    told = in_ga if dialect.names is GA else {"output_audio_format": name}
    return {"type": "response.create", "response": told}


def spoken(behaviour: Behaviour, message: dict[str, Any] = CREATE) -> str:
    """The id of the item that a whole response has made."""
    item_id: str = one(answers(behaviour, message), "output_item.added")["item"]["id"]
    return item_id


def input_tokens(behaviour: Behaviour) -> int:
    """The input of a response that adds nothing to the conversation."""
    aside = {"type": "response.create", "response": {"conversation": "none"}}
    tokens: int = done(answers(behaviour, aside))["usage"]["input_tokens"]
    return tokens


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_retrieved_ends_where_the_item_was_cut(dialect: WireDialect, name: AudioFormatName) -> None:
    behaviour = build_behaviour(dialect)
    item_id = spoken(behaviour, create(dialect, name))
    (whole,) = answers(behaviour, retrieve(item_id))

    truncated, cut = answers(behaviour, truncate(item_id, 733), retrieve(item_id))

    before, after = (event["item"]["content"][0] for event in (whole, cut))
    kept = base64.b64decode(after["audio"])
    assert base64.b64decode(before["audio"]).startswith(kept)
    assert len(kept) == 733 * FORMATS[name].bytes_per_s // 1000
    assert (before["transcript"], after["transcript"]) == (HELLO, None)
    assert truncated["item_id"] == item_id
    assert_typed(dialect, [whole, truncated, cut])


def test_the_length_that_counts_is_that_of_the_last_cut() -> None:
    behaviour = build_behaviour()
    item_id = spoken(behaviour)
    ends_ms = [LENGTH_MS + 1, LENGTH_MS, 900, 901, 900, 100, 500]

    events = answers(behaviour, *(truncate(item_id, end_ms) for end_ms in ends_ms))

    errors = {place: event["error"] for place, event in enumerate(events) if event["type"] == "error"}
    assert list(errors) == [0, 3, 6]
    assert {error["code"] for error in errors.values()} == {"invalid_value"}
    assert errors[0]["message"] == f"Audio content of {LENGTH_MS}ms is already shorter than {LENGTH_MS + 1}ms"
    assert errors[6]["message"] == "Audio content of 100ms is already shorter than 500ms"


@pytest.mark.parametrize("end_ms", [500.5, -1, None, "500", True])
def test_an_end_that_is_no_whole_number_of_milliseconds_is_an_error(end_ms: Any) -> None:
    behaviour = build_behaviour()
    (event,) = answers(behaviour, truncate(spoken(behaviour), end_ms))

    assert event["error"]["param"] == "audio_end_ms"


@given(end_ms=st.integers(0, LENGTH_MS))
def test_responses_read_what_is_left_of_the_audio_and_no_words(end_ms: int) -> None:
    behaviour = build_behaviour()
    empty = input_tokens(behaviour)
    item_id = spoken(behaviour)
    answers(behaviour, truncate(item_id, end_ms))

    assert input_tokens(behaviour) - empty == -(-end_ms // 50)


def test_a_deleted_item_is_neither_read_nor_found_any_more() -> None:
    behaviour = build_behaviour()
    empty = input_tokens(behaviour)
    item_id = spoken(behaviour)
    whole = input_tokens(behaviour)
    answers(behaviour, {"type": "conversation.item.delete", "item_id": item_id})

    (gone,) = answers(behaviour, retrieve(item_id))
    assert gone["error"]["code"] == "item_retrieve_invalid_item_id"
    assert input_tokens(behaviour) == empty < whole


def test_a_client_interrupts_by_cancel_and_truncate_in_one_instant() -> None:
    behaviour = build_behaviour(generation_speed=2.0)
    drain(behaviour)
    behaviour.receive(CREATE, AT_NS)
    before = drain(behaviour, AT_NS + SECOND)
    item_id = one(before, "output_item.added")["item"]["id"]

    behaviour.receive({"type": "response.cancel"}, AT_NS + SECOND)
    behaviour.receive(truncate(item_id, 100), AT_NS + SECOND)
    events = before + drain(behaviour)
    (kept,) = answers(behaviour, retrieve(item_id))

    response = done(events)
    sent_ms = sum(len(base64.b64decode(event["delta"])) for event in all_of(events, "audio.delta")) // 48
    assert response["usage"]["output_token_details"]["audio_tokens"] == sent_ms // 50 > 2
    assert one(events, "transcript.done")["transcript"]
    assert len(base64.b64decode(kept["item"]["content"][0]["audio"])) == 100 * 48
    assert kept["item"]["content"][0]["transcript"] is None
    assert_typed(AZURE_GA, [*events, kept])


def test_more_than_was_sent_of_an_item_cannot_be_kept_while_it_is_made() -> None:
    behaviour = build_behaviour(generation_speed=1.0)
    drain(behaviour)
    behaviour.receive(CREATE, AT_NS)
    before = drain(behaviour, AT_NS + SECOND)
    sent_ms = sum(len(base64.b64decode(event["delta"])) for event in all_of(before, "audio.delta")) // 48

    assert 0 < sent_ms < LENGTH_MS
    behaviour.receive(truncate(one(before, "output_item.added")["item"]["id"], sent_ms + 1), AT_NS + SECOND)
    error = one(drain(behaviour), "error")["error"]
    assert error["message"] == f"Audio content of {sent_ms}ms is already shorter than {sent_ms + 1}ms"


def test_each_item_of_an_answer_in_parts_has_a_length_of_its_own() -> None:
    behaviour = build_behaviour(preamble=AnswerParts(share=1.0))
    commentary, answer = (event["item"]["id"] for event in all_of(answers(behaviour, CREATE), "output_item.added"))

    events = answers(behaviour, truncate(answer, LENGTH_MS + 1), truncate(answer, 300), truncate(commentary, 400))

    assert [event["type"] for event in events] == ["error", *["conversation.item.truncated"] * 2]


def test_only_what_the_model_has_spoken_can_be_truncated() -> None:
    behaviour = build_behaviour()
    said = answers(behaviour, user_text())[0]["item"]["id"]
    written = spoken(behaviour, {"type": "response.create", "response": {"output_modalities": ["text"]}})

    errors = [event["error"] for event in answers(behaviour, truncate(said, 0), truncate(written, 0))]

    assert [error["code"] for error in errors] == [None, None]
    assert {error["message"] for error in errors} == {"Only model output audio messages can be truncated"}


def test_the_truth_log_is_told_what_a_truncate_left() -> None:
    behaviour = build_behaviour()
    item_id = spoken(behaviour)

    taken = behaviour.receive(truncate(item_id, 700), AT_NS)
    refused = behaviour.receive(truncate(item_id, 701), AT_NS)
    sent = [event.item_id for event in behaviour.due(AT_NS + 1000 * MS)]

    assert (taken.item_id, taken.audio_end_ms) == (item_id, 700)
    assert (refused.item_id, refused.audio_end_ms) == (None, None)
    assert sent == [item_id, None]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_truncate_that_is_ignored_is_acknowledged_and_everything_stays(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect, ignored_truncate_share=1.0)
    item_id = spoken(behaviour)
    (whole,) = answers(behaviour, retrieve(item_id))
    before = input_tokens(behaviour)

    truncated, kept = answers(behaviour, truncate(item_id, 733), retrieve(item_id))
    receipt = behaviour.receive(truncate(item_id, 500), AT_NS)

    assert (truncated["type"], truncated["audio_end_ms"]) == ("conversation.item.truncated", 733)
    assert kept["item"] == whole["item"]
    assert input_tokens(behaviour) == before
    assert receipt.audio_end_ms == LENGTH_MS


def test_so_many_truncates_are_ignored_as_the_profile_says_by_the_seed() -> None:
    def ignored(seed: int) -> list[bool]:
        behaviour = build_behaviour(seed=seed, ignored_truncate_share=0.5)
        items = [spoken(behaviour) for _ in range(12)]
        shown = [answers(behaviour, truncate(item_id, 100), retrieve(item_id))[-1] for item_id in items]
        return [event["item"]["content"][0]["transcript"] is not None for event in shown]

    assert ignored(1) == ignored(1) != ignored(2)
    assert set(ignored(1)) == {True, False}
