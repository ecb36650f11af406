"""Observations of turns and sessions. Each has instants, counts, and one outcome when it has ended.

An observation has a mapping of instants. The names are those of `bench.catalogue.columns`. The
values are absolute CLOCK_MONOTONIC nanoseconds. An instant that did not happen is not in the
mapping. Metrics are derived from the instants when the metrics are read
(`bench.catalogue.metrics`).

The words of a turn are scored against the script's reference. Word errors are those of the
alignment with the fewest errors (substitutions, deletions and insertions). The score also states
whether the turn has done its task.
"""

# An observation is what is known of a turn or session when it has ended. The timeline makes it
# (`bench.observe.turn_observation`, `bench.observe.session_facts`), and rows, live views,
# thresholds and Python programs read it. The names of its fields are those of the columns, so that
# a row is filled without a list of names (`bench.catalogue.columns.FilledBy`).
#
# What a service does not report is None, or not in the mapping of instants, and is never 0: each
# metric that needs it is then absent. A turn's observation is frozen. That of a session is not,
# because the growing session (`SessionFacts`) is one.

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from bench.base.clock import Arrival
from bench.catalogue.causes import Cause, encoded, text_of
from bench.catalogue.metrics import (
    CATALOGUE,
    MEASURED_FROM,
    ORIGIN,
    REGULAR,
    TRANSCRIPT,
    Metric,
    Scope,
    awaited,
)
from bench.catalogue.outcomes import (
    BUSY,
    SUCCESSFUL,
    UNFINISHED,
    Family,
    is_throttled,
    outcome_class,
    parsed,
)
from bench.catalogue.uncertainty import uncertainty_ns
from bench.catalogue.words import character_count, contains, normalized_words
from bench.plan.turn_plan import TurnReference
from bench.wire.connection import RtpMeasured
from bench.wire.events import FunctionCall, TokenUsage, wait_in, wait_of


@dataclass(slots=True, eq=False)
class Instants:
    """The instants of an open turn or session, by name, with their uncertainty."""

    instants: dict[str, int] = field(default_factory=dict, kw_only=True)
    uncertainties_ns: dict[str, int] = field(default_factory=dict, kw_only=True)
    """The ns by which an arrival may really have been earlier, by instant."""
    widths_ns: dict[str, int] = field(default_factory=dict, kw_only=True)
    """The ns by which a send may really have been later, by instant: the duration of the send
    call."""

    def arrived(self, instant: str, arrival: Arrival) -> None:
        self.instants[instant] = arrival.at_ns
        self.uncertainties_ns[instant] = arrival.uncertainty_ns

    def sent(self, instant: str, at_ns: int, width_ns: int) -> None:
        """Set an instant to the time `at_ns` of a send, unless the instant is already set."""
        if instant not in self.instants:
            self.instants[instant] = at_ns
            self.widths_ns[instant] = width_ns

    def include(self, *others: Instants) -> None:
        for other in others:
            self.instants |= other.instants
            self.uncertainties_ns |= other.uncertainties_ns
            self.widths_ns |= other.widths_ns


class TurnScore(NamedTuple):
    """The score of a turn's words. The fields are the columns of the same names. A field is None if
    there is nothing to score.

    `input_words` and `reply_words` are the numbers of words in the reference. The word error rate
    is the number of word errors divided by the number of words in the reference. If these words
    should have been scored but could not be, the number of word errors is None. Of these words,
    `input_characters` and `reply_characters` are characters of scripts without spaces.
    `task_defined` is True if the script defines when the task of the turn is done.
    """

    input_words: int | None = None
    input_word_errors: int | None = None
    reply_words: int | None = None
    reply_word_errors: int | None = None
    task_success: bool | None = None
    input_characters: int | None = None
    reply_characters: int | None = None
    task_defined: bool | None = None


UNJUDGED = TurnScore()


# Words are scored here, and not when a run is read, because a run stores texts only on request. A
# row has numbers of words and of errors, and no rate: the rate of several turns is made from their
# sums.
def score_turn(
    reference: TurnReference,
    outcome: str,
    transcript: str | None,
    reply: str,
    *,
    is_transcription_due: bool = False,
) -> TurnScore:
    """Score a turn that has ended.

    `transcript` is the service's transcription of the caller's words; None if some of them were not
    transcribed. It should exist if `is_transcription_due` and the turn succeeded. `reply` is the
    text of the reply. If `reply` has no words and the turn succeeded, it is unknown what the caller
    heard, and so are the task success and the word errors of the reply. Word errors of a reply are
    counted only if the outcome is ok.
    """
    input_words, input_errors, input_characters = _errors(
        reference.words,
        transcript,
        is_due=transcript is not None or (is_transcription_due and outcome in SUCCESSFUL),
    )
    has_reply = bool(normalized_words(reply))
    reply_words, reply_errors, reply_characters = _errors(
        reference.reply, reply if has_reply else None, is_due=outcome == "ok"
    )
    success = None
    if reference.has_task and (has_reply or outcome not in SUCCESSFUL):
        has_words = all(contains(reply, text) for text in reference.contains)
        success = is_done(outcome, lambda: has_words and re.search(reference.matches, reply))
    return TurnScore(
        input_words,
        input_errors,
        reply_words,
        reply_errors,
        success,
        input_characters,
        reply_characters,
        reference.has_task or None,
    )


def word_errors(reference: str, words: str) -> tuple[int, int, int]:
    """Return (number of words in `reference`, at least one; word errors in `words`; characters
    of the former).
    """
    import jiwer  # imported only if words are counted, because it takes 40 ms

    expected = normalized_words(reference)
    alignment = jiwer.process_words(" ".join(expected), " ".join(normalized_words(words)))
    errors = alignment.substitutions + alignment.deletions + alignment.insertions
    return len(expected), errors, character_count(expected)


def load_scorer() -> None:
    """Load the scorer of all scripts now, so that the first turn to be scored is not delayed."""
    word_errors("wörd", "wörd")


def is_done(outcome: str, judge: Callable[[], object]) -> bool | None:
    """Return the result of `judge` if the turn succeeded, None if it is unfinished, and
    otherwise False.
    """
    ending_class = outcome_class(outcome)
    return None if ending_class == "unfinished" else ending_class == "success" and bool(judge())


def _errors(
    reference: str, words: str | None, *, is_due: bool
) -> tuple[int | None, int | None, int | None]:
    """Return the result of `word_errors`, without the errors if no `words` are known. Return None
    for each number if there is nothing to score.
    """
    expected = normalized_words(reference) if is_due else []
    if not expected:
        return None, None, None
    if words is None:
        return len(expected), None, character_count(expected)
    return word_errors(reference, words)


NAN = math.nan
TIMES = {
    scope: [m for m in CATALOGUE.values() if m.scope == scope and m.unit == "ms"]
    for scope in get_args(Scope)
}
NO_TURNS_MISSING = UNFINISHED | {"ok", "renewed", BUSY}
"""The outcomes of sessions that completed the script, continue in another session, or were ended
by this side."""


# The operations of `MetricRows` on plain numbers. NaN needs no conditions: a difference with it is
# NaN, and a comparison with it is False. Known instants remain integers. As floats, nanoseconds of
# CLOCK_MONOTONIC would be rounded from 104 days after the start of the machine on (2^53 ns).
class OneRow:
    """A turn or session as the one row of `bench.catalogue.metrics.MetricRows`. A missing number
    is NaN.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        instants: Any
        uncertainties_ns: Any
        widths_ns: Any
        causes: tuple[Cause, ...]

    @property
    def detail(self) -> str:
        """The text of the causes."""
        return text_of(self.causes)

    @property
    def cause(self) -> str:
        """The causes in the form of rows."""
        return encoded(self.causes)

    def value(self, metric: Metric) -> Any:
        """Return the value of a metric, a time in ns; None if this turn or session does not have
        the metric.
        """
        return _known(metric.values(self))

    def number(self, column: str) -> Any:
        value = getattr(self, column)
        return NAN if value is None else value

    def has(self, column: str, value: str | int) -> bool:
        return bool(getattr(self, column) == value)

    def instant(self, name: str) -> Any:
        return self.instants.get(name, NAN)

    def since(self, start: Any, end: Any) -> Any:
        return end - start

    def earlier(self, instant: str) -> Any:
        return self.uncertainties_ns.get(instant, NAN)

    def later(self, instant: str) -> Any:
        return self.widths_ns.get(instant, NAN)

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return then if condition else otherwise

    def larger(self, first: Any, second: Any) -> Any:
        # `max` would return either number if one of them is NaN, by their order
        return first if first >= second or first != first else second


class TurnObservation(OneRow, msgspec.Struct, frozen=True):
    """One user input and the whole response to it. The fields are the columns of its row
    (`bench.catalogue.columns.TURNS`).

    `uncertainties_ns` is how much earlier each arrival may really have been. `widths_ns` is how
    much later each send may really have been. `gaps_ns` is the gaps between audio deltas whose
    timestamps are exact. `usage` is the sum of the tokens of all responses of the turn; None if the
    service reported no tokens. `quality` is the score of the turn's words against the script's
    reference.
    """

    turn: int
    step: str
    outcome: str
    start_ns: int
    instants: Mapping[str, int]
    response_id: str
    item_id: str
    audio: str
    uncertainties_ns: Mapping[str, int]
    widths_ns: Mapping[str, int]
    timestamp_uncertainty_max_ns: int
    kernel_stamps: int
    user_stamps: int
    audio_bytes_sent: int
    audio_bytes_received: int
    wire_bytes_sent: int
    wire_bytes_received: int
    events: int
    audio_deltas: int
    text_deltas: int
    transcript_deltas: int
    unknown_events: int
    late_chunks: int
    gaps_ns: tuple[int, ...]
    uncertain_gaps: int
    audio_speed: float | None
    stall_duration_ns: int | None
    stall_count: int | None
    stall_duration_uncertainty_ns: int | None
    vad_splits: int | None
    network_rtt_ns: int | None
    network_rtt_smoothed_ns: int | None
    retransmits: int | None
    reply_text: str
    input_text: str
    usage: TokenUsage | None
    reply_parts: tuple[str | FunctionCall, ...] = ()
    """The texts and function calls of the reply, in the order in which they were completed."""
    rtt_scope: str | None = None
    send_timestamp_source: str | None = None
    transmit_delay_ns: int | None = None
    answer_response_id: str = ""
    turn_type: str = REGULAR
    context_tokens: int | None = None
    context_cached_tokens: int | None = None
    preamble: bool | None = None
    yielded: bool | None = None
    false_yield: bool | None = None
    truncation_correct: bool | None = None
    false_reply: bool | None = None
    patience_ns: int | None = None
    cut_off: bool | None = None
    speech_pause_ns: int | None = None
    interruption: str | None = None
    interruption_missed: bool | None = None
    function_calls: int | None = None
    function_execution_ns: int | None = None
    mcp_calls: int | None = None
    mcp_execution_ns: int | None = None
    mcp_call_failed: bool | None = None
    mcp_error: str = ""
    delegations: int | None = None
    dead_air_ns: int | None = None
    late_audio_ns: int | None = None
    unplayed_audio_ns: int | None = None
    received_audio_ns: int = 0
    input_audio_ns: int = 0
    input_transcript_deltas: int | None = None
    input_transcription_error: str = ""
    transcript_lag_ns: int | None = None
    transcript_lag_max_ns: int | None = None
    transcript_lag_uncertainty_ns: int | None = None
    transcript_lag_max_uncertainty_ns: int | None = None
    transcript_lag_growth_ns: int | None = None
    transcript_lag_growth_error_ns: int | None = None
    start_offset_ns: int | None = None
    start_offset_uncertainty_ns: int | None = None
    transcription_speed: float | None = None
    overlap_ns: int | None = None
    onset_uncertainty_ns: int | None = None
    quality: TurnScore = UNJUDGED
    callee: str = ""
    """The kind of callee, in the first turn of a call that the agent made; "" in other turns."""
    taken_for_mailbox: bool | None = None
    taken_for_person: bool | None = None
    spoke_before_beep: bool | None = None
    caller_mark: int | None = None
    crossed_audio: bool | None = None
    causes: tuple[Cause, ...] = ()
    """The causes of the outcome; () for an outcome that needs none."""

    @property
    def measured_from(self) -> str | None:
        """The instant from which this turn's latency is measured; None if the turn ended before."""
        # a generator takes four times as long, and this runs several times per turn
        for name in MEASURED_FROM:
            if name in self.instants:
                return name
        return None

    @property
    def timestamp_uncertainty_ns(self) -> int | None:
        """The uncertainty of the first audio delta, else of the first other delta, else of the
        finished transcript.
        """
        if "first_audio" in self.uncertainties_ns:
            return self.uncertainties_ns["first_audio"]
        deltas = [
            name for name in ("first_text", "first_transcript") if name in self.uncertainties_ns
        ]
        if not deltas:
            return self.uncertainties_ns.get(TRANSCRIPT) if awaited(self.instants) else None
        return self.uncertainties_ns[min(deltas, key=self.instants.__getitem__)]

    @property
    def receive_timestamp_source(self) -> str | None:
        """The source of this turn's arrival timestamps; None if nothing arrived."""
        return receive_timestamp_source(self.kernel_stamps, self.user_stamps)

    @property
    def retry_after_ns(self) -> int | None:
        """The wait that the service requested in the text of the error when it throttled this turn.

        None if the service did not throttle the turn or requested no wait. No other part of the
        error contains this wait.
        """
        return wait_in(self.detail) if is_throttled(self.outcome) else None

    def metrics_ns(self) -> dict[str, int]:
        """Return every time metric that this turn has. Values may be negative."""
        return times_ns(self, "turn")

    def bound_ns(self, metric: Metric) -> int | None:
        """Return the uncertainty of a time between two instants, from their timestamps; None if
        it is unknown.
        """
        bound_ns: int | None = _known(uncertainty_ns(metric, self))
        return bound_ns

    def instant(self, name: str) -> Any:
        own_name = self.measured_from if name == ORIGIN else name
        return self.instants.get(own_name, NAN)  # type: ignore[arg-type]

    def later(self, instant: str) -> Any:
        own_name = self.measured_from if instant == ORIGIN else instant
        return self.widths_ns.get(own_name, NAN)  # type: ignore[arg-type]

    def earlier(self, instant: str) -> Any:
        """Return by how much an arrival may have been earlier; without that of an onset, which
        is no timestamp.
        """
        error_ns = self.uncertainties_ns.get(instant, NAN)
        return (
            error_ns - (self.onset_uncertainty_ns or 0) if instant == "first_audible" else error_ns
        )


@dataclass(slots=True)
class SessionObservation(Instants, OneRow):
    """One WebSocket from the start of connecting to its end."""

    outcome: str = ""
    start_ns: int = 0
    service_session_id: str = ""
    auth_wait_ns: int = 0
    caller_time_ns: int | None = None
    """The time from when the session was ready to the instant from which the first turn is
    measured.

    The session was ready at the last of `session_updated`, `mcp_listed` and `history_acked`. The
    caller takes this time, so it is not a latency of the service.
    """
    renewed: bool = False
    """True if another session continues the script."""
    attempt: int | None = None
    """The number of the attempt to come back after a drop; None if the session is none."""
    turns_repeated: int = 0
    """The number of turns that a drop cut, and that this session began again."""
    gave_up: str = ""
    """Why the call of a dropped session did not come back; "" if it did, or without a drop."""
    turns_planned: int = 0
    turns_started: int = 0
    turns_ended: int = 0
    turns_succeeded: int = 0
    interruptions_planned: int | None = None
    interruptions_missed: int | None = None
    sounds_planned: int | None = None
    sounds_missed: int | None = None
    expectations_planned: int | None = None
    expectations_missed: int | None = None
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    unknown_events: Counter[str] = field(default_factory=Counter)
    service_errors: int = 0
    timestamp_fallbacks: int = 0
    unattributed_commits: int = 0
    """The number of commits of no turn: after noise between turns, or after the service's idle
    timeout."""
    unrequested_responses: int | None = None
    """The number of responses that nothing requested; None if the service does not report what
    requested them."""
    answers_uncertain: bool = False
    """True if the answer of a turn may be a response that nothing requested."""
    idle_prompts: int = 0
    """How often the service spoke because the caller was silent for the idle timeout."""
    audio_after_end_ns: int = 0
    """The duration of audio of responses that arrived after the service had ended them."""
    billed_ns: int | None = None
    """The billable duration that the service reported at the session's end; None if it reported
    none."""
    paused_ns: int | None = None
    """The part of `billed_ns` in standby; None if the service reported none."""
    rtp: RtpMeasured | None = None
    """The numbers of a telephone call at the end of the last turn; None elsewhere."""
    stray_usage: TokenUsage | None = None
    """The usage of responses outside of any turn, or that ended after their turn; None if none
    was reported."""
    close_code: int | None = None
    close_reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    effective_settings: Mapping[str, Any] = field(default_factory=dict)
    backend_model: str | None = None
    """The model that does the tasks of the session; None if the service reported none."""
    callee: str = ""
    """The kind of callee of a call that the agent made; "" if this tool called."""
    causes: tuple[Cause, ...] = ()
    """As `TurnObservation.causes`."""

    @property
    def model(self) -> str | None:
        return model_of(self.effective_settings)

    @property
    def is_answered(self) -> bool:
        """False if the service described a session that only transcribes."""
        return is_answered(self.effective_settings)

    @property
    def turns_not_started(self) -> int:
        """The number of planned turns that did not start because the session failed before them."""
        return 0 if self.outcome in NO_TURNS_MISSING else self.turns_planned - self.turns_started

    @property
    def retry_after_ns(self) -> int | None:
        """The wait that the service requested when it refused this session; None if it requested no
        wait.

        The headers of the refusal contain the wait. If a rate limit caused the refusal, the text of
        the error may contain the wait instead.
        """
        throttled = is_throttled(self.outcome)
        if not throttled and parsed(self.outcome).family is not Family.CONNECT_FAILED:
            return None
        # an error that is no limit may contain any duration in its text, so only its headers count
        wait_ns = wait_of(self.headers)
        return wait_in(self.detail) if wait_ns is None and throttled else wait_ns

    def metrics_ns(self) -> dict[str, int]:
        """Return every time metric of the session, including the delays that the load generator
        added.
        """
        return times_ns(self, "session", "load_generator")

    def number(self, column: str) -> Any:
        value = self.column(column)
        return NAN if value is None else value

    def column(self, name: str) -> Any:
        """Return the field of this name, else the field of `rtp` without `rtp_` in its name;
        None without RTP.
        """
        if hasattr(self, name):
            return getattr(self, name)
        return None if self.rtp is None else getattr(self.rtp, name.replace("rtp_", ""))

    def has(self, column: str, value: str | int) -> bool:
        return bool(self.column(column) == value)


TRANSCRIPTION_OBJECT = "realtime.transcription_session"
"""The `object` of a session that only transcribes."""


def model_of(settings: Mapping[str, Any]) -> str | None:
    """Return the model in a service's settings, or that of a session which only transcribes;
    None without one.
    """
    model = settings.get("model")
    if not is_answered(settings):
        model = _transcription(settings).get("model")
    return model if isinstance(model, str) and model else None


def is_answered(settings: Mapping[str, Any]) -> bool:
    """Return whether a service's settings are those of a session with replies, which does not
    only transcribe.
    """
    return (
        settings.get("type") != "transcription" and settings.get("object") != TRANSCRIPTION_OBJECT
    )


def _transcription(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the transcription, with the names of GA or of the preview; {} if
    there are none.
    """
    value: Any = settings.get("input_audio_transcription")
    if value is None:
        value = settings
        for name in ("audio", "input", "transcription"):
            value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def receive_timestamp_source(kernel: int, user: int) -> str | None:
    """Return `kernel`, `userspace` or `mixed`, from the numbers of timestamps; None if there are
    none.
    """
    if kernel and user:
        return "mixed"
    if kernel:
        return "kernel"
    return "userspace" if user else None


def times_ns(row: TurnObservation | SessionObservation, *scopes: Scope) -> dict[str, int]:
    """Return the time metrics of these scopes in ns that a turn or session has."""
    instants = row.instants
    # the checks are faster than the rule, and true of most metrics
    metrics = (m for scope in scopes for m in TIMES[scope] if m.column or m.end in instants)
    values = ((metric.name, metric.values(row)) for metric in metrics)
    return {name: value for name, value in values if value == value}  # NaN differs from itself


def _known(value: Any) -> Any:
    return None if value != value else value
