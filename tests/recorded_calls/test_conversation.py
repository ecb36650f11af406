"""The turns of a recorded call, from the sounds of both channels."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.recorded_calls.conversation import (
    ChannelSound,
    RecordedConversation,
    conversation,
    without_greeting,
)

RATE_HZ = 1_000
LENGTH_S = 60.0


def talk(caller: str, agent: str, length_s: float = LENGTH_S) -> RecordedConversation:
    """Return the turns of a call. Sounds are written as `1-2.5 4-5`, in seconds."""
    return conversation(heard(caller), heard(agent), RATE_HZ, round(length_s * RATE_HZ))


def heard(text: str) -> list[ChannelSound]:
    spans = (map(float, span.split("-")) for span in text.split())
    return [ChannelSound(round(start * RATE_HZ), round(end * RATE_HZ), 0) for start, end in spans]


def said(found: RecordedConversation) -> list[tuple[str, float, float]]:
    """Return (kind, start, end) of each utterance, in seconds."""
    return [
        (utterance.kind, utterance.start / RATE_HZ, utterance.end / RATE_HZ)
        for utterance in found.utterances
    ]


def test_each_answer_of_the_agent_ends_a_turn_of_the_caller() -> None:
    found = talk("1-2 5-6", "3-4 7-8")

    assert said(found) == [("turn", 1, 2), ("turn", 5, 6)]
    assert [utterance.reply_start for utterance in found.utterances] == [None, 3_000]
    assert [utterance.reply_end for utterance in found.utterances] == [None, 4_000]
    assert [utterance.until for utterance in found.utterances] == [5_000, 60_000]
    assert all(utterance.answered for utterance in found.utterances)


@pytest.mark.parametrize(("pause_s", "turns"), [(0.3, 1), (3.0, 1), (3.1, 2)])
def test_a_pause_of_up_to_three_seconds_is_within_a_turn(pause_s: float, turns: int) -> None:
    found = talk(f"1-2 {2 + pause_s}-6", "7-8")

    assert len(found.utterances) == turns
    assert found.utterances[-1].answered
    assert [utterance.answered for utterance in found.utterances[:-1]] == [False] * (turns - 1)


SPOKEN: dict[str, tuple[str, str, str]] = {
    # (sounds of the caller, of the agent; what the caller said)
    "a short sound of the agent does not end a turn": ("1-4 5-6", "2-2.4 7-8", "turn 1-6"),
    "speech over the agent interrupts": ("1-2 5-7", "3-5.5 8-9", "turn 1-2, interruption 5-7"),
    "speech in a pause of the agent interrupts if the agent speaks over it": (
        "1-2 5-7",
        "3-4.8 5.2-5.8 8-9",
        "turn 1-2, interruption 5-7",
    ),
    "speech after the agent has ended is a turn": (
        "1-2 6.5-7.5",
        "3-4.8 8-9",
        "turn 1-2, turn 6.5-7.5",
    ),
    "two backchannels in one reply": (
        "1-2 4-4.4 6-6.4 12-13",
        "3-10 14-15",
        "turn 1-2, backchannel 4-4.4, backchannel 6-6.4, turn 12-13",
    ),
    "the agent continues after a pause within its sentence": (
        "1-2 4-4.4 12-13",
        "3-4.1 4.5-9 14-15",
        "turn 1-2, backchannel 4-4.4, turn 12-13",
    ),
    "an agent that stops and answers was interrupted": (
        "1-2 4-4.4 12-13",
        "3-4.3 5-9 14-15",
        "turn 1-2, interruption 4-4.4, turn 12-13",
    ),
    # an agent needs some time to stop, so it speaks in the first pause of the caller
    "a short pause does not divide an interruption": (
        "1-2 4-4.3 4.6-6",
        "3-5.2 7-8",
        "turn 1-2, interruption 4-6",
    ),
}


@pytest.mark.parametrize(("caller", "agent", "spoken"), SPOKEN.values(), ids=SPOKEN)
def test_an_utterance_is_a_turn_an_interruption_or_a_backchannel(
    caller: str, agent: str, spoken: str
) -> None:
    found = said(talk(caller, agent))

    assert ", ".join(f"{kind} {start:g}-{end:g}" for kind, start, end in found) == spoken


@pytest.mark.parametrize(
    ("caller", "agent", "reply"),
    [
        ("1-2 5-7", "3-5.5 8-9", (3_000, 5_500)),
        ("1-2 4-4.4 10-11", "3-8 12-13", (3_000, 8_000)),
        ("1-4 7-8", "3-6 9-10", (3_000, 6_000)),
    ],
    ids=["an interruption", "a turn after a backchannel", "a reply before the caller has ended"],
)
def test_an_utterance_follows_the_whole_reply_before_it(
    caller: str, agent: str, reply: tuple[int, int]
) -> None:
    last = talk(caller, agent).utterances[-1]

    assert (last.reply_start, last.reply_end) == reply


@pytest.mark.parametrize(
    ("span", "kind"),
    [
        ("4-4.4", "backchannel"),
        ("4-5", "backchannel"),
        ("4-5.1", "interruption"),
        ("7.4-7.7", "interruption"),
    ],
    ids=["short", "one second", "long", "before the end of the reply"],
)
def test_short_speech_is_a_backchannel_if_the_agent_continues(span: str, kind: str) -> None:
    found = talk(f"1-2 {span} 12-13", "3-8 9.5-10 14-15")

    assert [utterance.kind for utterance in found.utterances] == ["turn", kind, "turn"]


def test_the_agent_greets_if_it_speaks_first() -> None:
    assert talk("3-4", "1-2 5-6").greets
    assert not talk("1-2", "3-4").greets
    assert talk("", "1-2").greets
    assert not talk("", "").greets


def test_without_a_greeting_the_first_utterance_is_a_turn() -> None:
    found = talk("2-3.5 6-7", "1-4 5-5.5 8-9")
    assert said(found) == [("interruption", 2, 3.5), ("turn", 6, 7)]

    unheard = without_greeting(found)
    assert said(unheard) == [("turn", 2, 3.5), ("turn", 6, 7)]
    assert not unheard.greets


def test_last_words_without_an_answer_are_left_out() -> None:
    found = talk("1-2 5-6", "3-4")

    assert said(found) == [("turn", 1, 2)]
    assert found.unanswered
    assert not talk("1-2", "3-4").unanswered


def test_a_call_in_which_no_one_answers_has_no_utterance() -> None:
    found = talk("5-6", "1-2")

    assert found.utterances == ()
    assert found.unanswered


@pytest.mark.parametrize(
    ("caller", "agent", "silence_s"),
    [
        ("1-2", "3-4", 1.5),
        ("1-2", "3-4 4.9-6", 1.5),
        ("1-2", "3-4 5.4-6", 1.7),
        ("1-2", "3-4 6.05-7 9-10", 2.4),
        ("1-2", "3-4 14-15", 10.3),
        ("1-2 5-6", "3-4 8-9", 1.5),
        ("1-2 6-9", "3-4 8-8.3", 1.5),
    ],
    ids=[
        "one sound",
        "a short pause",
        "a longer pause",
        "two pauses",
        "ten seconds",
        "the caller speaks in the pause",
        "the caller says the last words in the pause",
    ],
)
def test_the_silence_that_ends_a_reply_is_longer_than_each_pause_within_a_reply(
    caller: str, agent: str, silence_s: float
) -> None:
    assert talk(caller, agent).reply_silence_s == pytest.approx(silence_s)


def test_speech_after_ten_seconds_of_silence_is_counted_and_does_not_lengthen_the_silence() -> None:
    found = talk("1-2", "3-4 14.5-15 30-31")

    assert found.late_speeches == 2
    assert found.reply_silence_s == 1.5


SOUNDS = st.lists(
    st.tuples(st.integers(1, 4_000), st.integers(40, 6_000)), max_size=12
)  # (silence before a sound, its duration), in ms


def laid_out(gaps: list[tuple[int, int]]) -> list[ChannelSound]:
    at, found = 0, []
    for silence, duration in gaps:
        found.append(ChannelSound(at + silence, at + silence + duration, 0))
        at += silence + duration
    return found


@settings(max_examples=100)
@given(SOUNDS, SOUNDS)
def test_each_sound_of_the_caller_is_in_one_utterance_or_in_the_last_words(
    caller_gaps: list[tuple[int, int]], agent_gaps: list[tuple[int, int]]
) -> None:
    caller, agent = laid_out(caller_gaps), laid_out(agent_gaps)
    length = max((sound.end for sound in (*caller, *agent)), default=0) + 500
    found = conversation(caller, agent, RATE_HZ, length)

    for first, second in pairwise(found.utterances):
        assert first.start < first.end <= second.start == first.until
    end = found.utterances[-1].until if found.utterances else 0
    for sound in caller:
        holders = [
            said for said in found.utterances if said.start <= sound.start and sound.end <= said.end
        ]
        assert len(holders) == (
            0 if found.unanswered and (sound.start >= end or not found.utterances) else 1
        )
    if found.unanswered:
        assert any(sound.start >= end for sound in caller)
    for utterance in found.utterances:
        if utterance.kind != "turn":
            assert utterance.reply_start is not None
            assert utterance.reply_start < utterance.start
        assert (utterance.reply_start is None) == (utterance.reply_end is None)
    assert 1.5 <= found.reply_silence_s <= 10.4
    assert without_greeting(found).utterances[1:] == found.utterances[1:]
