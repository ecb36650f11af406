"""Interrupted replies: the detection of the caller's speech, the silence of the player, and the
truncated item.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.observe import inputs
from bench.observe.inputs import CancelResponse, RetrieveItem, TruncateItem
from bench.plan.turn_plan import InterruptTrigger
from bench.services.openai.dialect import GA
from bench.session import session as waits
from tests.helpers import (
    MS,
    S,
    Talk,
    after_ms,
    at,
    base64_of,
    done,
    error,
    message,
    part_done,
    speech_started,
)
from tests.observe.playing import audio, playing


def truncated(item_id: str = "item_a") -> bytes:
    fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": 0}
    return message("conversation.item.truncated", **fields)


def retrieved(
    audio_ms: int = 0, transcript: str | None = None, item_id: str = "item_a", **part: Any
) -> bytes:
    """Return an item as the service stores it. `part` contains further keys of the item's
    content.
    """
    content = {
        "type": "output_audio",
        "audio": base64_of(48 * audio_ms),
        "transcript": transcript,
    } | part
    return message(
        "conversation.item.retrieved", item={"id": item_id, "type": "message", "content": [content]}
    )


def cue_ns(talk: Talk, cue: InterruptTrigger) -> int | None:
    """Return the instant at which the caller should interrupt the reply; None if this instant is
    not known yet.
    """
    turn = talk.timeline.turns.interrupted
    assert turn is not None
    return turn.trigger_ns(cue)


def interrupts(talk: Talk, at_ms: float, number: int = 2) -> None:
    """Start the caller's speech, which interrupts the reply."""
    talk.begin_speech(at_ms, number)


@pytest.mark.parametrize("whole", [False, True])
def test_a_cancel_or_truncate_that_arrives_too_late_fails_no_turn(whole: bool) -> None:
    talk = playing("client", whole=whole)
    talk.timeline.apply(inputs.ClientInterrupted(at(1_000)))
    *cancels, truncation = next(talk.timeline.due_actions(at(1_000)))
    assert cancels == [] if whole else [CancelResponse("turn-1-cancel")]
    if not whole:
        talk.send(1_000, "response.cancel")
    assert isinstance(truncation, TruncateItem)
    talk.send(1_001, "conversation.item.truncate")
    talk.hear(1_010, *([] if whole else [done("r1")]))
    talk.hear(1_020, error(event_id="turn-1-cancel", code="response_cancel_not_active"))
    talk.hear(1_020, error(event_id="turn-1-1-truncate", code="invalid_value"))
    turn = talk.only(1_021)

    assert turn.outcome == "interrupted"
    assert talk.timeline.session().service_errors == 2


@pytest.mark.parametrize(
    ("cue", "due_ms"),
    [
        (InterruptTrigger(), 150),
        (InterruptTrigger(after_ns=1_500 * MS), 1_650),
        (InterruptTrigger(after_ns=9 * S), None),
        (InterruptTrigger(share=0.5), 2_150),
        (InterruptTrigger(text="parcel"), None),
    ],
)
def test_a_reply_is_interrupted_when_the_cue_s_share_or_duration_was_played(
    cue: InterruptTrigger, due_ms: float | None
) -> None:
    talk = playing(whole=True)

    assert cue_ns(talk, cue) == (None if due_ms is None else at(due_ms))


def test_a_share_cue_is_known_only_when_all_audio_has_arrived() -> None:
    talk = playing()
    assert cue_ns(talk, InterruptTrigger(share=0.5)) is None

    talk.hear(300, part_done(GA, "audio", "r1"))
    assert cue_ns(talk, InterruptTrigger(share=0.5)) == at(2_150)


def transcribes(talk: Talk, at_ms: float, words: str, response_id: str = "r1") -> None:
    fields = {"response_id": response_id, "item_id": f"item_of_{response_id}", "delta": words}
    talk.hear(at_ms, message("response.output_audio_transcript.delta", **fields))


def test_a_cue_word_is_found_after_any_length_and_the_stored_text_is_limited() -> None:
    talk = playing()
    for place in range(5):
        transcribes(talk, 200 + place, "blah " * (MAX_TEXT_CHARACTERS // 8))
        assert cue_ns(talk, InterruptTrigger(text="parcel")) is None
    transcribes(talk, 299, "Your Par")
    assert cue_ns(talk, InterruptTrigger(text="parcel")) is None
    transcribes(talk, 300, "cel")
    assert cue_ns(talk, InterruptTrigger(text="parcel")) is None
    transcribes(talk, 301, ", ")
    (turn,) = talk.timeline.turns.all

    assert cue_ns(talk, InterruptTrigger(text="parcel")) == at(301)
    assert not turn.reply.heard().contains("blah " * (MAX_TEXT_CHARACTERS // 5))


@pytest.mark.parametrize(
    ("text", "deltas", "found"),
    [
        ("We're", ["We", "\u2019", "re at"], "re at"),
        ("cafe\u0301", ["at the ", "caf\u00e9", " until"], " until"),
        ("caf\u00e9", ["at the ", "cafe", "\u0301", " until"], " until"),
        ("cafe", ["at the ", "cafe", "\u0301", " until"], None),
        ("parcel", ["two ", "parcel", "s", " are"], None),
        ("1,000", ["for ", "1", ",", "000", " euros"], " euros"),
        ("1", ["for ", "1", ",", "000", " euros"], None),
        ("\u0915\u0940", ["\u0915", "\u093f\u0924\u093e\u092c", " "], None),
        ("\u4e24\u5929", ["\u665a\u4e86\u4e24", "\u5929", "\u3002"], "\u3002"),
    ],
)
def test_a_cue_text_is_found_by_whole_words_in_any_typography_and_any_deltas(
    text: str, deltas: list[str], found: str | None
) -> None:
    talk = playing()
    cues = []
    for place, words in enumerate(deltas):
        transcribes(talk, 200 + place, words)
        cues.append(cue_ns(talk, InterruptTrigger(text=text)))

    assert (
        cues.index(at(200 + deltas.index(found))) == deltas.index(found) if found else not any(cues)
    )


# The content that the service stores of a truncated reply.


def interrupted_talk(heard_ms: int = 930) -> Talk:
    """Return a talk after speech has interrupted its reply. The client truncated the reply's
    item at 1,081 ms.
    """
    talk = playing(whole=True, verify=True)
    interrupts(talk, 1_000)
    talk.hear(1_080, speech_started("item_b"))
    talk.send(1_081, "conversation.item.truncate", item="item_a", played_ms=heard_ms)
    return talk


def truncated_talk(heard_ms: int = 930) -> Talk:
    """Return an interrupted talk.

    The service has confirmed the truncation, and the client has then requested the item.
    """
    talk = interrupted_talk(heard_ms)
    assert talk.work(1_082, RetrieveItem) == []
    talk.hear(1_100, truncated())
    assert talk.work(1_100, RetrieveItem) == [RetrieveItem("item_a", "turn-1-1-retrieve")]
    talk.send(1_101, "conversation.item.retrieve", item="item_a")
    assert talk.work(1_102, RetrieveItem) == []
    return talk


@pytest.mark.parametrize(
    ("heard_ms", "shown", "right"),
    [
        (930, retrieved(930), True),
        (930, retrieved(900), True),
        (930, retrieved(980), True),
        (930, retrieved(981), False),
        (930, retrieved(4_000), False),
        (930, retrieved(930, "I would say so, yes."), False),
        (930, retrieved(930, "", text="I would"), False),
        (930, retrieved(930, ""), True),
        (930, retrieved(audio=None), True),
        (930, retrieved(audio="?"), False),
        (930, retrieved(audio=7), False),
        (0, retrieved(0), True),
        (0, retrieved(51), False),
        (930, message("conversation.item.retrieved", item={"id": "item_a", "content": []}), True),
        (930, message("conversation.item.retrieved", item={"id": "item_a", "content": None}), True),
        (930, error(event_id="turn-1-1-retrieve", code="item_retrieve_invalid_item_id"), False),
    ],
)
def test_a_truncation_is_correct_if_the_item_holds_at_most_what_was_played(
    heard_ms: int, shown: bytes, right: bool
) -> None:
    talk = truncated_talk(heard_ms)
    assert talk.take(1_102) == [], "it is not known what the service keeps"
    assert waits.until_truncations_verified(talk.timeline, at(1_102)) == at(1_080 + 5_000)
    talk.hear(1_150, shown)
    assert waits.until_truncations_verified(talk.timeline, at(1_151)) is None
    turn = talk.only(1_151)

    assert (turn.outcome, turn.truncation_correct) == ("interrupted", right)
    assert after_ms(turn, "truncated") == 1_100


def test_a_refused_truncation_is_incorrect_and_is_not_verified() -> None:
    talk = interrupted_talk()
    talk.hear(1_100, error(event_id="turn-1-1-truncate", code="invalid_value"))

    assert talk.work(1_100, RetrieveItem) == []
    assert talk.taken[0].truncation_correct is False


@pytest.mark.parametrize("says_cut", [False, True])
def test_a_truncation_without_an_answer_in_time_is_incorrect(says_cut: bool) -> None:
    talk = truncated_talk() if says_cut else interrupted_talk()
    assert talk.take(6_079) == []
    assert waits.until_truncations_verified(talk.timeline, at(6_080)) is None

    assert talk.only(6_080).truncation_correct is False


def test_a_truncation_that_is_open_at_the_session_s_end_is_neither_correct_nor_incorrect() -> None:
    talk = truncated_talk()
    talk.timeline.apply(inputs.ConnectionClosed(1006, at(1_110)))

    assert talk.take(1_111)[0].truncation_correct is None


def test_all_truncated_items_of_a_reply_must_be_correct() -> None:
    talk = playing(seconds=2, verify=True)
    added = message("response.output_item.added", response_id="r1", item={"id": "item_b"})
    talk.hear(120, added, audio("item_b"), done("r1"))
    interrupts(talk, 1_000)
    talk.hear(1_080, speech_started("item_c"))
    for work in next(talk.timeline.due_actions(at(1_080))):
        assert isinstance(work, TruncateItem)
        talk.send(1_081, "conversation.item.truncate", item=work.item_id, played_ms=work.played_ms)
    talk.hear(1_100, truncated("item_b"), truncated("item_a"))
    shown = talk.work(1_100, RetrieveItem)
    assert shown == [
        RetrieveItem("item_a", "turn-1-1-retrieve"),
        RetrieveItem("item_b", "turn-1-2-retrieve"),
    ]
    for work in shown:
        talk.send(1_101, "conversation.item.retrieve", item=work.item_id)
    talk.hear(1_150, retrieved(930))
    assert talk.take(1_151) == []
    talk.hear(1_160, retrieved(1_000, item_id="item_b"))

    assert talk.only(1_161).truncation_correct is False
