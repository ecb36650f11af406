"""Rates, which are shares of turns or of words.

Each rate defines the turns that it counts, and its better direction. Pure.
"""

from typing import Literal, NamedTuple

from bench.catalogue.metrics import Better

RateUnit = Literal["turns", "calls", "words", "characters", "words and characters"]
"""The unit of a rate's denominator."""


class DueTurns(NamedTuple):
    """The turns to which a rate applies. Those without a known event are unscored.

    `column` is not null, and not 0, in such a turn. If it is a label, it is one of `labels`. `kind`
    is the class of the turn's outcome. If `by_step`, the event of another turn of its target and
    step is known, which shows that the script asks for it.
    """

    column: str
    labels: tuple[str, ...] = ()
    kind: Literal["ended", "success", "failed"] = "ended"
    by_step: bool = False


class RateMetric(NamedTuple):
    """A share of turns, or of words.

    `column` is the column of turns with the counted events. A turn with null in this column does
    not count. It is unscored if it is one of the `due` turns. For a share of words, `column`
    contains the number of word errors, `words_column` the number of words, and `characters_column`
    the number of these words that are characters of scripts without spaces.
    """

    name: str
    better: Better = "lower"
    column: str = ""
    words_column: str = ""
    characters_column: str = ""
    due: DueTurns | None = None
    of_calls: bool = False
    """True if each call counts once, with its last turn. If `column` is that of its patience, the
    event is that it was abandoned."""
    of_metric: str = ""
    """The metric of calls whose finite values are the events of the rate. The infinite ones are
    calls without the event."""

    @property
    def units(self) -> Literal["turns", "calls", "words"]:
        """The unit of the denominator."""
        if self.words_column:
            return "words"
        return "calls" if self.of_calls or self.of_metric else "turns"

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
        RateMetric("abandonment_rate", column="patience_ns", of_calls=True),
        RateMetric("returned_share", "higher", of_metric="reconnect_time"),
        RateMetric("stall_rate", due=DueTurns("received_audio_ns", kind="success")),
        # a reply that ended by itself has no yield; one of a failed turn may have had one
        RateMetric(
            "yield_rate",
            "higher",
            "yielded",
            due=DueTurns("interruption", ("speech",), "failed"),
        ),
        RateMetric(
            "false_yield_rate",
            "lower",
            "false_yield",
            due=DueTurns("interruption", ("backchannel", "noise", "talking_to_others"), "failed"),
        ),
        RateMetric(
            "truncation_correct_rate",
            "higher",
            "truncation_correct",
            due=DueTurns("truncate_sent_at_ns", by_step=True),
        ),
        RateMetric("false_reply_rate", "lower", "false_reply"),
        RateMetric(
            "cut_off_rate",
            "lower",
            "cut_off",
            due=DueTurns("speech_start_at_ns", kind="failed", by_step=True),
        ),
        RateMetric(
            "crossed_audio_rate",
            column="crossed_audio",
            due=DueTurns("caller_mark"),
            of_calls=True,
        ),
        RateMetric(
            "taken_for_mailbox_rate",
            column="taken_for_mailbox",
            due=DueTurns("callee", ("person", "late_person")),
        ),
        RateMetric(
            "taken_for_person_rate",
            column="taken_for_person",
            due=DueTurns("callee", ("mailbox",)),
        ),
        RateMetric(
            "early_message_rate",
            column="spoke_before_beep",
            due=DueTurns("callee", ("mailbox",)),
        ),
        RateMetric(
            "preamble_rate",
            "neither",
            "preamble",
            due=DueTurns("received_audio_ns", kind="success", by_step=True),
        ),
        RateMetric("mcp_failure_rate", "lower", "mcp_call_failed", due=DueTurns("mcp_calls")),
        RateMetric("task_success_rate", "higher", "task_success", due=DueTurns("task_defined")),
        RateMetric(
            "input_wer",
            "lower",
            "input_word_errors",
            "input_words",
            "input_characters",
            DueTurns("input_words"),
        ),
        RateMetric(
            "reply_wer",
            "lower",
            "reply_word_errors",
            "reply_words",
            "reply_characters",
            DueTurns("reply_words"),
        ),
    )
}
"""All rates by name; `reports.text.definitions` has their definitions.

If a rate has no column, `bench.catalogue.metrics` defines its name.
"""
OF_TURNS = tuple(name for name, rate in RATES.items() if not rate.of_metric)
OF_COLUMNS = tuple(rate for rate in RATES.values() if rate.column)
MIN_RATE_UNITS = 10
"""The minimum number of turns or words for a rate; with fewer, only the two counts are shown."""
