"""Observations of turns and sessions that are over: frozen instants, counts and one outcome each.

Instants are absolute CLOCK_MONOTONIC nanoseconds under the names of `bench.columns`; an instant that did not happen
is not in the mapping. Measures are derived from them on reading (`bench.metrics`).

What was said in a turn is judged by what its script knows of it: word errors, which are those of the alignment with the
fewest (words that are another one, are missing, or are too many), and whether its task is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import msgspec

from bench.clock import Arrival
from bench.columns import TURN_ARRIVALS, TURN_SENDS
from bench.metrics import (
    CATALOGUE,
    GOOD,
    ORIGIN,
    ORIGINS,
    REFUSED,
    REGULAR,
    ColumnValue,
    Metric,
    Scope,
    bound_ns,
    is_throttled,
    outcome_class,
)
from bench.plan.turn_plan import TurnReference, normalized_words
from bench.protocol.events import FunctionCall, TokenUsage
from bench.protocol.rate_limits import wait_in, wait_of


@dataclass(slots=True, eq=False)
class Instants:
    """Instants of a turn or session that is under way, by their names, and how far each can be off."""

    instants: dict[str, int] = field(default_factory=dict, kw_only=True)
    errors_ns: dict[str, int] = field(default_factory=dict, kw_only=True)
    """How much earlier each arrival may really have been."""
    widths_ns: dict[str, int] = field(default_factory=dict, kw_only=True)
    """How much later each send may really have been: as long as the send call took."""

    def arrived(self, instant: str, arrival: Arrival) -> None:
        self.instants[instant], self.errors_ns[instant] = arrival.at_ns, arrival.error_ns

    def sent(self, instant: str, at_ns: int, width_ns: int) -> None:
        """Mark an instant by what was sent, if it is the first of its name."""
        if instant not in self.instants:
            self.instants[instant], self.widths_ns[instant] = at_ns, width_ns


class TurnScore(NamedTuple):
    """What a turn's words come to, in columns of these names; None where there is nothing to judge by, or to judge.

    `input_words`, `reply_words`: of the reference. Their word error rate is the errors divided by these.
    """

    input_words: int | None = None
    input_word_errors: int | None = None
    reply_words: int | None = None
    reply_word_errors: int | None = None
    task_success: bool | None = None


UNJUDGED = TurnScore()


def score_turn(reference: TurnReference, outcome: str, heard: str | None, reply: str) -> TurnScore:
    """Judge a turn that is over.

    `heard`: the caller's words as the service transcribed them, None where it did not transcribe all of them. `reply`:
    the reply's; where none were told, nobody knows whether a turn that ended well has done its task. Word errors of a
    reply are counted where it came to its end.
    """
    of_input = _errors(reference.words, heard)
    of_reply = _errors(reference.reply, reply if reply and outcome == "ok" else None)
    known = reference.has_task and (reply or outcome not in GOOD)

    def does_task() -> bool:
        spaced = f" {' '.join(normalized_words(reply))} "
        contains = all(f" {' '.join(normalized_words(text))} " in spaced for text in reference.contains)
        return contains and re.search(reference.matches, reply) is not None

    return TurnScore(*of_input, *of_reply, is_done(outcome, does_task) if known else None)


def word_errors(reference: str, words: str) -> tuple[int, int]:
    """(words of the reference, errors of the words that are held against it). The reference has a word."""
    import jiwer  # where words are counted alone: it takes 40 ms

    expected = normalized_words(reference)
    found = jiwer.process_words(" ".join(expected), " ".join(normalized_words(words)))
    return len(expected), found.substitutions + found.deletions + found.insertions


def load_scorer() -> None:
    """Load what counts errors, which would else hold up whoever counts first."""
    word_errors("word", "word")


def is_done(outcome: str, judge: Callable[[], object]) -> bool | None:
    """Whether a turn has done its task: as it is judged where it ended well; None where it was cut."""
    ended = outcome_class(outcome)
    return None if ended == "unfinished" else ended == "success" and bool(judge())


def _errors(reference: str, words: str | None) -> tuple[int | None, int | None]:
    return (None, None) if words is None or not normalized_words(reference) else word_errors(reference, words)


TIMES = {scope: [m for m in CATALOGUE.values() if m.scope == scope and m.unit == "ms"] for scope in get_args(Scope)}
ARRIVALS, SENDS = frozenset(TURN_ARRIVALS), frozenset(TURN_SENDS)
NONE_LOST = frozenset({"ok", "renewed", "unfinished"})
"""Outcomes of sessions whose script was played to its end, goes on in another session, or was cut by the run's end."""


class TurnObservation(msgspec.Struct, frozen=True):
    """One user input and all of its response: what its row holds (`bench.columns.TURNS`), under the names of columns.

    `errors_ns`: of each instant that is an arrival, how much earlier it may really have been; `widths_ns`: of each that
    is a send, how much later. `gaps_ns` are the gaps between audio deltas with exact stamps. `usage` is of all of the
    turn's responses, None where the service told none. `quality`: what was said, judged by what the script knows of it.
    """

    turn: int
    step: str
    outcome: str
    detail: str
    start_ns: int
    instants: Mapping[str, int]
    response_id: str
    item_id: str
    audio: str
    errors_ns: Mapping[str, int]
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
    """The reply's words and function calls, in the order in which they were whole."""
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
    cut_off: bool | None = None
    interruption: str | None = None
    function_calls: int | None = None
    function_execution_ns: int | None = None
    dead_air_ns: int | None = None
    late_audio_ns: int | None = None
    unplayed_audio_ns: int | None = None
    received_audio_ns: int = 0
    overlap_ns: int | None = None
    onset_uncertainty_ns: int | None = None
    quality: TurnScore = UNJUDGED

    @property
    def measured_from(self) -> str | None:
        """The instant that this turn's latency counts from; None where it ended before that instant."""
        for name in ORIGINS:  # a generator takes four times as long, and this is asked several times a turn
            if name in self.instants:
                return name
        return None

    @property
    def timestamp_uncertainty_ns(self) -> int | None:
        """The bound of the first delta: of audio where there is any, else of whichever came first."""
        if "first_audio" in self.errors_ns:
            return self.errors_ns["first_audio"]
        deltas = [name for name in ("first_text", "first_transcript") if name in self.errors_ns]
        return self.errors_ns[min(deltas, key=self.instants.__getitem__)] if deltas else None

    @property
    def receive_timestamp_source(self) -> str | None:
        """Where this turn's arrival stamps came from; None where nothing arrived."""
        return receive_timestamp_source(self.kernel_stamps, self.user_stamps)

    @property
    def retry_after_ns(self) -> int | None:
        """The wait that the service asked for when it throttled this turn; it says so in words alone."""
        return wait_in(self.detail) if is_throttled(self.outcome) else None

    def metrics_ns(self) -> dict[str, int]:
        """Every metric of a turn that is a time and that this turn has; may be negative."""
        return times_ns("turn", self.instants, self._column)

    def metric_ns(self, metric: Metric) -> int | None:
        """One of `metrics_ns`; None where this turn does not have it."""
        return metric.value_ns(self.instants, self._column)

    def _column(self, name: str) -> int | str | None:
        value: int | str | None = getattr(self, name)
        return value

    def bound_ns(self, metric: Metric) -> int | None:
        """How far a metric between two instants can be off by their stamps; None where nobody knows."""
        begin, end = self.measured_from or "" if metric.begin == ORIGIN else metric.begin, metric.end
        errors_ns, widths_ns = self.errors_ns, self.widths_ns
        if (begin in ARRIVALS and begin not in errors_ns) or (end in ARRIVALS and end not in errors_ns):
            return None
        if begin in SENDS and begin not in widths_ns:
            return None
        end_error_ns = errors_ns.get(end, 0) - ((self.onset_uncertainty_ns or 0) if end == "first_audible" else 0)
        return bound_ns((errors_ns.get(begin, 0), widths_ns.get(begin, 0)), (end_error_ns, widths_ns.get(end, 0)))


class SessionObservation(msgspec.Struct, frozen=True):
    """One WebSocket from the start of connecting to its end."""

    outcome: str
    detail: str
    start_ns: int
    instants: Mapping[str, int]
    errors_ns: Mapping[str, int] = {}
    widths_ns: Mapping[str, int] = {}
    service_session_id: str = ""
    auth_wait_ns: int = 0
    caller_time_ns: int | None = None
    """The caller's own time, which is no latency: from `session_updated` to the first turn's origin."""
    renewed: bool = False
    """Whether another session took its place, to play what was left of the script."""
    turns_planned: int = 0
    turns_started: int = 0
    turns_ended: int = 0
    turns_succeeded: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    unknown_events: Mapping[str, int] = {}
    service_errors: int = 0
    timestamp_fallbacks: int = 0
    unattributed_commits: int = 0
    """Commits that no turn of the script made: noise between turns, or the service's idle timeout."""
    idle_prompts: int = 0
    """How often the service spoke up by itself, because the caller was silent for as long as the idle timeout."""
    stray_usage: TokenUsage | None = None
    """Usage of responses outside of any turn, or that ended after theirs was over; None where none told any."""
    close_code: int | None = None
    close_reason: str = ""
    headers: Mapping[str, str] = {}
    effective_settings: Mapping[str, Any] = {}

    @property
    def model(self) -> str | None:
        """The model, as the service names it; None where it does not."""
        return model_of(self.effective_settings)

    @property
    def turns_not_started(self) -> int:
        """Turns that the script wanted and that were never begun, because the session failed before."""
        return 0 if self.outcome in NONE_LOST else self.turns_planned - self.turns_started

    @property
    def retry_after_ns(self) -> int | None:
        """The wait that the service asked for when it refused this session: in headers, of a limit also in words."""
        throttled = is_throttled(self.outcome)
        if not throttled and not self.outcome.startswith(REFUSED):
            return None
        asked_ns = wait_of(self.headers)
        return wait_in(self.detail) if asked_ns is None and throttled else asked_ns

    def metrics_ns(self) -> dict[str, int]:
        """Every metric of a session that it has, with what the harness added to it."""
        column = {"auth_wait_ns": self.auth_wait_ns, "caller_time_ns": self.caller_time_ns}.get
        return times_ns("session", self.instants, column) | times_ns("harness", self.instants, column)


def model_of(settings: Mapping[str, Any]) -> str | None:
    """The model that a service's settings name; None where they name none."""
    model = settings.get("model")
    return model if isinstance(model, str) and model else None


def detail_text(outcome: str, detail: str) -> str:
    """The detail as it stands beside its outcome: a code that ends the one and begins the other is said once."""
    return detail.removeprefix(f"{outcome.partition(':')[2]}: ")


def receive_timestamp_source(kernel: int, user: int) -> str | None:
    """`kernel`, `userspace` or `mixed`, from how many stamps came from where."""
    if kernel and user:
        return "mixed"
    if kernel:
        return "kernel"
    return "userspace" if user else None


def times_ns(scope: Scope, instants: Mapping[str, int], column: ColumnValue) -> dict[str, int]:
    """The metrics of a scope that are times and that are known by these instants and columns, in nanoseconds."""
    values = ((metric.name, metric.value_ns(instants, column)) for metric in TIMES[scope])
    return {name: value for name, value in values if value is not None}
