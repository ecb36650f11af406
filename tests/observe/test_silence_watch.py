"""Sounds that ask for no reply while nothing is played: whether one began, whose it is, and who hears it."""

from __future__ import annotations

import pytest

from bench.observe import inputs
from bench.protocol.openai_ga import GA
from tests.helpers import (
    MS,
    S,
    Talk,
    answers,
    at,
    base64_of,
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
    """One turn is over, and at 10 s something is heard that asks for no reply."""
    talk = Talk(service_responds=service_responds)
    speaks(talk)
    hears(talk, 1_500)
    if not service_responds:
        talk.send(1_510, "response.create")
    answers(talk, 1_600)
    talk.only(2_500)
    talk.timeline.tell(inputs.SilenceBroken(jitter_buffer_ns=50 * MS))
    talk.send(10_000, "input_audio_buffer.append", audio_bytes=4_800, moments={"barge_in": 0})
    talk.send(10_400, "input_audio_buffer.append", audio_bytes=4_800, moments={"sound_end": 0})
    return talk


def heard(talk: Talk) -> None:
    """A VAD takes the sound for speech."""
    talk.hear(10_100, speech_started("item_s"))
    talk.hear(10_900, speech_stopped("item_s"), committed("item_s"))


def then_speaks(talk: Talk) -> bool | None:
    """Whether the turn that follows says that there was a false reply; it is answered, and ends well."""
    talk.timeline.tell(inputs.SilenceRestored())
    speaks(talk, 2, 20_000, 21_000)
    hears(talk, 21_500, "item_2")
    if not talk.service_responds:
        talk.send(21_510, "response.create")
    answers(talk, 21_600, "r2")
    turn = talk.only(30_000)
    assert (turn.outcome, turn.response_id, turn.traits, turn.false_yield) == ("ok", "r2", None, None)
    return turn.false_reply


def test_a_reply_to_what_asks_for_none_is_nobody_s_and_is_told_with_the_next_turn() -> None:
    talk = silent()
    heard(talk)
    assert talk.timeline.quiet_by_ns is not None
    talk.hear(11_000, created("rs"))
    talk.hear(11_300, audio(2, "rs"))
    talk.hear(11_400, done("rs", usage=usage(audio_out=20)))

    assert talk.timeline.playback_ends_ns == at(11_300) + 50 * MS + 2 * S, "the caller hears it"
    assert talk.timeline.quiet_by_ns is None
    assert then_speaks(talk) is True
    session = talk.timeline.session()
    assert (session.stray_commits, session.turns_begun) == (1, 2)
    assert session.stray_usage is not None


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_sound_to_which_nothing_is_replied_has_no_false_reply(is_heard: bool) -> None:
    talk = silent()
    if is_heard:
        talk.hear(10_100, speech_started("item_s"))
        talk.hear(10_900, speech_stopped("item_s"))
    assert talk.timeline.playback_ends_ns == 0

    assert then_speaks(talk) is False


@pytest.mark.parametrize(
    "begins",
    [
        created("rs"),
        delta(GA, "transcript", "rs"),
        delta(GA, "text", "rs"),
        audio(1, "rs"),
    ],
)
def test_a_reply_begins_with_whatever_comes_of_it_first(begins: bytes) -> None:
    talk = silent()
    heard(talk)
    talk.hear(11_000, begins)
    talk.hear(11_100, done("rs"))

    assert then_speaks(talk) is True


def test_what_comes_late_of_a_reply_that_was_there_before_is_no_reply_to_a_sound() -> None:
    talk = silent()
    talk.hear(10_100, audio(1, "r1"))
    talk.hear(10_200, message("response.output_audio.done", response_id="r1", item_id="item_of_r1"))

    assert then_speaks(talk) is False


def test_what_is_said_because_the_caller_is_silent_is_no_reply_to_a_sound() -> None:
    talk = silent()
    talk.hear(10_500, idle_timeout("item_i"), committed("item_i"))
    talk.hear(11_000, created("ri"), audio(1, "ri"), done("ri"))
    assert talk.timeline.playback_ends_ns == at(11_000) + 50 * MS + 1 * S

    assert then_speaks(talk) is False


def test_a_reply_beside_what_is_said_because_of_silence_counts() -> None:
    talk = silent()
    talk.hear(10_500, idle_timeout("item_i"), committed("item_i"))
    talk.hear(11_000, created("ri"), audio(1, "ri"), done("ri"))
    talk.hear(12_000, speech_started("item_s"), speech_stopped("item_s"), committed("item_s"))
    talk.hear(12_100, created("rs"), audio(1, "rs"), done("rs"))

    assert then_speaks(talk) is True


def test_nothing_is_known_where_the_client_asks_for_every_response() -> None:
    talk = silent(service_responds=False)
    heard(talk)

    assert then_speaks(talk) is None


@pytest.mark.parametrize("order", [(True, False), (False, True), (False, False)])
def test_of_several_sounds_before_a_turn_one_reply_is_enough(order: tuple[bool, bool]) -> None:
    talk = silent()
    for number, replied in enumerate(order):
        if replied:
            talk.hear(11_000 + number, created("rs"), audio(1, "rs"), done("rs"))
        talk.timeline.tell(inputs.SilenceRestored())
        talk.timeline.tell(inputs.SilenceBroken())

    assert then_speaks(talk) is any(order)


def test_a_turn_before_which_nothing_was_heard_knows_of_no_reply() -> None:
    talk = silent()
    assert then_speaks(talk) is False
    speaks(talk, 3, 40_000, 41_000)
    hears(talk, 41_500, "item_3")
    answers(talk, 41_600, "r3")

    assert [turn.false_reply for turn in talk.take(50_000)] == [None]
    assert [turn.false_reply for turn in talk.taken] == [None, False, None]
