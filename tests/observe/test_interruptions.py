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
    committed,
    created,
    done,
    error,
    message,
    not_transcribed,
    part_done,
    speech_started,
    speech_stopped,
)
from tests.observe.playing import audio, playing

CANCELLED = {"status": "cancelled", "type": "cancelled", "reason": "turn_detected"}


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


def test_a_reply_that_speech_interrupts_is_silent_when_the_service_detects_speech() -> None:
    talk = playing()
    interrupts(talk, 1_000)
    talk.hear(1_080, speech_started("item_b"))
    assert talk.work(1_080, TruncateItem) == [TruncateItem("item_a", 930, "turn-1-1-truncate")]
    talk.send(1_081, "conversation.item.truncate")
    assert talk.work(1_082, TruncateItem) == []
    talk.hear(1_085, audio())
    talk.hear(1_090, done("r1", **CANCELLED))
    assert talk.take(1_091) == [], "the service has not said that it has cut the item"
    talk.hear(1_100, truncated())
    turn = talk.only(1_101)

    assert (turn.outcome, turn.interruption, turn.yielded) == ("interrupted", "speech", True)
    expected = {
        "barge_in": 1_000,
        "barge_in_detected": 1_080,
        "barge_in_silent": 1_080,
        "truncate_sent": 1_081,
        "barge_in_last_audio": 1_085,
        "barge_in_response_done": 1_090,
        "truncated": 1_100,
        "ended": 1_090,
    }
    assert {name: after_ms(turn, name) for name in expected} == expected
    assert (turn.late_audio_ns, turn.unplayed_audio_ns, turn.received_audio_ns) == (
        1 * S,
        5 * S - 930 * MS,
        5 * S,
    )
    assert turn.overlap_ns == 80 * MS
    metrics = {
        name: ns / MS
        for name, ns in turn.metrics_ns().items()
        if name.startswith(("barge", "truncate"))
    }
    assert metrics == {
        "barge_in_detection": 80,
        "barge_in_yield": 80,
        "barge_in_last_audio": 85,
        "barge_in_response_done": 90,
        "barge_in_late_audio": 1_000,
        "truncate_ack": 19,
    }


def test_a_reply_that_was_received_completely_is_still_interrupted() -> None:
    talk = playing(whole=True)
    assert not talk.timeline.turns.are_all_over, "it is still played"
    interrupts(talk, 1_000)
    talk.hear(1_080, speech_started("item_b"))
    talk.send(1_080, "conversation.item.truncate")
    talk.hear(1_100, truncated())
    turn = talk.only(1_101)

    assert (turn.outcome, after_ms(turn, "ended"), turn.yielded) == ("interrupted", 1_080, True)
    assert turn.unplayed_audio_ns == 4 * S - 930 * MS
    assert {"barge_in_last_audio", "barge_in_response_done"}.isdisjoint(turn.metrics_ns())


def test_a_backchannel_stops_no_response_and_overlaps_until_it_ends() -> None:
    talk = playing("backchannel")
    talk.send(1_000, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.send(1_600, "input_audio_buffer.append", audio_bytes=4_800, instants={"sound_end": 0})
    talk.hear(1_700, audio(), part_done(GA, "audio", "r1"), done("r1"))
    talk.timeline.expire(at(10_000))
    (turn,) = talk.take(100_000)

    assert (turn.outcome, turn.overlap_ns) == ("ok", 600 * MS)
    assert not [name for name in turn.metrics_ns() if name.startswith("barge_in")]


def test_the_overlap_ends_with_the_caller_s_speech_if_the_reply_does_not_yield() -> None:
    talk = playing(whole=True)
    interrupts(talk, 1_000)
    talk.end_speech(1_900)
    talk.timeline.expire(at(4_150))
    (turn,) = talk.take(4_151)

    assert (turn.outcome, turn.yielded, turn.overlap_ns) == ("ok", False, 900 * MS)


def test_the_interrupting_turn_has_its_own_turn_type_and_its_own_answer() -> None:
    talk = playing(whole=True)
    interrupts(talk, 1_000)
    talk.hear(1_080, speech_started("item_b"))
    talk.end_speech(1_600)
    talk.hear(2_000, speech_stopped("item_b"), committed("item_b"), created("r2"))
    talk.hear(2_300, audio("item_c", response_id="r2"), done("r2"))
    first, second = talk.take(100_000)

    assert (first.outcome, second.outcome) == ("interrupted", "ok")
    assert (first.turn_type, second.turn_type) == ("regular", "after_interruption")
    assert second.response_id == "r2"


def test_a_client_that_interrupts_stops_playback_at_once_and_truncates_the_item() -> None:
    talk = playing("client")
    talk.timeline.apply(inputs.ClientInterrupted(at(1_000)))
    assert talk.work(1_000, CancelResponse) == [CancelResponse("turn-1-cancel")]
    talk.send(1_000, "response.cancel")
    assert talk.work(1_000, CancelResponse) == []
    assert talk.work(1_000, TruncateItem) == [TruncateItem("item_a", 850, "turn-1-1-truncate")]
    talk.send(1_001, "conversation.item.truncate")
    talk.hear(
        1_020,
        done("r1", status="cancelled", type="cancelled", reason="client_cancelled"),
        truncated(),
    )
    turn = talk.only(1_030)

    assert (turn.outcome, turn.interruption, turn.yielded) == ("interrupted", "client", None)
    assert "barge_in_yield" not in turn.metrics_ns()
    assert turn.metrics_ns()["barge_in_response_done"] == 20 * MS


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


def test_a_reply_that_ends_before_its_interruption_is_ok_and_has_not_yielded() -> None:
    talk = playing(seconds=1, whole=True)
    talk.timeline.expire(at(1_150))
    turn = talk.only(1_150)

    assert (turn.outcome, turn.interruption, turn.yielded, after_ms(turn, "ended")) == (
        "ok",
        None,
        None,
        1_150,
    )
    assert turn.interruption_missed is True
    assert turn.unplayed_audio_ns is None


@pytest.mark.parametrize(("from_ms", "yielded"), [(2_500, None), (2_000, False)])
def test_a_reply_that_goes_on_for_two_seconds_has_not_yielded(
    from_ms: float, yielded: bool | None
) -> None:
    talk = playing(whole=True)
    interrupts(talk, from_ms)
    talk.timeline.expire(at(4_150))
    (turn,) = talk.take(4_151)

    assert (turn.outcome, turn.yielded) == ("ok", yielded)
    assert turn.metrics_ns().get("barge_in_yield") == (
        None if yielded is None else (4_150 - from_ms) * MS
    )


@pytest.mark.parametrize(
    ("heard_ms", "false_yield"), [(None, False), (1_400, True), (2_500, False)]
)
def test_a_sound_that_stops_a_reply_within_a_second_is_a_false_yield(
    heard_ms: float | None, false_yield: bool
) -> None:
    talk = playing("backchannel", whole=True)
    talk.send(1_000, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    if heard_ms is not None:
        talk.hear(heard_ms, speech_started("item_b"))
    talk.timeline.expire(at(4_150))
    (turn,) = talk.take(100_000)

    assert turn.outcome == ("ok" if heard_ms is None else "cancelled:turn_detected")
    assert (turn.interruption, turn.yielded, turn.false_yield) == ("backchannel", None, false_yield)


@pytest.mark.parametrize(("closed_ms", "false_yield"), [(1_400, None), (2_500, False)])
def test_a_turn_that_fails_within_a_second_of_a_sound_does_not_tell_whether_the_reply_stopped(
    closed_ms: float, false_yield: bool | None
) -> None:
    talk = playing("backchannel", whole=True)
    talk.send(1_000, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.timeline.apply(inputs.ConnectionClosed(1006, at(closed_ms)))
    (turn,) = talk.take(100_000)

    assert (turn.outcome, turn.interruption, turn.false_yield) == (
        "closed:1006",
        "backchannel",
        false_yield,
    )


def test_false_yield_of_a_sound_is_recorded_even_if_speech_interrupts_the_reply_later() -> None:
    talk = playing("backchannel", whole=True)
    talk.send(500, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.timeline.apply(inputs.InterruptionAwaited("speech"))
    interrupts(talk, 2_000)
    talk.hear(2_080, speech_started("item_b"))
    turn, *_ = talk.take(100_000)

    assert (turn.outcome, turn.interruption, turn.yielded, turn.false_yield) == (
        "interrupted",
        "speech",
        True,
        False,
    )


def test_the_last_of_two_sounds_sets_barge_in_and_the_interruption() -> None:
    talk = playing("noise", whole=True)
    talk.send(500, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.timeline.apply(inputs.InterruptionAwaited("talking_to_others"))
    talk.send(2_000, "input_audio_buffer.append", audio_bytes=4_800, instants={"barge_in": 0})
    talk.hear(2_100, speech_started("item_b"))
    (turn,) = talk.take(100_000)

    assert (after_ms(turn, "barge_in"), turn.interruption, turn.false_yield) == (
        2_000,
        "talking_to_others",
        True,
    )


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


def test_an_interrupted_turn_still_waits_for_its_transcription() -> None:
    talk = Talk(service_responds=True)
    talk.ask(0, audio_bytes=4_800, transcription_due=True)
    talk.timeline.apply(inputs.InterruptionAwaited("client"))
    talk.hear(50, committed("item_1"), created("r1"), audio())
    talk.timeline.apply(inputs.ClientInterrupted(at(500)))
    talk.hear(510, done("r1", **CANCELLED))
    assert talk.take(511) == []
    talk.hear(600, not_transcribed("item_1"))

    assert talk.only(601).outcome == "interrupted"


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
