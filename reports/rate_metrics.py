"""Shares of turns, or of words: what each counts, and its better direction. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.metrics import Better


@dataclass(frozen=True)
class RateMetric:
    """A share of turns. `column`: null for turns that do not count; with `words`, it is the number of word errors."""

    name: str
    sentence: str
    better: Better = "lower"
    column: str = ""
    words: str = ""

    @property
    def trials(self) -> Literal["turns", "words"]:
        """The unit of the denominator: turns, or words."""
        return "words" if self.words else "turns"


RATES = {rate.name: rate for rate in (
    RateMetric("failure_rate",
        "Turns that failed or did not start, of the planned turns; unfinished ones are excluded."),
    RateMetric("throttle_rate", "Turns that the service throttled, of the turns that ended."),
    RateMetric("stall_rate",
        "Replies in which the simulated player ran dry, of the turns that succeeded with audio."),
    RateMetric("yield_rate",
        "Interruptions after which the player was silent within 2 s, of those that found a reply to stop.",
        "higher", "yielded"),
    RateMetric("false_yield_rate",
        "Backchannels, noises and asides that stopped the reply within 1 s, of all that were played into one.",
        "lower", "false_yield"),
    RateMetric("truncation_correct_rate",
        "Interrupted replies of which the service retained nothing beyond what was played, of those that were checked.",
        "higher", "truncation_correct"),
    RateMetric("false_reply_rate",
        "Sounds during silence that the service replied to, by the turns that follow them, of all such turns.",
        "lower", "false_reply"),
    RateMetric("cut_off_rate",
        "Turns in which a reply was played before the caller's speech had ended, of the VAD turns.",
        "lower", "cut_off"),
    RateMetric("preamble_rate",
        "Turns in which audio came before the answer, of the good turns with audio.",
        "neither", "preamble"),
    RateMetric("task_success_rate",
        "Turns that did what their script calls success, of those of which it says what that is.",
        "higher", "task_success"),
    RateMetric("input_wer",
        "Word errors of the service's transcription of the caller's speech, of the words that are said in it.",
        "lower", "input_word_errors", "input_words"),
    RateMetric("reply_wer",
        "Word errors of replies, by their transcripts or texts, of the words that they should say.",
        "lower", "reply_word_errors", "reply_words"),
)}  # fmt: skip
"""The shares of turns, by name; the names without a column are those of `bench.metrics`."""
OF_COLUMNS = tuple(rate for rate in RATES.values() if rate.column)
TRIALS = 10
"""The minimum number of turns or words for a rate; with fewer, only the two counts are shown."""
