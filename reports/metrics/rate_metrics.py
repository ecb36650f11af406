"""Rates, which are shares of turns or of words.

Each rate defines the turns that it counts, and its better direction. Pure.
"""

from typing import Literal, NamedTuple

from bench.catalogue.metrics import Better

RateUnit = Literal["turns", "words", "characters", "words and characters"]
"""The unit of a rate's denominator."""


class RateMetric(NamedTuple):
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
        RateMetric("failure_rate"),
        RateMetric("throttle_rate"),
        RateMetric("stall_rate"),
        RateMetric("yield_rate", "higher", "yielded"),
        RateMetric("false_yield_rate", "lower", "false_yield"),
        RateMetric("truncation_correct_rate", "higher", "truncation_correct"),
        RateMetric("false_reply_rate", "lower", "false_reply"),
        RateMetric("cut_off_rate", "lower", "cut_off"),
        RateMetric("preamble_rate", "neither", "preamble"),
        RateMetric("mcp_failure_rate", "lower", "mcp_call_failed"),
        RateMetric("task_success_rate", "higher", "task_success"),
        RateMetric("input_wer", "lower", "input_word_errors", "input_words", "input_characters"),
        RateMetric("reply_wer", "lower", "reply_word_errors", "reply_words", "reply_characters"),
    )
}
"""All rates by name; `reports.text.definitions` has their definitions.

If a rate has no column, `bench.catalogue.metrics` defines its name.
"""
OF_COLUMNS = tuple(rate for rate in RATES.values() if rate.column)
MIN_RATE_UNITS = 10
"""The minimum number of turns or words for a rate; with fewer, only the two counts are shown."""
