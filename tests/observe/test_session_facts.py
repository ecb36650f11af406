"""Facts of a session that belong to no turn: replies to sounds that need none, and the length of
the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.observe.session_facts import ConversationLength, SessionFacts
from bench.services.openai.dialect import GA
from bench.session import session as waits
from bench.wire.events import UNREAD, TokenUsage
from tests.helpers import (
    AT_NS,
    MS,
    S,
    Talk,
    answers,
    at,
    base64_of,
    build_observation,
    committed,
    created,
    delta,
    done,
    hears,
    idle_timeout,
    message,
    speaks,
    speech_started,
    speech_stopped,
    usage,
)


def audio(seconds: int, response_id: str) -> bytes:
    return delta(GA, "audio", response_id, base64_of(seconds * 48_000))


def silent(*, service_responds: bool = True) -> Talk:
    """Return a talk with one turn that has ended. At 10 s, the caller makes a sound that needs
    no reply.
    """
    talk = Talk(service_responds=service_responds)
    speaks(talk)
    hears(talk, 1_500)
    if not service_responds:
        talk.send(1_510, "response.create")
    answers(talk, 1_600)
    talk.only(2_500)
    talk.timeline.apply(inputs.SoundStarted(jitter_buffer_ns=50 * MS))
    talk.send(10_000, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.send(10_400, "input_audio_buffer.append", audio_bytes=4_800, instants={"sound_end": 0})
    return talk


def detect_the_sound(talk: Talk) -> None:
    """Receive the events of a VAD that classifies the caller's sound as speech."""
    talk.hear(10_100, speech_started("item_s"))
    talk.hear(10_900, speech_stopped("item_s"), committed("item_s"))


def then_speaks(talk: Talk) -> bool | None:
    """Send the next turn, which is answered and succeeds. Return the turn's `false_reply`."""
    talk.timeline.apply(inputs.SoundEnded())
    speaks(talk, 2, 20_000, 21_000)
    hears(talk, 21_500, "item_2")
    if not talk.service_responds:
        talk.send(21_510, "response.create")
    answers(talk, 21_600, "r2")
    turn = talk.only(30_000)
    assert (turn.outcome, turn.response_id, turn.turn_type, turn.false_yield) == (
        "ok",
        "r2",
        "regular",
        None,
    )
    return turn.false_reply


def test_a_false_reply_belongs_to_no_turn_and_is_recorded_with_the_next_turn() -> None:
    talk = silent()
    detect_the_sound(talk)
    assert waits.until_service_idle(talk.timeline, 0) is not None
    talk.hear(11_000, created("rs"))
    talk.hear(11_300, audio(2, "rs"))
    talk.hear(11_400, done("rs", usage=usage(audio_out=20)))

    assert talk.timeline.playback_ends_ns == at(11_300) + 50 * MS + 2 * S, "the caller hears it"
    assert waits.until_service_idle(talk.timeline, 0) is None
    assert then_speaks(talk) is True
    session = talk.timeline.session()
    assert (session.unattributed_commits, session.turns_started) == (1, 2)
    assert session.stray_usage is not None


IDLE = [
    (10_500, idle_timeout("item_i"), committed("item_i")),
    (11_000, created("ri"), audio(1, "ri"), done("ri")),
]
SPEECH = [
    (10_100, speech_started("item_s")),
    (10_900, speech_stopped("item_s"), committed("item_s")),
]
LATER = [(12_000, speech_started("item_s"), speech_stopped("item_s"), committed("item_s"))]
CLOSING = message("response.output_audio.done", response_id="r1", item_id="item_of_r1")
REPLIED: dict[str, tuple[list[tuple[Any, ...]], bool]] = {
    # (messages after the sound, whether they contain a reply to it)
    "nothing": ([], False),
    "speech alone": (
        [(10_100, speech_started("item_s")), (10_900, speech_stopped("item_s"))],
        False,
    ),
    "a reply, from its creation on": (
        [*SPEECH, (11_000, created("rs")), (11_100, done("rs"))],
        True,
    ),
    "from its transcript on": (
        [*SPEECH, (11_000, delta(GA, "transcript", "rs")), (11_100, done("rs"))],
        True,
    ),
    "from its text on": ([*SPEECH, (11_000, delta(GA, "text", "rs")), (11_100, done("rs"))], True),
    "from its audio on": ([*SPEECH, (11_000, audio(1, "rs")), (11_100, done("rs"))], True),
    "late events of an earlier reply": ([(10_100, audio(1, "r1")), (10_200, CLOSING)], False),
    "an idle prompt": (IDLE, False),
    "a reply in addition to an idle prompt": (
        [*IDLE, *LATER, (12_100, created("rs"), audio(1, "rs"), done("rs"))],
        True,
    ),
}


@pytest.mark.parametrize(("came", "replied"), REPLIED.values(), ids=REPLIED)
def test_a_reply_to_a_sound_is_recorded_with_the_next_turn(
    came: list[tuple[Any, ...]], replied: bool
) -> None:
    talk = silent()
    for at_ms, *messages in came:
        talk.hear(at_ms, *messages)
    if came == IDLE:
        assert talk.timeline.playback_ends_ns == at(11_000) + 50 * MS + 1 * S, "the caller hears it"

    assert then_speaks(talk) is replied


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


def answered(
    talk: Talk, number: int, tokens: int, *before: bytes, cached: int = 0, **changes: Any
) -> TurnObservation:
    """Return a text turn whose response reads `tokens` tokens.

    `before` contains messages that arrive before the response.
    """
    at_ms, name = number * 1_000, f"r{number}"
    talk.ask(at_ms, number, wants_audio=False, **changes)
    came = {"text_tokens": tokens, "audio_tokens": 0, "cached_tokens": cached}
    reported = {
        "input_token_details": came,
        "output_token_details": {"text_tokens": 1, "audio_tokens": 0},
    }
    talk.hear(
        at_ms + 50, *before, created(name), delta(GA, "text", name), done(name, usage=reported)
    )
    (turn,) = talk.take(at_ms + 60)
    assert turn.outcome == "ok"
    return turn


def test_the_context_tokens_of_a_turn_are_those_its_first_response_read() -> None:
    turn = answered(Talk(wanted=1), 1, 1_400, cached=1_280)

    assert (turn.context_tokens, turn.context_cached_tokens, turn.turn_type) == (
        1_400,
        1_280,
        "regular",
    )


def test_only_the_turn_after_a_truncation_has_the_type_after_truncation() -> None:
    talk = Talk(wanted=4)
    turn_type = [
        answered(talk, at + 1, tokens).turn_type
        for at, tokens in enumerate((900, 1_300, 1_000, 1_100))
    ]

    assert turn_type == ["regular", "regular", "after_truncation", "regular"]


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
    facts = SessionFacts(start=inputs.SessionStart(AT_NS, 1, Timeouts()))
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
    facts = SessionFacts(start=inputs.SessionStart(AT_NS, 1, Timeouts()))
    reply = build_observation(
        instants={"first_audible": at(600)}, uncertainties_ns={"first_audible": 20 * MS}
    )

    assert facts.with_bound(reply) is reply


@pytest.mark.parametrize(("frame_ms", "expected_ms"), [(20, 0.5), (35, 0.5), (5, 5)])
def test_a_greeting_is_certain_if_its_first_packets_were_played_when_they_arrived(
    frame_ms: float, expected_ms: float
) -> None:
    facts = SessionFacts(start=inputs.SessionStart(AT_NS, 1, Timeouts()))
    greeting = build_observation(
        instants={"first_audible": at(600)},
        uncertainties_ns={"first_audible": round(frame_ms * MS)},
    )
    facts.turn_ended(greeting, first=False, greeting=True)
    facts.measure_rtp(
        inputs.RtpMeasured(100, 0, 0, 0, 90, start_uncertainty_ns=MS // 2, starts_on_arrival=True)
    )

    assert facts.uncertainties_ns["greeting_audible"] == round(expected_ms * MS)
