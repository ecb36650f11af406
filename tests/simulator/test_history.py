"""Each response reads the whole conversation again.

Tests of the cost, of the cached part, and of the part that exceeds the context.
"""

from __future__ import annotations

import base64
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.openai.dialect import FORMATS, ga_format
from bench.wire.audio import AudioFormatName
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.conversation.client_items import IMAGE_TOKENS
from rtbench_simulator.profile import TokenCache
from rtbench_simulator.server_events import GA
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from tests.simulator.builders import (
    COMMIT,
    CREATE,
    HELLO,
    all_of,
    answers,
    append,
    build_behaviour,
    create,
    done,
    one,
    session_update,
    types,
    user_text,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
EXACT = TokenCache(block_tokens=1)
"""A cache that finds equal prefixes of any length, because its blocks have one token."""
IMAGE = "data:image/png;base64,iVBORw0KGgo="


def image(detail: str) -> dict[str, Any]:
    content = [{"type": "input_image", "image_url": IMAGE, "detail": detail}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
    }


def truncate(item_id: str, audio_end_ms: Any) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": audio_end_ms,
    }


def retrieve(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.retrieve", "item_id": item_id}


def delete(item_id: str) -> dict[str, Any]:
    return {"type": "conversation.item.delete", "item_id": item_id}


def text(letters: int) -> dict[str, Any]:
    return user_text("x" * letters)


def written(dialect: WireDialect = AZURE_GA, **response: Any) -> dict[str, Any]:
    """Return a response.create with short instructions. Each answer to it is text, always with the
    same number of tokens.
    """
    kinds = "output_modalities" if dialect.names is GA else "modalities"
    return {
        "type": "response.create",
        "response": {kinds: ["text"], "instructions": "Hum.", **response},
    }


def usage(behaviour: Behaviour, *events: dict[str, Any]) -> dict[str, Any]:
    """Send the events, which cause one response; return the usage of this response."""
    usage_fields: dict[str, Any] = done(answers(behaviour, *events))["usage"]
    return usage_fields


def kinds(details: dict[str, Any]) -> tuple[int, int, int]:
    return details["text_tokens"], details["audio_tokens"], details["image_tokens"]


# The cache.


@given(
    letters=st.lists(st.integers(0, 2000), min_size=2, max_size=5),
    block=st.integers(1, 200),
    least=st.integers(0, 500),
)
def test_input_of_the_last_response_is_cached_in_whole_blocks(
    letters: list[int], block: int, least: int
) -> None:
    behaviour = build_behaviour(cache=TokenCache(least, block))
    before = 0
    for count in letters:
        usage_fields = usage(behaviour, text(count), append(300), COMMIT, written())
        details = usage_fields["input_token_details"]
        expected = before - before % block if before >= least else 0
        assert details["cached_tokens"] == sum(kinds(details["cached_tokens_details"])) == expected
        before = usage_fields["input_tokens"]


CHANGES = st.one_of(
    st.tuples(st.sampled_from(["text", "ahead"]), st.integers(0, 100)),
    st.tuples(st.just("audio"), st.integers(100, 3000)),
    st.tuples(st.just("image"), st.sampled_from(sorted(IMAGE_TOKENS))),
    st.tuples(st.sampled_from(["speak", "write"]), st.none()),
    st.tuples(st.sampled_from(["truncate", "delete"]), st.integers(0, 20)),
)


class TokenAccount:
    """An independent account of the tokens of each item: (text, audio, image)."""

    def __init__(self) -> None:
        self.behaviour = build_behaviour(cache=EXACT)
        self.items: list[tuple[str, tuple[int, int, int]]] = []
        self.spoken_ms: dict[str, int] = {}
        # the items that the last response read, and its instructions
        self.read: list[tuple[str, tuple[int, int, int]]] = []

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
            "image": lambda: ([image(value)], (0, 0, IMAGE_TOKENS[value])),
        }
        events, tokens = made[kind]()
        item_id = all_of(answers(self.behaviour, *events), "item.added")[0]["item"]["id"]
        self.items.insert(0 if kind == "ahead" else len(self.items), (item_id, tokens))

    def _answer(self, spoken: bool) -> None:
        settings = {"output_modalities": ["audio" if spoken else "text"], "instructions": "Hum."}
        response = one(answers(self.behaviour, create(**settings)), "response.done")["response"]
        details, item_id = response["usage"]["output_token_details"], response["output"][0]["id"]
        self.expect(response["usage"]["input_token_details"])
        self.items.append((item_id, (details["text_tokens"], details["audio_tokens"], 0)))
        if spoken:
            self.spoken_ms[item_id] = details["audio_tokens"] * 50

    def _cut_or_delete(self, kind: str, number: int) -> None:
        ids = [
            item_id for item_id, _ in self.items if kind == "delete" or item_id in self.spoken_ms
        ]
        if not ids:
            return
        item_id = ids[number % len(ids)]
        place = [known for known, _ in self.items].index(item_id)
        if kind == "delete":
            gone = answers(self.behaviour, delete(item_id), retrieve(item_id))
            assert one(gone, "error")["error"]["code"] == "item_retrieve_invalid_item_id"
            del self.items[place]
            self.spoken_ms.pop(item_id, None)
        else:
            self.spoken_ms[item_id] = self.spoken_ms[item_id] * number // 20
            cut = answers(self.behaviour, truncate(item_id, self.spoken_ms[item_id]))
            assert types(cut) == ["conversation.item.truncated"]
            self.items[place] = item_id, (0, -(-self.spoken_ms[item_id] // 50), 0)

    def expect(self, details: dict[str, Any]) -> None:
        """Check that the input tokens that a response reports agree with the account."""
        now = [("Hum.", (1, 0, 0)), *self.items]
        same = list(takewhile(lambda pair: pair[0] == pair[1], zip(now, self.read, strict=False)))
        assert kinds(details) == tuple(map(sum, zip(*(tokens for _, tokens in now), strict=True)))
        cached = tuple(map(sum, zip(*(part[1] for part, _ in same), strict=True))) or (0, 0, 0)
        assert kinds(details["cached_tokens_details"]) == cached
        self.read = now


@given(changes=st.lists(CHANGES, max_size=15))
def test_the_usage_of_a_conversation_is_the_sum_of_its_items_after_any_changes(
    changes: list[tuple[str, Any]],
) -> None:
    account = TokenAccount()
    for kind, value in changes:
        account.change(kind, value)
    account.change("write", None)


# The time that the model takes to read the conversation.


# Conversations that exceed the context.


def truncating(truncation: Any, limit_tokens: int | None = 101, **changes: Any) -> Behaviour:
    """Return a session of a model that reads at most 100 tokens in addition to the short
    instructions.
    """
    behaviour = build_behaviour(context_limit_tokens=limit_tokens, cache=EXACT, **changes)
    answers(behaviour, session_update(AZURE_GA, truncation=truncation))
    return behaviour


def read_by_turns(behaviour: Behaviour, turns: int) -> list[int]:
    """Return the input tokens of each response, without those of the instructions.

    Each turn has 20 tokens, and no answer is stored in the conversation.
    """
    return [
        usage(behaviour, text(80), written(conversation="none"))["input_tokens"] - 1
        for _ in range(turns)
    ]


RATIO = {"type": "retention_ratio", "retention_ratio": 0.6}
OWN = RATIO | {"retention_ratio": 1, "token_limits": {"post_instructions": 60}}


@pytest.mark.parametrize(
    ("truncation", "limit_tokens", "read"),
    [
        ("auto", 101, [20, 40, 60, 80, 100, 100, 100]),
        (RATIO, 101, [20, 40, 60, 80, 100, 60, 80, 100, 60]),
        (OWN, None, [20, 40, 60, 60]),
        (OWN, 101, [20, 40, 60, 60]),
    ],
)
def test_the_oldest_items_are_dropped_if_the_context_is_full(
    truncation: Any, limit_tokens: int | None, read: list[int]
) -> None:
    assert read_by_turns(truncating(truncation, limit_tokens), len(read)) == read


# A truncation shortens an item: its audio, its transcript, its tokens, and the length that limits
# later truncations.


def create_in(dialect: WireDialect, name: AudioFormatName) -> dict[str, Any]:
    in_ga = {"audio": {"output": {"format": ga_format(FORMATS[name])}}}
    settings = in_ga if dialect.names is GA else {"output_audio_format": name}
    return {"type": "response.create", "response": settings}


def spoken(behaviour: Behaviour, message: dict[str, Any] = CREATE) -> str:
    """Create a response, complete it, and return the id of its item."""
    item_id: str = one(answers(behaviour, message), "output_item.added")["item"]["id"]
    return item_id


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_retrieved_item_ends_at_its_truncation(
    dialect: WireDialect, name: AudioFormatName
) -> None:
    behaviour = build_behaviour(dialect)
    item_id = spoken(behaviour, create_in(dialect, name))
    (whole,) = answers(behaviour, retrieve(item_id))

    truncated, cut = answers(behaviour, truncate(item_id, 733), retrieve(item_id))

    before, after = (event["item"]["content"][0] for event in (whole, cut))
    kept = base64.b64decode(after["audio"])
    assert base64.b64decode(before["audio"]).startswith(kept)
    assert len(kept) == 733 * FORMATS[name].bytes_per_s // 1000
    assert (before["transcript"], after["transcript"]) == (HELLO, None)
    assert truncated["item_id"] == item_id
    assert_typed(dialect, [whole, truncated, cut])
