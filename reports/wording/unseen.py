"""What a rate of nothing leaves open, in words: that none was seen is no proof that there are none."""

from __future__ import annotations

from dataclasses import replace

from reports.numbers import NBSP, plural
from reports.question import Question, better_of
from reports.statistics.differences import Difference
from reports.statistics.shares import upper
from reports.statistics.verdicts import Verdict

NOUNS = {
    "failures": "failure", "throttled": "throttled turn", "stalled": "stalled reply", "cut_off_rate": "turn cut off",
    "false_yield_rate": "false yield", "false_response_rate": "false response",
    "input_wer": "word error", "reply_wer": "word error",
}  # fmt: skip


def nothing_seen(measure: str, sessions: int, level: float, needed: int | None, longest: float) -> str:
    """with no failure in 100 sessions the rate may still be up to 3.0 %: it takes about 299 sessions.

    `longest`: sessions as long as the longest.
    """
    left = 100 * upper(0.0, 0.0, longest, level)
    shown = f"{left:.1f}" if left >= 1 else f"{left:.2g}"
    noun = NOUNS.get(measure, f"{measure} turn")
    told = f"with no {noun} in {plural(sessions, 'session')} the rate may still be up to {shown}{NBSP}%"
    return f"{told}: it takes about {plural(needed, 'session')}" if needed else told


def with_unseen(
    verdict: Verdict, question: Question, found: Difference | None, sessions: int, longest: float
) -> Verdict:
    """The verdict, with why it is inconclusive where the candidate showed none of a rate."""
    if question.kind != "rate" or verdict.word != "inconclusive" or verdict.reason or not found or found.candidate:
        return verdict
    if better_of(question) != "lower":
        return verdict
    needed = sessions + found.more_sessions if found.more_sessions else None
    return replace(verdict, reason=nothing_seen(question.measure, sessions, found.level, needed, longest))
