"""When a service has shortened a conversation, by the tokens that its responses tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.observe.conversation_length import ConversationLength
from bench.observe.observation import TurnObservation
from bench.protocol.events import UNREAD, Usage
from bench.protocol.openai_ga import GA
from tests.helpers import Talk, created, delta, done, message

TOKENS = st.integers(1, 4_000)


@dataclass
class Conversation:
    """What a service has of a conversation: instructions and items, by their tokens; the first items are the oldest."""

    instructions: int = 50
    items: list[int] = field(default_factory=list)

    def usage(self, instructions: int | None = None) -> Usage:
        read = sum(self.items) + (self.instructions if instructions is None else instructions)
        return Usage(text_in=read // 2, audio_in=read - read // 2)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), TOKENS),
            st.tuples(st.just("delete"), st.integers(0, 5)),
            st.tuples(st.just("settings"), TOKENS),
            st.tuples(st.just("instructed"), TOKENS),
            st.tuples(st.just("cancelled"), TOKENS),
            st.tuples(st.just("unread"), TOKENS),
        ),
        max_size=30,
    )
)
def test_whatever_a_client_does_it_is_not_taken_for_the_service(acts: list[tuple[str, int]]) -> None:
    length, conversation = ConversationLength(), Conversation(items=[10, 20, 30])
    for act, size in acts:
        if act == "say":
            conversation.items.append(size)
            assert not length.answered(conversation.usage(), instructed=False)
        elif act == "instructed":
            assert not length.answered(conversation.usage(size), instructed=True)
        elif act == "cancelled":
            assert not length.answered(Usage(), instructed=False)
        elif act == "unread":
            assert not length.answered(UNREAD, instructed=False)
        else:
            length.client_changed()
            conversation.instructions = size if act == "settings" else conversation.instructions
            conversation.items[:] = conversation.items[size:] if act == "delete" else conversation.items


@given(st.lists(TOKENS, min_size=3, max_size=12), st.data())
def test_a_service_that_leaves_out_more_than_was_said_is_found_once(items: list[int], data: st.DataObject) -> None:
    length, conversation = ConversationLength(), Conversation(items=list(items))
    length.answered(conversation.usage(), instructed=False)
    kept = data.draw(st.integers(1, len(items) - 1))
    said = data.draw(st.integers(0, sum(items[:-kept]) - 1))
    conversation.items[:] = [*items[-kept:], said]

    assert length.answered(conversation.usage(), instructed=False)
    conversation.items.append(1)
    assert not length.answered(conversation.usage(), instructed=False)


def test_a_response_that_was_cancelled_before_it_read_anything_hides_nothing() -> None:
    length = ConversationLength()
    length.answered(Usage(text_in=900), instructed=False)
    length.answered(Usage(), instructed=False)

    assert length.answered(Usage(text_in=899), instructed=False)


def answered(talk: Talk, number: int, tokens: int, *before: bytes, cached: int = 0, **changes: Any) -> TurnObservation:
    """A turn of text whose response reads so many tokens; `before` comes before its response is created."""
    at_ms, name = number * 1_000, f"r{number}"
    talk.ask(at_ms, number, wants_audio=False, **changes)
    came = {"text_tokens": tokens, "audio_tokens": 0, "cached_tokens": cached}
    told = {"input_token_details": came, "output_token_details": {"text_tokens": 1, "audio_tokens": 0}}
    talk.hear(at_ms + 50, *before, created(name), delta(GA, "text", name), done(name, usage=told))
    (turn,) = talk.take(at_ms + 60)
    assert turn.outcome == "ok"
    return turn


def test_a_turn_tells_the_conversation_that_its_first_response_read() -> None:
    turn = answered(Talk(wanted=1), 1, 1_400, cached=1_280)

    assert (turn.context_tokens, turn.context_cached_tokens, turn.traits) == (1_400, 1_280, None)


def test_a_turn_whose_response_told_nothing_has_no_context() -> None:
    talk = Talk(wanted=1)
    talk.ask(0, wants_audio=False)
    talk.hear(50, created("r1"), delta(GA, "text", "r1"), done("r1"))

    assert (talk.only().context_tokens, talk.taken[0].context_cached_tokens) == (None, None)


def test_the_turn_after_a_truncation_is_set_apart_and_no_other() -> None:
    talk = Talk(wanted=4)
    traits = [answered(talk, at + 1, tokens).traits for at, tokens in enumerate((900, 1_300, 1_000, 1_100))]

    assert traits == [None, None, "after_truncation", None]


def test_what_the_client_took_out_is_no_truncation() -> None:
    talk = Talk(wanted=3)
    answered(talk, 1, 900)

    assert answered(talk, 2, 400, message("conversation.item.deleted", item_id="item_1")).traits is None
    talk.send(2_500, "session.update")
    assert answered(talk, 3, 100).traits is None


def test_instructions_of_a_response_s_own_are_no_part_of_the_conversation() -> None:
    talk = Talk(wanted=3)
    answered(talk, 1, 900, instructed=True)

    assert answered(talk, 2, 500).traits is None
    assert answered(talk, 3, 450, instructed=True).traits is None
