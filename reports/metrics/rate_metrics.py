"""Rates, which are shares of turns or of words.

Each rate defines the turns that it counts, and its better direction. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.catalogue.metrics import Better

RateUnit = Literal["turns", "words", "characters", "words and characters"]
"""The unit of a rate's denominator."""


@dataclass(frozen=True)
class RateMetric:
    """A share of turns, or of words.

    `column` is the column of turns with the counted events. A turn with null in this column does
    not count. For a share of words, `column` contains the number of word errors, `words_column` the
    number of words, and `characters_column` the number of these words that are characters of
    scripts without spaces.
    """

    name: str
    better: Better = "lower"
    column: str = ""
    words_column: str = ""
    characters_column: str = ""
    sentence: str = field(kw_only=True)
    """The definition of the rate."""

    @property
    def units(self) -> Literal["turns", "words"]:
        """The unit of the denominator: turns, or words."""
        return "words" if self.words_column else "turns"

    def unit(self, words: float, characters: float) -> RateUnit:
        """Return the unit of a denominator of `words` words, of which `characters` are
        characters.
        """
        if not characters:
            return self.units
        return "characters" if characters == words else "words and characters"


RATES = {
    rate.name: rate
    for rate in (
        RateMetric(
            "failure_rate",
            sentence=(
                "Share of the planned turns that failed or did not start; unfinished ones are"
                " excluded."
            ),
        ),
        RateMetric(
            "throttle_rate",
            sentence="Share of the ended turns that the service throttled.",
        ),
        RateMetric(
            "stall_rate",
            sentence=(
                "Share of the successful turns with audio in which the simulated player ran out of"
                " audio."
            ),
        ),
        RateMetric(
            "yield_rate",
            "higher",
            "yielded",
            sentence=(
                "Share of the interruptions of a reply after which the player was silent within"
                " 2 s."
            ),
        ),
        RateMetric(
            "false_yield_rate",
            "lower",
            "false_yield",
            sentence=(
                "Share of the backchannels, noises and asides played during a reply that stopped it"
                " within 1 s."
            ),
        ),
        RateMetric(
            "truncation_correct_rate",
            "higher",
            "truncation_correct",
            sentence=(
                "Share of the checked interrupted replies of which the service retained only the"
                " audio that was played."
            ),
        ),
        RateMetric(
            "false_reply_rate",
            "lower",
            "false_reply",
            sentence=(
                "Share of the turns after a sound during silence in which the service replied to"
                " that sound."
            ),
        ),
        RateMetric(
            "cut_off_rate",
            "lower",
            "cut_off",
            sentence=(
                "Share of the VAD turns in which a reply was played before the end of the caller's"
                " speech."
            ),
        ),
        RateMetric(
            "preamble_rate",
            "neither",
            "preamble",
            sentence="Share of the good turns with audio in which other audio preceded the answer.",
        ),
        RateMetric(
            "mcp_failure_rate",
            "lower",
            "mcp_call_failed",
            sentence="Share of the turns with MCP calls in which a call failed.",
        ),
        RateMetric(
            "task_success_rate",
            "higher",
            "task_success",
            sentence="Share of the turns with a success criterion in their script that met it.",
        ),
        RateMetric(
            "input_wer",
            "lower",
            "input_word_errors",
            "input_words",
            "input_characters",
            sentence=(
                "Word errors in the service's transcription of the caller's speech ÷ words of that"
                " speech."
            ),
        ),
        RateMetric(
            "reply_wer",
            "lower",
            "reply_word_errors",
            "reply_words",
            "reply_characters",
            sentence=(
                "Word errors in the transcripts or texts of replies ÷ words of the expected"
                " replies."
            ),
        ),
    )
}
"""All rates by name. If a rate has no column, `bench.catalogue.metrics` defines its name."""
OF_COLUMNS = tuple(rate for rate in RATES.values() if rate.column)
MIN_RATE_UNITS = 10
"""The minimum number of turns or words for a rate; with fewer, only the two counts are shown."""
