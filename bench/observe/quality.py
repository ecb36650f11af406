"""Judges what was said in a turn by what its script knows of it: word errors, and whether its task is done. Pure.

Errors are those of the alignment with the fewest: words that are another one, are missing, or are too many.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from bench.outcomes import GOOD, outcome_class
from bench.plan.turn_plan import Reference, words_of


class Quality(NamedTuple):
    """What a turn's words come to, in columns of these names; None where there is nothing to judge by, or to judge.

    `input_words`, `reply_words`: of the reference. Their word error rate is the errors divided by these.
    """

    input_words: int | None = None
    input_word_errors: int | None = None
    reply_words: int | None = None
    reply_word_errors: int | None = None
    task_done: bool | None = None


UNJUDGED = Quality()


def quality(reference: Reference, outcome: str, heard: str | None, reply: str) -> Quality:
    """Judge a turn that is over.

    `heard`: the caller's words as the service transcribed them, None where it did not transcribe all of them. `reply`:
    the reply's; where none were told, nobody knows whether a turn that ended well has done its task. Word errors of a
    reply are counted where it came to its end.
    """
    of_input = _errors(reference.words, heard)
    of_reply = _errors(reference.reply, reply if reply and outcome == "ok" else None)
    known = reference.has_task and (reply or outcome not in GOOD)

    def does_task() -> bool:
        spaced = f" {' '.join(words_of(reply))} "
        contains = all(f" {' '.join(words_of(text))} " in spaced for text in reference.contains)
        return contains and re.search(reference.matches, reply) is not None

    return Quality(*of_input, *of_reply, is_done(outcome, does_task) if known else None)


def word_errors(reference: str, words: str) -> tuple[int, int]:
    """(words of the reference, errors of the words that are held against it). The reference has a word."""
    import jiwer  # where words are counted alone: it takes 40 ms

    expected = words_of(reference)
    found = jiwer.process_words(" ".join(expected), " ".join(words_of(words)))
    return len(expected), found.substitutions + found.deletions + found.insertions


def load_scorer() -> None:
    """Load what counts errors, which would else hold up whoever counts first."""
    word_errors("word", "word")


def is_done(outcome: str, judge: Callable[[], object]) -> bool | None:
    """Whether a turn has done its task: as it is judged where it ended well; None where it was cut."""
    ended = outcome_class(outcome)
    return None if ended == "censored" else ended == "good" and bool(judge())


def _errors(reference: str, words: str | None) -> tuple[int | None, int | None]:
    return (None, None) if words is None or not words_of(reference) else word_errors(reference, words)
