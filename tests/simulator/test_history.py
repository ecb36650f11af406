"""A response reads the whole conversation again: what that costs, what of it is cached, what has no room."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.behaviour import Behaviour
from bench.simulator.conversation.client_items import IMAGE_TOKENS
from bench.simulator.profile import ReadingTime, TokenCache
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, WireDialect
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    MS,
    all_of,
    answers,
    append,
    build_behaviour,
    create,
    done,
    function,
    listening,
    one,
    session_update,
    types,
    user_text,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
EXACT = TokenCache(block_tokens=1)
"""A cache that misses nothing of what is the same."""
IMAGE = "data:image/png;base64,iVBORw0KGgo="


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": {"type": "message", "role": role, "content": list(parts)}}


def image(**settings: Any) -> dict[str, Any]:
    return message("user", {"type": "input_image", "image_url": IMAGE} | settings)


def text(letters: int) -> dict[str, Any]:
    return user_text("x" * letters)


def written(dialect: WireDialect = AZURE_GA, **response: Any) -> dict[str, Any]:
    """A response.create whose answer is text, of as many tokens each time, and that reads short instructions."""
    kinds = "output_modalities" if dialect.names is GA else "modalities"
    return {"type": "response.create", "response": {kinds: ["text"], "instructions": "Hum.", **response}}


def usage(behaviour: Behaviour, *events: dict[str, Any]) -> dict[str, Any]:
    """That of the one response that follows from the events."""
    told: dict[str, Any] = done(answers(behaviour, *events))["usage"]
    return told


def kinds(details: dict[str, Any]) -> tuple[int, int, int]:
    return details["text_tokens"], details["audio_tokens"], details["image_tokens"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_texts_and_audio_of_all_turns_are_read_again(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect)

    first = usage(behaviour, text(40), written(dialect))
    second = usage(behaviour, append(1000), COMMIT, written(dialect))
    third = usage(behaviour, message("system", {"type": "input_text", "text": "x" * 20}), written(dialect))

    answer = first["output_tokens"]
    assert (first["input_tokens"], second["input_tokens"]) == (1 + 10, 1 + 10 + answer + 10)
    assert third["input_tokens"] == 1 + 10 + answer + 10 + answer + 5
    assert third["input_token_details"]["audio_tokens"] == 10


def test_audio_that_was_spoken_is_read_with_its_words() -> None:
    behaviour = build_behaviour()

    first, second = usage(behaviour, CREATE), usage(behaviour, CREATE)

    assert second["input_tokens"] - first["input_tokens"] == first["output_tokens"]
    assert second["input_token_details"]["audio_tokens"] == first["output_token_details"]["audio_tokens"]


@pytest.mark.parametrize("detail", [None, *IMAGE_TOKENS])
def test_an_image_costs_tokens_of_its_own_kind_by_its_detail(detail: str | None) -> None:
    behaviour, tokens = build_behaviour(cache=EXACT), IMAGE_TOKENS[detail or "auto"]
    created = answers(behaviour, image(detail=detail))

    first, second = (usage(behaviour, written())["input_token_details"] for _ in range(2))

    assert first["image_tokens"] == second["image_tokens"] == tokens
    assert second["cached_tokens_details"]["image_tokens"] == tokens
    assert_typed(AZURE_GA, created)


@pytest.mark.parametrize(
    ("settings", "code", "param"),
    [
        ({"image_url": None}, "missing_required_parameter", "item.content[0].image_url"),
        ({"image_url": "https://example.com/a.png"}, "invalid_value", "item.content[0].image_url"),
        ({"detail": "huge"}, "invalid_value", "item.content[0].detail"),
    ],
)
def test_an_image_that_the_service_would_not_take_is_an_error(settings: dict[str, Any], code: str, param: str) -> None:
    (event,) = answers(build_behaviour(), image(**settings))

    assert (event["error"]["code"], event["error"]["param"]) == (code, param)


def test_tools_are_read_too() -> None:
    without = usage(build_behaviour(), written())
    behaviour = build_behaviour()
    answers(behaviour, session_update(AZURE_GA, tools=[function()]))

    assert usage(behaviour, written())["input_tokens"] > without["input_tokens"]


def test_a_response_with_an_input_of_its_own_reads_nothing_else_and_leaves_the_cache_alone() -> None:
    behaviour = build_behaviour(cache=EXACT)
    first = usage(behaviour, text(400), written())
    aside = written(conversation="none", metadata={"topic": "aside"}, input=[text(40)["item"]])

    own = usage(behaviour, aside)
    second = usage(behaviour, text(4), written())

    assert own["input_tokens"] == 1 + 10
    assert own["input_token_details"]["cached_tokens"] == 1
    assert second["input_tokens"] == first["input_tokens"] + first["output_tokens"] + 1
    assert second["input_token_details"]["cached_tokens"] == first["input_tokens"]


# The cache


@given(
    letters=st.lists(st.integers(0, 2000), min_size=2, max_size=5), block=st.integers(1, 200), least=st.integers(0, 500)
)
def test_what_the_last_response_has_read_is_cached_in_whole_blocks(letters: list[int], block: int, least: int) -> None:
    behaviour = build_behaviour(cache=TokenCache(least, block))
    before = 0
    for count in letters:
        told = usage(behaviour, text(count), append(300), COMMIT, written())
        details = told["input_token_details"]
        expected = before - before % block if before >= least else 0
        assert details["cached_tokens"] == sum(kinds(details["cached_tokens_details"])) == expected
        before = told["input_tokens"]


def test_the_kinds_that_are_cached_are_those_that_come_first() -> None:
    behaviour = build_behaviour(cache=TokenCache(0, 64))
    usage(behaviour, text(80), append(10_000), COMMIT, written())

    details = usage(behaviour, written())["input_token_details"]

    assert kinds(details["cached_tokens_details"]) == (1 + 20, 64 - 21, 0)


def spoil_by_deleting(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.delete", "item_id": item_id}


def spoil_by_truncating(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 500}


def spoil_by_inserting(item_id: str) -> dict[str, Any]:
    return text(4) | {"previous_item_id": "root"}


@pytest.mark.parametrize(
    ("spoil", "cached"),
    [(spoil_by_deleting, 1 + 10), (spoil_by_truncating, 1 + 10), (spoil_by_inserting, 1)],
)
def test_what_changes_in_mid_conversation_ends_what_is_found_in_the_cache(spoil: Any, cached: int) -> None:
    behaviour = build_behaviour(cache=EXACT)
    spoken = {"type": "response.create", "response": {"instructions": "Hum."}}
    item_id = one(answers(behaviour, text(40), spoken), "output_item.added")["item"]["id"]
    usage(behaviour, text(40), written())
    answers(behaviour, spoil(item_id))

    assert usage(behaviour, written())["input_token_details"]["cached_tokens"] == cached


def test_other_instructions_find_nothing_in_the_cache() -> None:
    behaviour = build_behaviour(cache=EXACT)
    usage(behaviour, text(400), written())

    assert usage(behaviour, written(instructions="Sing!"))["input_token_details"]["cached_tokens"] == 0


CHANGES = st.one_of(
    st.tuples(st.sampled_from(["text", "ahead"]), st.integers(0, 100)),
    st.tuples(st.just("audio"), st.integers(100, 3000)),
    st.tuples(st.just("image"), st.sampled_from(sorted(IMAGE_TOKENS))),
    st.tuples(st.sampled_from(["speak", "write"]), st.none()),
    st.tuples(st.sampled_from(["truncate", "delete"]), st.integers(0, 20)),
)


class Books:
    """Keeps what each item costs, (text, audio, image), apart from the simulator."""

    def __init__(self) -> None:
        self.behaviour = build_behaviour(cache=EXACT)
        self.items: list[tuple[str, tuple[int, int, int]]] = []
        self.spoken_ms: dict[str, int] = {}
        self.read: list[tuple[str, tuple[int, int, int]]] = []  # by the last response, with the instructions

    def change(self, kind: str, value: Any) -> None:
        if kind in ("speak", "write"):
            self._answer(kind == "speak")
        elif kind in ("truncate", "delete"):
            self._cut_or_delete(kind, value)
        else:
            self._add(kind, value)

    def _add(self, kind: str, value: Any) -> None:
        made = {
            "text": lambda: ([text(value)], (-(-value // 4), 0, 0)),
            "ahead": lambda: ([text(value) | {"previous_item_id": "root"}], (-(-value // 4), 0, 0)),
            "audio": lambda: ([append(value), COMMIT], (0, -(-value // 100), 0)),
            "image": lambda: ([image(detail=value)], (0, 0, IMAGE_TOKENS[value])),
        }
        events, tokens = made[kind]()
        item_id = all_of(answers(self.behaviour, *events), "item.added")[0]["item"]["id"]
        self.items.insert(0 if kind == "ahead" else len(self.items), (item_id, tokens))

    def _answer(self, spoken: bool) -> None:
        told = {"output_modalities": ["audio" if spoken else "text"], "instructions": "Hum."}
        response = one(answers(self.behaviour, create(**told)), "response.done")["response"]
        details, item_id = response["usage"]["output_token_details"], response["output"][0]["id"]
        self.expect(response["usage"]["input_token_details"])
        self.items.append((item_id, (details["text_tokens"], details["audio_tokens"], 0)))
        if spoken:
            self.spoken_ms[item_id] = details["audio_tokens"] * 50

    def _cut_or_delete(self, kind: str, number: int) -> None:
        ids = [item_id for item_id, _ in self.items if kind == "delete" or item_id in self.spoken_ms]
        if not ids:
            return
        item_id = ids[number % len(ids)]
        place = [known for known, _ in self.items].index(item_id)
        if kind == "delete":
            answers(self.behaviour, spoil_by_deleting(item_id))
            del self.items[place]
            self.spoken_ms.pop(item_id, None)
        else:
            self.spoken_ms[item_id] = self.spoken_ms[item_id] * number // 20
            cut = spoil_by_truncating(item_id) | {"audio_end_ms": self.spoken_ms[item_id]}
            assert types(answers(self.behaviour, cut)) == ["conversation.item.truncated"]
            self.items[place] = item_id, (0, -(-self.spoken_ms[item_id] // 50), 0)

    def expect(self, details: dict[str, Any]) -> None:
        """Hold what a response says that it read against the books."""
        now = [("Hum.", (1, 0, 0)), *self.items]
        same = list(takewhile(lambda pair: pair[0] == pair[1], zip(now, self.read, strict=False)))
        assert kinds(details) == tuple(map(sum, zip(*(tokens for _, tokens in now), strict=True)))
        cached = tuple(map(sum, zip(*(part[1] for part, _ in same), strict=True))) or (0, 0, 0)
        assert kinds(details["cached_tokens_details"]) == cached
        self.read = now


@given(changes=st.lists(CHANGES, max_size=15))
def test_whatever_becomes_of_its_items_a_conversation_costs_what_they_come_to(changes: list[tuple[str, Any]]) -> None:
    books = Books()
    for kind, value in changes:
        books.change(kind, value)
    books.change("write", None)


# Reading takes time


@pytest.mark.parametrize(
    ("cache", "expected_ms"), [(TokenCache(min_tokens=1_000_000), 1001 * 0.5), (EXACT, 1001 * 0.1)]
)
def test_the_context_delays_the_first_audio_by_its_tokens_cached_and_not(cache: TokenCache, expected_ms: float) -> None:
    reading = ReadingTime(ms_per_1000_tokens=500, ms_per_1000_cached_tokens=100)
    behaviour = listening(None, cache=cache, context_latency=reading, delays={"first_text": 300})
    usage(behaviour, text(4000), written(conversation="none"))

    events = answers(behaviour, written())

    assert (all_of(events, "text.delta")[0]["due_ns"] - AT_NS) / MS == pytest.approx(300 + expected_ms)


def test_the_truth_log_is_told_what_was_read_and_how_a_response_ended() -> None:
    behaviour = build_behaviour(cache=EXACT)
    first = usage(behaviour, text(40), written())
    behaviour.receive(written(), AT_NS)
    behaviour.receive({"type": "response.cancel"}, AT_NS)

    (facts,) = [event.facts for event in behaviour.due(1 << 62) if event.type == "response.done"]

    assert facts == {
        "status": "cancelled",
        "input_tokens": first["total_tokens"],
        "cached_tokens": first["input_tokens"],
    }


# No room


def truncating(truncation: Any, limit_tokens: int | None = 101, **changes: Any) -> Behaviour:
    """A session of a model that reads 100 tokens behind the short instructions."""
    behaviour = build_behaviour(context_limit_tokens=limit_tokens, cache=EXACT, **changes)
    answers(behaviour, session_update(AZURE_GA, truncation=truncation))
    return behaviour


def read_by_turns(behaviour: Behaviour, turns: int) -> list[int]:
    """The input of each response behind the instructions, each turn being 20 tokens and its answer not kept."""
    return [usage(behaviour, text(80), written(conversation="none"))["input_tokens"] - 1 for _ in range(turns)]


def test_the_oldest_items_are_left_out_where_there_is_no_room() -> None:
    assert read_by_turns(truncating("auto"), 8) == [20, 40, 60, 80, 100, 100, 100, 100]


def test_a_retention_ratio_makes_room_for_several_turns() -> None:
    setting = {"type": "retention_ratio", "retention_ratio": 0.6}

    assert read_by_turns(truncating(setting), 9) == [20, 40, 60, 80, 100, 60, 80, 100, 60]


@pytest.mark.parametrize("limit_tokens", [None, 101])
def test_a_client_may_set_a_limit_of_its_own(limit_tokens: int | None) -> None:
    setting = {"type": "retention_ratio", "retention_ratio": 1, "token_limits": {"post_instructions": 60}}

    assert read_by_turns(truncating(setting, limit_tokens), 5) == [20, 40, 60, 60, 60]


def test_without_truncation_a_response_that_has_no_room_fails_and_later_ones_may_not() -> None:
    behaviour = truncating("disabled")
    read_by_turns(behaviour, 5)

    (item_id,) = [event["item"]["id"] for event in all_of(answers(behaviour, text(80)), "item.added")]
    failed = answers(behaviour, written())
    answers(behaviour, spoil_by_deleting(item_id))

    response = done(failed)
    assert (response["status"], response["output"], response["usage"]["input_tokens"]) == ("failed", [], 0)
    assert response["status_details"]["error"]["code"] == "context_length_exceeded"
    assert usage(behaviour, written())["input_tokens"] == 101
    assert_typed(AZURE_GA, failed)


def test_what_was_left_out_breaks_the_cache_and_can_still_be_retrieved() -> None:
    behaviour = truncating("auto")
    first = answers(behaviour, text(80))[0]["item"]["id"]
    read_by_turns(behaviour, 4)
    whole = usage(behaviour, written(conversation="none"))

    cut = usage(behaviour, text(80), written(conversation="none"))
    (kept,) = answers(behaviour, {"type": "conversation.item.retrieve", "item_id": first})

    assert whole["input_token_details"]["cached_tokens"] == whole["input_tokens"] == 101
    assert cut["input_token_details"]["cached_tokens"] == 1
    assert types([kept]) == ["conversation.item.retrieved"]


def test_the_newest_item_is_read_even_if_it_is_too_long_by_itself() -> None:
    assert usage(truncating("auto"), text(4000), written())["input_tokens"] == 1 + 1000


@pytest.mark.parametrize(
    ("truncation", "param"),
    [
        ("sometimes", "session.truncation"),
        ({"type": "retention_ratio"}, "session.truncation.retention_ratio"),
        ({"type": "retention_ratio", "retention_ratio": 2}, "session.truncation.retention_ratio"),
        ({"type": "last", "retention_ratio": 1}, "session.truncation.type"),
    ],
)
def test_a_truncation_that_is_none_is_an_error(truncation: Any, param: str) -> None:
    (event,) = answers(build_behaviour(), session_update(AZURE_GA, truncation=truncation))

    assert event["error"]["param"] == param
