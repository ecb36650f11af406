"""Facts of a session that belong to no turn: the length of the conversation, and the bound of its
greeting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.session_facts import ConversationLength, SessionFacts
from bench.services.openai.dialect import GA
from bench.wire.events import UNREAD, TokenUsage
from tests.helpers import (
    AT_NS,
    MS,
    at,
    build_observation,
)

TOKENS = st.integers(1, 4_000)


@dataclass
class Conversation:
    """A conversation as the service stores it.

    `instructions` is the number of tokens of the instructions. `items` contains the number of
    tokens of each item, and the oldest item is first.
    """

    instructions: int = 50
    items: list[int] = field(default_factory=list)

    def usage(self, instructions: int | None = None) -> TokenUsage:
        read = sum(self.items) + (self.instructions if instructions is None else instructions)
        return TokenUsage(text_in=read // 2, audio_in=read - read // 2)


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
def test_changes_by_the_client_are_not_taken_for_truncations(acts: list[tuple[str, int]]) -> None:
    length, conversation = ConversationLength(), Conversation(items=[10, 20, 30])
    for act, size in acts:
        if act == "say":
            conversation.items.append(size)
            assert not length.answered(conversation.usage(), instructed=False)
        elif act == "instructed":
            assert not length.answered(conversation.usage(size), instructed=True)
        elif act == "cancelled":
            assert not length.answered(TokenUsage(), instructed=False)
        elif act == "unread":
            assert not length.answered(UNREAD, instructed=False)
        else:
            length.client_changed()
            conversation.instructions = size if act == "settings" else conversation.instructions
            conversation.items[:] = (
                conversation.items[size:] if act == "delete" else conversation.items
            )


@given(st.lists(TOKENS, min_size=3, max_size=12), st.data())
def test_a_truncation_larger_than_the_new_items_is_detected_once(
    items: list[int], data: st.DataObject
) -> None:
    length, conversation = ConversationLength(), Conversation(items=list(items))
    length.answered(conversation.usage(), instructed=False)
    remaining = data.draw(st.integers(1, len(items) - 1))
    added = data.draw(st.integers(0, sum(items[:-remaining]) - 1))
    conversation.items[:] = [*items[-remaining:], added]

    assert length.answered(conversation.usage(), instructed=False)
    conversation.items.append(1)
    assert not length.answered(conversation.usage(), instructed=False)


def test_a_response_cancelled_before_it_read_anything_does_not_hide_a_truncation() -> None:
    length = ConversationLength()
    length.answered(TokenUsage(text_in=900), instructed=False)
    length.answered(TokenUsage(), instructed=False)

    assert length.answered(TokenUsage(text_in=899), instructed=False)


@pytest.mark.parametrize(
    ("frame_ms", "onset_ms", "later_ms", "expected_ms"),
    [
        (20, 0, 1.5, 1.5),
        (20, 45, 1.5, 46.5),
        (22, 0, 1.5, 3.5),  # 2 ms were known when the frame arrived
        (20, 0, 31, 31),  # the first packets were slower than assumed
        (5, 0, 31, 5),  # the greeting is not in the first frames
        (20, 0, 20, 20),
    ],
)
@pytest.mark.parametrize("is_measured_first", [False, True])
def test_later_packets_of_a_telephone_call_bound_the_start_of_its_greeting(
    frame_ms: float, onset_ms: float, later_ms: float, expected_ms: float, is_measured_first: bool
) -> None:
    facts = SessionFacts(
        start=inputs.SessionStart(AT_NS, 1, Timeouts()), announced_by=GA.announced_by
    )
    greeting = build_observation(
        instants={"first_audible": at(600)},
        uncertainties_ns={"first_audible": round((frame_ms + onset_ms) * MS)},
        onset_uncertainty_ns=round(onset_ms * MS),
    )
    measured = inputs.RtpMeasured(100, 0, 0, 0, 90, start_uncertainty_ns=round(later_ms * MS))
    if is_measured_first:
        facts.measure_rtp(measured)
    facts.turn_ended(greeting, first=False, greeting=True)
    if not is_measured_first:
        facts.measure_rtp(measured)

    assert facts.instants["greeting_audible"] == at(600)
    assert facts.uncertainties_ns["greeting_audible"] == round(expected_ms * MS)
    if is_measured_first:
        assert facts.with_bound(greeting).uncertainties_ns == {
            "first_audible": round(expected_ms * MS)
        }


def test_the_start_of_a_reply_keeps_its_bound_if_its_packets_were_never_measured() -> None:
    facts = SessionFacts(
        start=inputs.SessionStart(AT_NS, 1, Timeouts()), announced_by=GA.announced_by
    )
    reply = build_observation(
        instants={"first_audible": at(600)}, uncertainties_ns={"first_audible": 20 * MS}
    )

    assert facts.with_bound(reply) is reply


@pytest.mark.parametrize(("frame_ms", "expected_ms"), [(20, 0.5), (35, 0.5), (5, 5)])
def test_a_greeting_is_certain_if_its_first_packets_were_played_when_they_arrived(
    frame_ms: float, expected_ms: float
) -> None:
    facts = SessionFacts(
        start=inputs.SessionStart(AT_NS, 1, Timeouts()), announced_by=GA.announced_by
    )
    greeting = build_observation(
        instants={"first_audible": at(600)},
        uncertainties_ns={"first_audible": round(frame_ms * MS)},
    )
    facts.turn_ended(greeting, first=False, greeting=True)
    facts.measure_rtp(
        inputs.RtpMeasured(100, 0, 0, 0, 90, start_uncertainty_ns=MS // 2, starts_on_arrival=True)
    )

    assert facts.uncertainties_ns["greeting_audible"] == round(expected_ms * MS)
