"""The comparison of a turn's transcripts with the references in the script of the turn."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.words import normalized_words
from bench.observe.observation import TurnScore, score_turn, word_errors
from bench.plan.turn_plan import TurnReference
from bench.plan.turns import AudioTurn
from bench.services.openai.dialect import GA
from tests.helpers import (
    MS,
    Played,
    Service,
    Talk,
    build_script,
    committed,
    created,
    delta,
    done,
    message,
    not_transcribed,
    play,
    reply,
    row_of,
    say,
    seated,
    spoken,
    transcribed,
)
from tests.memory_transport import MemoryTransport, PeerAnswer

WORDS = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=3), min_size=1, max_size=8)


def edits(one: list[str], other: list[str]) -> int:
    """Return the minimum number of words to change, delete or insert to get from one text to the
    other.

    The algorithm differs from the one that the library uses.
    """
    row = list(range(len(other) + 1))
    for word in one:
        above, row = row, [row[0] + 1]
        for place, heard in enumerate(other):
            row.append(min(above[place] + (word != heard), above[place + 1] + 1, row[-1] + 1))
    return row[-1]


@pytest.mark.parametrize(
    ("reference", "transcript", "errors"),
    [
        ("Where is my parcel?", "where is my parcel", 0),
        ("Where is my parcel?", "Where's my parcel?", 2),
        ("order 4711", "order four seven one one", 4),
        ("order 4711", "order 4711, please", 1),
        ("the well-known shop", "The well known shop!", 0),
        ("it’s late", "it's late", 0),
        ("Größe drei", "GRÖSSE drei", 0),
        ("where is my parcel", "", 4),
    ],
)
def test_words_are_compared_without_case_and_punctuation_but_numbers_verbatim(
    reference: str, transcript: str, errors: int
) -> None:
    assert word_errors(reference, transcript) == (len(normalized_words(reference)), errors, 0)


@given(WORDS, WORDS)
def test_word_errors_are_the_minimum_number_of_edits(
    reference: list[str], transcript: list[str]
) -> None:
    assert word_errors(" ".join(reference), " ".join(transcript)) == (
        len(reference),
        edits(reference, transcript),
        0,
    )


@given(st.text(), st.text())
def test_any_two_texts_have_a_number_of_word_errors(reference: str, transcript: str) -> None:
    words, errors, _ = word_errors(f"a {reference}", transcript)

    assert words == len(normalized_words(f"a {reference}"))
    assert 0 <= errors <= max(words, len(normalized_words(transcript)))


REFERENCE = TurnReference("where is my parcel", "it is on its way", contains=("on its way",))


@pytest.mark.parametrize(
    ("outcome", "transcript", "reply", "judged"),
    [
        ("ok", "where is my parcel", "It is on its way.", (4, 0, 5, 0, True, 0, 0)),
        # known words without errors are not scored
        ("ok", None, "It is on its way.", (4, None, 5, 0, True, 0, 0)),
        ("ok", "where is my parcel", "", (4, 0, 5, None, None, 0, 0)),
        ("ok", "where is my parcel", " \n", (4, 0, 5, None, None, 0, 0)),
        ("ok", "where is my parcel", "…", (4, 0, 5, None, None, 0, 0)),
        # the service understood nothing: that is its answer, and all words are wrong
        ("ok", "", "It is on its way.", (4, 4, 5, 0, True, 0, 0)),
        ("interrupted", None, "It is", (4, None, None, None, False, 0, None)),
        ("interrupted", "where is my parcel", "", (4, 0, None, None, None, 0, None)),
        # the failure of a turn has its own rate
        (
            "timeout:next_delta",
            "where is my parcel",
            "It is on its way",
            (4, 0, None, None, False, 0, None),
        ),
        ("timeout:first_delta", None, "", (None, None, None, None, False, None, None)),
        ("unfinished", "where is my parcel", "It is on its way", (4, 0, None, None, None, 0, None)),
        ("unfinished", None, "", (None, None, None, None, None, None, None)),
    ],
)
def test_words_without_a_transcript_are_unscored_and_a_failed_turn_fails_its_task(
    outcome: str, transcript: str | None, reply: str, judged: tuple[object, ...]
) -> None:
    score = score_turn(REFERENCE, outcome, transcript, reply, is_transcription_due=True)

    assert score == (*judged, True)


def test_words_that_no_one_asked_to_transcribe_are_not_missing() -> None:
    score = score_turn(REFERENCE, "ok", None, "It is on its way.")

    assert (score.input_words, score.input_word_errors) == (None, None)


@pytest.mark.parametrize(
    ("reference", "reply", "done"),
    [
        (TurnReference(contains=("Table for two",)), "A table, for two: done.", True),
        (TurnReference(contains=("Table for two",)), "A table for twenty.", False),
        (TurnReference(contains=("two", "Friday")), "On friday, for two.", True),
        (TurnReference(contains=("two", "Friday")), "For two.", False),
        (TurnReference(matches=r"order (4711|4712)\b"), "Your order 4711 has left.", True),
        (TurnReference(matches=r"order (4711|4712)\b"), "Your order 47115 has left.", False),
        (TurnReference(matches="Left"), "It has left.", False),
        (TurnReference(matches="(?i)LEFT"), "It has left.", True),
    ],
)
def test_a_task_succeeds_if_the_reply_contains_or_matches_the_expected_text(
    reference: TurnReference, reply: str, done: bool
) -> None:
    assert score_turn(reference, "ok", None, reply).task_success is done


# Sessions.


def answering(*words: str) -> Callable[[str], list[PeerAnswer]]:
    """Return a function that answers with these transcripts. Each transcript is in its own
    event.
    """

    def answer(response_id: str) -> list[PeerAnswer]:
        transcripts = [
            message("response.output_audio_transcript.done", response_id=response_id, transcript=w)
            for w in words
        ]
        return spoken(
            [created(response_id), delta(GA, "audio", response_id), *transcripts, done(response_id)]
        )

    return answer


def spoken_turn(words: str = "", **reference: Any) -> AudioTurn:
    return replace(
        play(), transcript=(words,) if words else (), reference=TurnReference(**reference)
    )


@pytest.mark.parametrize(
    ("answers", "errors", "reported"),
    [
        ([transcribed("item_1", "Where is my parcel?")], 0, ""),
        ([transcribed("item_1", "")], 4, ""),  # the service understood no word
        ([not_transcribed("item_1")], None, "server_error: No."),
        ([], None, ""),
    ],
)
def test_a_recording_that_was_not_transcribed_has_words_without_errors_and_the_reported_cause(
    answers: list[bytes], errors: int | None, reported: str
) -> None:
    talk = Talk()
    reference = TurnReference("where is my parcel")
    talk.ask(0, audio_bytes=4_800, transcription_due=True, reference=reference)
    talk.hear(0, committed("item_1"), *reply(GA, "r1"))
    talk.hear(10, *answers)
    (turn,) = talk.take(100_000)

    assert (turn.quality.input_words, turn.quality.input_word_errors) == (4, errors)
    assert turn.input_transcription_error == reported


def test_a_judge_function_takes_precedence_over_the_reference() -> None:
    both = replace(
        say(), judge=lambda turn: True, reference=TurnReference(contains=("nothing of it",))
    )
    played = Played(build_script(both), Service(turns=[answering("Bye.")]))

    assert played.turns[0].quality.task_success is True
    assert played.turns[0].quality.task_defined is True


def test_a_judge_function_that_raises_does_not_lose_the_turn() -> None:
    def judge(turn: Any) -> object:
        raise ZeroDivisionError

    transport = MemoryTransport(service := Service(), service.greeting())
    session, _, listening = seated(build_script(replace(say(), judge=judge)), transport)
    with pytest.raises(ZeroDivisionError):
        session.run()
    session.abort("failed:load_generator", "ZeroDivisionError")

    (turn,) = listening.turns
    assert (turn.outcome, turn.quality.task_success, turn.quality.task_defined) == (
        "ok",
        None,
        True,
    )


def test_rows_contain_scores_but_no_words() -> None:
    script = build_script(
        spoken_turn("Hello secret", reply="wrong"), input_transcription="whisper-1"
    )
    row = row_of(Played(script, Service(turns=[answering("Bye.")], transcript_ns=50 * MS)).turns[0])

    assert {name: row[name] for name in TurnScore._fields} == TurnScore(
        2, 1, 1, 1, None, 0, 0, None
    )._asdict()
    assert not any("secret" in str(value).lower() or "Bye" in str(value) for value in row.values())
