"""A question to a baseline and a candidate: which figure of which turns, which margin, whether it decides; pure.

Turns lie in strata that are never pooled: latency counts from an instant, the turn's origin, and a turn may have
traits: it called functions, or followed an interruption. Turns without any are plain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from bench import metrics
from bench.errors import UsageError
from bench.metrics import CATALOGUE, REGULAR
from bench.metrics import Better as Direction
from reports.records import Known, Record, about
from reports.statistics.differences import Better, Margin

ORIGINS = {"request_sent": "request sent", "speech_end": "end of speech"}
"""What latency is measured from, in the order in which reports show it, and its words."""
STARTED_BY = {"request_sent": "turns with response.create", "speech_end": "VAD turns"}
"""What started the response, in words: for metrics that count from the end of speech whatever the origin."""
TURN_TYPES = {
    "function_calls": "with function calls",
    "after_interruption": "after an interruption",
    "after_truncation": "after a truncation",
    "filler": "with fillers on",
}
"""What sets turns of one step apart (`bench.metrics.TURN_TYPES`), and its words."""
SINCE = {measured_from: f"from {instant}" for measured_from, instant in ORIGINS.items()}


Traits = Annotated[Known, about("the type of the turns; null of regular ones")]


class Stratum(NamedTuple):
    """Turns that may be pooled: their latency counts from one instant, and they have the same turn type.

    `measured_from` is empty where origins are not told apart, `turn_type` of regular turns.
    """

    measured_from: str = ""
    turn_type: str = ""

    @property
    def key(self) -> str:
        """The name in documents: requested, request_sent+function_calls."""
        return "+".join(filter(None, self))

    @property
    def since(self) -> str:
        """From request sent, with function calls: which turns of a metric that is measured from their origin."""
        return _joined(SINCE.get(self.measured_from, ""), self.turn_type_words)

    @property
    def turns(self) -> str:
        """VAD turns with function calls: which turns, whatever is measured of them."""
        started = STARTED_BY.get(self.measured_from, "turns" if self.turn_type else f"{REGULAR} turns")
        return started + (f"{',' if ' with ' in started else ''} {self.turn_type_words}" if self.turn_type else "")

    def turns_among(self, others: Collection[Stratum]) -> str:
        """Return which turns, without what started the response if that is the same in all of them."""
        started = self.measured_from if len({other.measured_from for other in others}) > 1 else ""
        return self._replace(measured_from=started).turns

    @property
    def turn_type_words(self) -> str:
        """With function calls, after an interruption; empty for plain turns."""
        return turn_type_words(self.turn_type)

    def covers(self, other: Stratum) -> bool:
        """Whether turns of the other stratum are of this one."""
        return self.measured_from in ("", other.measured_from) and self.turn_type == other.turn_type

    def among(self, others: Collection[Stratum], origins: Mapping[str, str]) -> str:
        """What tells it from the others: from request sent, plain. `origins`: the words of each; empty if alone."""
        return _joined(
            origins.get(self.measured_from, "") if len({other.measured_from for other in others}) > 1 else "",
            (self.turn_type_words or REGULAR) if len({other.turn_type for other in others}) > 1 else "",
        )


def turn_type_words(turn_type: str) -> str:
    """With function calls, after an interruption; empty for plain turns."""
    return ", ".join(TURN_TYPES.get(name, name) for name in turn_type.split("+"))


NO_STRATUM = Stratum()
"""Of figures that tell nothing apart."""


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def in_order(turn_type: Collection[str]) -> tuple[str, ...]:
    """Traits in the order in which reports show them, plain turns first."""
    place = {name: at for at, name in enumerate(("", *metrics.TURN_TYPES))}
    last = len(place)
    return tuple(
        sorted(turn_type, key=lambda several: ([place.get(name, last) for name in several.split("+")], several))
    )


class Wait(Record, frozen=True):
    """The main metric of one stratum and target."""

    metric: str
    measured_from: Known
    turn_type: Traits
    target: str

    @property
    def stratum(self) -> Stratum:
        return Stratum(self.measured_from, self.turn_type)


Kind = Literal["quantile", "mean", "rate", "centre"]
"""`centre`: the typical change over all steps (`reports.statistics.centre`), of arms in pairs."""


@dataclass(frozen=True)
class RateMetric:
    """A share of turns. `column`: of turns, where it is true of those that are counted and null of all others.

    `words`: the column that counts the words of turns, where it is a share of words, and `column` counts its events.
    """

    name: str
    sentence: str
    better: Direction = "lower"
    column: str = ""
    words: str = ""

    @property
    def trials(self) -> Literal["turns", "words"]:
        """What it is a share of: turns, or words."""
        return "words" if self.words else "turns"


RATES = {
    rate.name: rate
    for rate in (
        RateMetric(
            "failure_rate",
            "Turns that failed or did not start, of the planned turns; unfinished ones are excluded.",
        ),
        RateMetric("throttle_rate", "Turns that the service throttled, of the turns that ended."),
        RateMetric(
            "stall_rate",
            "Replies in which the simulated player ran dry, of the turns that succeeded with audio.",
        ),
        RateMetric(
            "yield_rate",
            "Interruptions after which the player was silent within 2 s, of those that found a reply to stop.",
            "higher",
            "yielded",
        ),
        RateMetric(
            "false_yield_rate",
            "Backchannels, noises and asides that stopped the reply within 1 s, of all that were played into one.",
            "lower",
            "false_yield",
        ),
        RateMetric(
            "truncation_correct_rate",
            "Interrupted replies of which the service retained nothing beyond what was played, of those that were "
            "checked.",
            "higher",
            "truncation_correct",
        ),
        RateMetric(
            "false_reply_rate",
            "Sounds during silence that the service replied to, by the turns that follow them, of all such turns.",
            "lower",
            "false_reply",
        ),
        RateMetric(
            "cut_off_rate",
            "Turns in which a reply was played before the caller's speech had ended, of the VAD turns.",
            "lower",
            "cut_off",
        ),
        RateMetric(
            "preamble_rate",
            "Turns in which audio came before the answer, of the good turns with audio.",
            "neither",
            "preamble",
        ),
        RateMetric(
            "task_success_rate",
            "Turns that did what their script calls success, of those of which it says what that is.",
            "higher",
            "task_success",
        ),
        RateMetric(
            "input_wer",
            "Word errors of the service's transcription of the caller's speech, of the words that are said in it.",
            column="input_word_errors",
            words="input_words",
        ),
        RateMetric(
            "reply_wer",
            "Word errors of replies, by their transcripts or texts, of the words that they should say.",
            column="reply_word_errors",
            words="reply_words",
        ),
    )
}
"""Shares of turns, by name; the other names are those of `bench.metrics`."""
OF_COLUMNS = tuple(rate for rate in RATES.values() if rate.column)
TRIALS = 10
"""Of fewer turns, or words, a rate is no figure, but two counts."""

MARGINS = {0.5: 0.10, 0.9: 0.15, 0.95: 0.20, 0.99: 0.30}
"""Accepted by default, by quantile; another quantile takes that of the next higher one here."""
POINTS = 0.01


@dataclass(frozen=True)
class Question:
    """A figure of both arms. `p`: of a quantile. `stratum`: where a run has turns of several; None for all there is.

    `step`: of one step alone; empty for all.
    """

    metric: str
    kind: Kind
    margin: Margin
    p: float | None = None
    primary: bool = False
    stratum: Stratum | None = None
    step: str = ""

    @property
    def name(self) -> str:
        """ttfa p95, failure_rate, audio_speed mean."""
        shown = f"{self.metric} {self.step}".rstrip()
        if self.kind == "rate":
            return shown
        if self.kind == "centre":
            return f"{shown}_typical_change"
        return f"{shown} mean" if self.p is None else f"{shown} p{self.p * 100:g}"

    @property
    def unit(self) -> str:
        return "share" if self.kind == "rate" else CATALOGUE[self.metric].unit

    @property
    def shown_unit(self) -> str:
        """Its unit where people read it: rates are in per cent."""
        return "%" if self.kind == "rate" else self.unit

    @property
    def better(self) -> Direction:
        """Which way is better, if any."""
        return (RATES if self.kind == "rate" else CATALOGUE)[self.metric].better

    @property
    def asked(self) -> tuple[str, Kind, float | None, str, str]:
        """What an `AskedFigure` begins with."""
        return (self.metric, self.kind, self.p, *(self.stratum or NO_STRATUM))


class AskedFigure(Record, frozen=True):
    """Which figure a document tells of."""

    metric: str
    kind: Kind
    p: float | None
    measured_from: Annotated[Known, about("what the turns count from, where a run has several")]
    turn_type: Annotated[Known, about("which turns they are; null of plain ones, and where a run has no others")]


def accepted_at(p: float) -> float:
    """How much worse a quantile may be by default, as a share."""
    return next((ratio for known, ratio in MARGINS.items() if p <= known), MARGINS[0.99])


def margin_of(p: float, metric: str = "") -> Margin:
    """The default margin of a quantile: so much more; of a metric of which more is better, so much less."""
    share = accepted_at(p)
    higher = metric in CATALOGUE and CATALOGUE[metric].better == "higher"
    return Margin(ratio=1 / (1 - share) - 1 if higher else share)


def better_of(question: Question) -> Better:
    """Which way is better. Raises UsageError for a metric of which neither more nor less is."""
    if question.better == "neither":
        raise UsageError(f"{question.metric} cannot be compared: neither more nor less of it is better")
    return question.better
