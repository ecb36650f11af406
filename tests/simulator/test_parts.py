"""Answers in parts: a commentary, a pause, and the answer."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.behaviour import Behaviour
from bench.simulator.delay import LogNormal
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
    create,
    done,
    drain,
    listening,
    session_update,
    sound,
    squeezed,
    talk,
    types,
    user_text,
    without_deltas,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
ALWAYS = AnswerParts(share=1.0)
ITEM = ["response.output_item.added", "conversation.item.added", "response.content_part.added",
        "response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done",
        "conversation.item.done", "response.output_item.done"]  # fmt: skip


def in_parts(dialect: WireDialect = AZURE_GA, **changes: Any) -> Behaviour:
    return build_behaviour(dialect, preamble=ALWAYS, **changes)


def reasoning(effort: str) -> dict[str, Any]:
    return create(reasoning={"effort": effort})


def test_a_commentary_is_whole_before_the_answer_begins() -> None:
    events = answers(in_parts(), user_text(), CREATE)

    assert without_deltas(events)[2:] == ["response.created", *ITEM, *ITEM, "response.done", "rate_limits.updated"]
    commentary, answer = done(events)["output"]
    assert (commentary["phase"], answer["phase"]) == ("commentary", "final_answer")
    assert [event["item"]["phase"] for event in all_of(events, "output_item.added")] == ["commentary", "final_answer"]
    assert_typed(AZURE_GA, events)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("audio", [True, False])
def test_each_part_has_its_own_place_words_and_audio(dialect: WireDialect, audio: bool) -> None:
    kinds = "output_modalities" if dialect.names is GA else "modalities"
    text = create(**{kinds: ["text"]})
    events = answers(in_parts(dialect), CREATE if audio else text)

    response = done(events)
    names = ("transcript.delta", "audio.delta") if audio else ("text.delta",)
    for place, item in enumerate(response["output"]):
        ends = [event for name in names for event in all_of(events, name) if event["output_index"] == place]
        assert {event["item_id"] for event in ends} == {item["id"]}
        assert "".join(event["delta"] for event in ends if not event["type"].endswith("audio.delta")) == HELLO
        assert HELLO in item["content"][0].values()
    seconds = REPLY.audio_ms * 2 // 50 if audio else 0
    assert response["usage"]["output_token_details"]["audio_tokens"] == seconds
    assert_typed(dialect, events)


def test_the_pause_runs_from_the_end_of_the_commentary_to_the_first_audio_of_the_answer() -> None:
    behaviour = listening(None, preamble=ALWAYS, delays={"answer_pause": 400, "first_audio": 500})
    behaviour.receive(CREATE, AT_NS)

    events = drain(behaviour)

    closed_ns = all_of(events, "output_item.done")[0]["due_ns"]
    firsts_ns = [next(event["due_ns"] for event in all_of(events, "audio.delta") if event["output_index"] == place)
                 for place in (0, 1)]  # fmt: skip
    assert firsts_ns[0] - AT_NS == 500 * MS
    assert firsts_ns[1] - closed_ns == 400 * MS


@pytest.mark.parametrize(
    ("parts", "phases"),
    [(AnswerParts(), {None}), (AnswerParts(share=1.0, phases=False), {None}),
     (AnswerParts(share=1e-9), {"final_answer"}), (ALWAYS, {"commentary", "final_answer"})],
)  # fmt: skip
def test_messages_tell_their_phase_where_any_answer_has_parts(parts: AnswerParts, phases: set[str | None]) -> None:
    events = answers(build_behaviour(preamble=parts), CREATE)

    assert {item.get("phase") for item in done(events)["output"]} == phases


def test_so_many_answers_have_parts_as_the_profile_says() -> None:
    def counts(seed: int) -> list[int]:
        behaviour = build_behaviour(seed=seed, preamble=AnswerParts(share=0.5))
        return [len(done(answers(behaviour, CREATE))["output"]) for _ in range(12)]

    assert counts(1) == counts(1) != counts(2)
    assert set(counts(1)) == {1, 2}


@pytest.mark.parametrize(("effort", "reasoning_ms"), [("low", 300), ("high", 2000), ("minimal", 0)])
def test_reasoning_delays_the_answer_by_its_effort(effort: str, reasoning_ms: float) -> None:
    efforts = {"low": LogNormal(300, 300), "high": LogNormal(2000, 2000)}

    def first_audio_ms(session: dict[str, Any], message: dict[str, Any]) -> float:
        behaviour = listening(None, reasoning_ms=efforts, delays={"first_audio": 500})
        answers(behaviour, session_update(AZURE_GA, **session))
        return (all_of(answers(behaviour, message), "audio.delta")[0]["due_ns"] - AT_NS) / MS

    assert first_audio_ms({}, CREATE) == 500
    assert first_audio_ms({}, reasoning(effort)) == 500 + reasoning_ms
    assert first_audio_ms({"reasoning": {"effort": effort}}, CREATE) == 500 + reasoning_ms
    assert first_audio_ms({"reasoning": {"effort": "high"}}, reasoning(effort)) == 500 + reasoning_ms


def test_an_effort_that_nobody_knows_is_an_error() -> None:
    (error,) = answers(build_behaviour(), reasoning("much"))

    assert (error["error"]["code"], error["error"]["param"]) == ("invalid_value", "response.reasoning.effort")


@pytest.mark.parametrize("place", [0, 1])
def test_speech_over_a_part_closes_that_part_and_opens_no_further_one(place: int) -> None:
    behaviour = listening(preamble=ALWAYS, generation_speed=2.0, delays={"first_audio": 300, "answer_pause": 300})
    behaviour.receive(CREATE, AT_NS)
    at_ns = AT_NS + (SECOND if place == 0 else 2 * SECOND)
    events = drain(behaviour, at_ns)

    events += talk(behaviour, sound(200), at_ns) + drain(behaviour)

    response = done(events)
    assert [item["status"] for item in response["output"]] == ["completed"] * place + ["incomplete"]
    assert response["status"] == "cancelled"
    assert [event["item"]["id"] for event in all_of(events, "output_item.done")] == [
        x["id"] for x in response["output"]
    ]
    assert_typed(AZURE_GA, events)


def test_a_cap_in_the_answer_leaves_the_commentary_whole() -> None:
    whole = answers(in_parts(), CREATE)
    of_one = done(whole)["usage"]["output_tokens"] // 2
    events = answers(in_parts(), create(max_output_tokens=of_one + 20))

    response = done(events)
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert (response["status"], response["usage"]["output_tokens"]) == ("incomplete", of_one + 20)
    assert squeezed(types(events))[-2:] == ["response.done", "rate_limits.updated"]


def test_a_cap_in_the_commentary_leaves_no_answer() -> None:
    events = answers(in_parts(), create(max_output_tokens=20))

    assert [item["phase"] for item in done(events)["output"]] == ["commentary"]
    assert done(events)["usage"]["output_tokens"] == 20


def test_the_idle_timeout_waits_until_both_parts_were_played() -> None:
    behaviour = listening({"type": "server_vad", "idle_timeout_ms": 5000}, preamble=ALWAYS, generation_speed=4.0)
    behaviour.receive(CREATE, AT_NS)

    events = drain(behaviour, AT_NS + 30 * SECOND)

    first_ns = all_of(events, "audio.delta")[0]["due_ns"]
    timeout_ns = next(event["due_ns"] for event in events if event["type"].endswith("timeout_triggered"))
    assert timeout_ns - first_ns == (2 * REPLY.audio_ms + 5000) * MS
