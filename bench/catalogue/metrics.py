"""The catalogue of metrics: the one definition of each value that the tool prints. Pure.

A metric of a turn or session is the difference of two instants unless its definition states
otherwise. Instants are columns of the run folder (`bench.catalogue.columns`). Metrics are not
stored: they are computed when a run is read. Reports use the names, units and sentences of this
module. Live views publish quantiles by the same rule.
"""

# A definition is data: the two instants of a difference, or a column. One row of the catalogue
# therefore determines how the value is computed (`values`), how large its uncertainty is
# (`bench.catalogue.uncertainty`), which columns a reader needs (`columns`), and why a turn cannot
# have the metric (`lack_reason`).
#
# Some metrics are no property of one row: gaps between deltas, slopes over a session, rates of
# bytes, and most delays of the load generator. They have neither instants nor a column. Only their
# name, unit and sentence are defined here, for the modules that collect their values.
#
# Names are public: thresholds, reports and exported data contain them.

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Final, Literal, Protocol, TypeVar, get_args

Scope = Literal["turn", "session", "event", "load_generator"]
Better = Literal["lower", "higher", "neither"]
Due = Literal["begun", "always", "never", "dropped"] | tuple[str, str | int] | int
"""Which successful turns, or sessions, should have a metric if others of their step have it.

- `begun`: those in which the metric began
- `always`: all, except those that `unless` excludes
- `never`: none, because it may rightly be absent
- `dropped`: those with which a dropped call came back. One that gave up failed, others have none
- a column and a value: those in which the metric began, and the column has the value
- a number: those in which the caller speaks for at least this many ns
"""
MIN_SPEECH_NS = 3_000_000_000
"""The duration of speech from which the lag of a transcript is computed. In shorter speech the pace
is not even."""

DEFINITIONS_VERSION = 5
"""The version of the definitions. It grows if a value's meaning changes. Runs of two versions
are not compared."""

JITTER_BUFFER_MS = 60
"""How long the jitter buffer of a call with RTP waits for a packet: as long as the buffers of
common telephones."""

MEASURED_FROM = ("request_sent", "speech_end")
"""The instants from which latency may be measured, and is, from the first that a turn has, as in
the column `measured_from`."""
ORIGIN = "measured_from"
"""The value of `begin` for metrics that begin at the instant that the column `measured_from`
names."""
REGULAR = "regular"
"""The turn type of turns that have none of the properties TURN_TYPES."""
TURN_TYPES = ("function_calls", "after_interruption", "after_truncation", "wake_up", "filler")
"""Properties of turns. Turns that have one are not pooled with other turns of the same step.

The column `turn_type` contains the properties of a turn in this order, joined by `+`. All turns of
a session with fillers have the property `filler`, because no event marks a filler, and a filler may
share an item with the answer.
"""
SLOPE: Final = "ms/1k tokens"
"""The unit of metrics that describe how much latency grows with the conversation, over all turns
of a session."""
BYTES_PER_S: Final = "B/s"
"""The unit of a session's data rates, each in one direction. The same rates are reported for
each second of a run."""
FIRST_DELTAS = {"first_audio": "ttfa", "first_text": "ttft"}
"""The instants for which a caller waits, and the metric of each. A turn counts with the first of
them that it has."""
TRANSCRIPT = "input_transcribed"
"""The instant for which the user of a session without replies waits: the finished transcript."""
TRANSCRIPT_METRICS = ("input_transcript_total", "input_transcript")
"""The metrics of that instant. The second one is for recordings that are not paced, which have
no end of speech."""
CONNECT_PHASES = ("connect_start", "dns_done", "tcp_done", "tls_done", "opened")
"""The ends of the phases of connecting, in their order. A phase that did not happen (a name lookup,
TLS) took no time: the next phase begins when the phase before it ends."""

Numbers = TypeVar("Numbers", bound=Any)
"""A number for each row: an array for the rows of a table, or one number for one row. A missing
number is NaN."""


# One definition serves for one turn, in live views and in histograms, and for the columns of a
# table, in reports. `values` is written once, with the operations that both have (`MetricRows`):
# NaN is missing, and no condition is an `if`. Otherwise the value of a live view could differ from
# that of the report.
#
# A metric exists only if both of its instants do. It is never completed by an estimate, and a wait
# that did not end is not in its values: reports count failed turns as endless waits (`is_latency`).
class MetricRows(Protocol[Numbers]):
    """Rows of turns or sessions from which metrics are computed: those of a table, or one turn or
    session.

    Whole numbers of one row stay exact; those of a table are floats.
    """

    def instant(self, name: str) -> Numbers:
        """Return an instant of each row in ns. ORIGIN is that from which the latency of the row
        is measured.
        """

    def since(self, start: Numbers, end: Numbers) -> Numbers:
        """Return the time from `start` to `end`."""

    def number(self, column: str) -> Numbers:
        """Return a column of numbers."""

    def earlier(self, instant: str) -> Numbers:
        """Return by how many ns an arrival may really have been earlier."""

    def later(self, instant: str) -> Numbers:
        """Return by how many ns a send, which ORIGIN may be, may really have been later."""

    def has(self, column: str, value: str | int) -> Any:
        """Return whether the column has this value in each row."""

    def where(self, condition: Any, then: Any, otherwise: Any) -> Numbers:
        """Return `then` for the rows for which the condition holds, and `otherwise` for the
        others.
        """

    def larger(self, first: Any, second: Any) -> Numbers:
        """Return the larger of two numbers; NaN if one of them is missing."""


@dataclass(frozen=True)
class Metric:
    """The definition of one metric: the difference of two instants in nanoseconds, or the value of
    a column. Unless the definition states otherwise, it is a latency of a turn in milliseconds.

    `begin` and `end` name the instants. If `begin` did not happen, another instant may replace it
    (`begins`). `less` is a column in ns: its value is subtracted from the difference. `column` is
    the column that contains the metric. If `of` is set, the metric is the percentage that this is
    of the column `of`. `unless` is a column and a value: the metric is absent in rows in which the
    column has this value. `is_latency` is True if a failed turn counts as an endless wait; it has
    this effect only on the difference of two instants. `signed` is True if values may be negative,
    as slopes may. `due` states which turns, or sessions, are unscored if they have no value.
    """

    name: str
    sentence: str
    begin: str = ""
    end: str = ""
    unit: str = "ms"
    scope: Scope = "turn"
    better: Better = "lower"
    less: str = ""
    column: str = ""
    of: str = ""
    unless: tuple[str, str | int] | None = None
    is_latency: bool = True
    signed: bool = False
    due: Due = "begun"

    @cached_property
    def begins(self) -> tuple[str, ...]:
        """The instants at which the metric may begin. It begins at the first of them that
        happened.
        """
        if self.begin == ORIGIN:
            return MEASURED_FROM
        if self.begin in CONNECT_PHASES:
            return CONNECT_PHASES[CONNECT_PHASES.index(self.begin) :: -1]
        return (self.begin,) if self.begin else ()

    @cached_property
    def _starts(self) -> tuple[str, tuple[str, ...]]:
        """The instant at which the metric begins, and those that may replace it."""
        return (ORIGIN, ()) if self.begin == ORIGIN else (self.begins[0], self.begins[1:])

    @cached_property
    def is_answer_wait(self) -> bool:
        """True if the metric is the wait for an answer. A reply before the turn's end is none:
        the value is absent.
        """
        return self.begin in (ORIGIN, "speech_end") and not self.signed

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row from which the metric is computed."""
        unless = self.unless[:1] if self.unless else ()
        if self.column:
            return (self.column, *([self.of] if self.of else []), *unless)
        of_due = self.due[:1] if isinstance(self.due, tuple) else ()
        instants = [f"{name}_at_ns" for name in (*self.begins, self.end) if name]
        measured_from = [ORIGIN] if self.begin == ORIGIN else []
        return (*instants, *measured_from, *([self.less] if self.less else []), *unless, *of_due)

    def lack_reason(self, lacks: Mapping[str, str]) -> str:
        """Return why a turn or session can have no value; "" if it may have one.

        `lacks` has the instants and columns that the turn or session does not have, each with the
        reason.
        """
        starts = [lacks.get(name, "") for name in self.begins]
        start = starts[0] if starts and all(starts) else ""
        return (
            lacks.get(self.end, "")
            or lacks.get(self.column, "")
            or lacks.get(self.less, "")
            or start
        )

    def is_due(self, rows: MetricRows[Numbers]) -> Any:
        """Return which rows should have a value by `due`, if they are successful and others have
        one. A value that is absent because the reply began too early was not due.
        """
        if isinstance(self.due, int):
            speech: Any = rows.since(rows.instant("speech_start"), rows.instant("speech_end"))
            is_due: Any = speech >= self.due
        elif self.column or not self.begin:
            is_due = self.due == "always"
        else:
            start: Any = rows.instant(self._starts[0])
            end: Any = rows.instant(self.end)
            is_due = (start == start) & (end != end) & (self.due != "never")
        if isinstance(self.due, tuple):
            is_due = is_due & rows.has(*self.due)
        if self.less:
            less: Any = rows.number(self.less)
            is_due = is_due & (less == less)
        if self.unless is not None:
            is_due = is_due & (rows.where(rows.has(*self.unless), 0, 1) == 1)
        return is_due

    def values(self, rows: MetricRows[Numbers]) -> Numbers:
        """Compute the metric of each row: in nanoseconds, or as the values of the metric's
        column. Missing is NaN.
        """
        values: Any
        if self.column:
            values = rows.number(self.column)
            if self.of:
                whole: Any = rows.number(self.of)
                # a share of nothing, or of less than itself, is unknown, and not 0 % or 250 %
                is_share = (whole > 0) & (values <= whole)
                values = 100 * values / rows.where(is_share, whole, math.nan)
        else:
            first, others = self._starts
            start: Any = rows.instant(first)
            for other in others:
                # NaN differs from itself
                start = rows.where(start != start, rows.instant(other), start)
            values = rows.since(start, rows.instant(self.end))
            if self.is_answer_wait:
                values = rows.where(values < 0, math.nan, values)
            if self.less:
                values = values - rows.number(self.less)
        if self.unless is not None:
            values = rows.where(rows.has(*self.unless), math.nan, values)
        known: Numbers = values
        return known


CATALOGUE = {
    metric.name: metric
    for metric in (
        Metric(
            "ttfa",
            "Time to first audio delta: from the turn's origin (response.create handed to the"
            " kernel; the end of speech if the service starts the response itself) to the arrival"
            " of the first audio delta with a payload.",
            "measured_from",
            "first_audio",
        ),
        Metric(
            "ttft",
            "Time to first text delta: from the turn's origin to the arrival of the first text"
            " delta with a payload.",
            "measured_from",
            "first_text",
        ),
        Metric(
            "transcript_first",
            "From the turn's origin to the first delta of the reply's transcript.",
            "measured_from",
            "first_transcript",
        ),
        Metric(
            "transcript_total",
            "From the turn's origin to the end of the reply's transcript.",
            "measured_from",
            "transcript_done",
        ),
        Metric(
            "transcript_lead",
            "From the first transcript delta to the first audio delta: positive if the transcript"
            " precedes the audio, negative if it follows.",
            "first_transcript",
            "first_audio",
            better="higher",
            signed=True,
        ),
        Metric(
            "response_total",
            "From the turn's origin to response.done.",
            "measured_from",
            "response_done",
        ),
        Metric(
            "voice_to_voice",
            "Spoken turns: from the end of the caller's speech, in microphone time, to the instant"
            " at which the simulated player plays the reply's first audible sample, its jitter"
            " buffer included. Absent if the reply begins before that end, because it then does not"
            " answer this question.",
            "speech_end",
            "first_audible",
        ),
        # A reply may begin with a preamble, a filler, or words before a function call. So each wait
        # exists twice: until the first sound of the turn, and until the first sound of the answer.
        Metric(
            "answer_ttfa",
            "From the turn's origin to the first audio delta of the answer. The answer is the last"
            " message item of the last response that is not commentary. In contrast, ttfa ends at"
            " the first audio of the turn, which may be a preamble.",
            "measured_from",
            "answer_audio",
        ),
        Metric(
            "answer_voice_to_voice",
            "Spoken turns: from the end of the caller's speech to the answer's first audible"
            " sample. In contrast, voice_to_voice ends at the first audible sample of the turn,"
            " which may belong to a preamble.",
            "speech_end",
            "answer_audible",
        ),
        Metric(
            "function_call_added",
            "Turns with function calls: from the turn's origin to the first output item that names"
            " a function, the earliest instant at which a client can act.",
            "measured_from",
            "function_call_added",
        ),
        Metric(
            "function_call_done",
            "Turns with function calls: from the turn's origin to the end of the arguments of the"
            " call, or of the last call if the response makes several.",
            "measured_from",
            "function_call_done",
        ),
        # Our own functions run on the client, so their time is no latency of the service. Metrics
        # of what the caller waits for include it, and `function_voice_to_voice_minus_execution`
        # does not.
        Metric(
            "function_execution",
            "Turns with function calls: how long our own functions took, from the last call to the"
            " last output handed to the kernel.",
            better="neither",
            column="function_execution_ns",
        ),
        Metric(
            "mcp_execution",
            "Turns with MCP calls: how long the service executed calls of MCP servers, as it"
            " reports it; calls that run at the same time count once.",
            column="mcp_execution_ns",
        ),
        Metric(
            "function_answer_ttfa",
            "Turns with function calls: from the response.create that follows the outputs, or the"
            " MCP calls, to the first audio delta of the answer.",
            "answer_request_sent",
            "answer_audio",
        ),
        Metric(
            "function_call_to_answer",
            "Turns with function calls or delegated tasks: from the first event that names one to"
            " the first audible sample of the answer, our own functions' time included.",
            "function_call_added",
            "function_audible",
        ),
        Metric(
            "function_voice_to_voice",
            "Spoken turns with function calls: from the end of the caller's speech to the first"
            " audible sample of the answer, our own functions' time included.",
            "speech_end",
            "function_audible",
        ),
        Metric(
            "function_voice_to_voice_minus_execution",
            "function_voice_to_voice without the time that our own functions took.",
            "speech_end",
            "function_audible",
            less="function_execution_ns",
        ),
        Metric(
            "dead_air",
            "Turns with several output items: the player's longest silence, before the first item"
            " or between two.",
            column="dead_air_ns",
        ),
        # An interruption begins in microphone time, because a caller knows no other. The simulated
        # player stops at `speech_started`, as a client of the service does. Audio that arrives
        # after it is not played, and is a metric of its own.
        Metric(
            "barge_in_detection",
            "Replies interrupted by speech: from the first sample of the interrupting speech, in"
            " microphone time, to speech_started.",
            "barge_in",
            "barge_in_detected",
            due=("yielded", False),
        ),
        Metric(
            "barge_in_yield",
            "Replies interrupted by speech: from the first sample of the interrupting speech until"
            " the simulated player is silent. The player stops at speech_started.",
            "barge_in",
            "barge_in_silent",
            due="never",
        ),
        Metric(
            "barge_in_last_audio",
            "Interrupted replies: from the interruption to the last audio delta of a response that"
            " it ended; absent if all of them precede the interruption.",
            "barge_in",
            "barge_in_last_audio",
            due="never",
        ),
        Metric(
            "barge_in_response_done",
            "Interrupted replies: from the interruption to response.done of a response that it"
            " ended.",
            "barge_in",
            "barge_in_response_done",
            due="never",
        ),
        Metric(
            "barge_in_late_audio",
            "Interrupted replies: audio received after the player was stopped.",
            column="late_audio_ns",
        ),
        Metric(
            "unplayed_audio",
            "Interrupted replies: audio received but never played.",
            column="unplayed_audio_ns",
        ),
        Metric(
            "overlap",
            "Replies interrupted by speech, or by a sound: how long both are audible, until the"
            " reply is silent or the interruption ends.",
            column="overlap_ns",
        ),
        Metric(
            "truncate_ack",
            "Interrupted replies: from conversation.item.truncate handed to the kernel to"
            " conversation.item.truncated.",
            "truncate_sent",
            "truncated",
        ),
        Metric(
            "end_of_turn_delay",
            "VAD turns: from the end of the caller's speech, in microphone time, to speech_stopped:"
            " how long the service needed to detect it. Negative if it took a pause for the end.",
            "speech_end",
            "speech_stopped",
            signed=True,
        ),
        Metric(
            "start_of_speech_delay",
            "VAD turns: from the instant at which a microphone had recorded the first speech sample"
            " to speech_started.",
            "speech_start",
            "speech_started",
        ),
        Metric(
            "input_transcript",
            "From the commit of the caller's audio to its complete transcript.",
            "committed",
            "input_transcribed",
        ),
        Metric(
            "input_transcript_total",
            "From the end of the caller's speech, in microphone time, to its complete transcript.",
            "speech_end",
            "input_transcribed",
        ),
        Metric(
            "input_transcript_first",
            "From the instant at which a microphone had recorded the first speech sample to the"
            " first delta with text of the transcript of the caller's audio.",
            "speech_start",
            "first_input_transcript",
        ),
        Metric(
            "transcript_lag",
            "Median over the deltas of the transcript of the caller's audio: from the instant at"
            " which a microphone had recorded the last word of a delta to the arrival of the delta."
            " The position of a word is estimated from its share of the final text, at an even"
            " pace. Only turns with at least 3 s of speech and 5 deltas.",
            column="transcript_lag_ns",
            due=MIN_SPEECH_NS,
        ),
        Metric(
            "transcript_lag_max",
            "The same as transcript_lag, but the maximum over the deltas.",
            column="transcript_lag_max_ns",
            due=MIN_SPEECH_NS,
        ),
        Metric(
            "start_offset",
            "Interpreters: from the instant at which a microphone had recorded the first speech"
            " sample of a segment to the first audible sample of its translation, which may precede"
            " the end of the segment.",
            column="start_offset_ns",
            due="always",
        ),
        Metric(
            "transcription_speed",
            "Recordings that are sent all at once: seconds of audio, per second from the first send"
            " to the complete transcript.",
            unit="×",
            better="higher",
            column="transcription_speed",
            due="always",
        ),
        Metric(
            "stall_duration",
            "Silence of the simulated player within a reply because audio was received too late.",
            column="stall_duration_ns",
            due="always",
        ),
        Metric(
            "stall_count",
            "How often the simulated player ran out of audio within a reply.",
            unit="n",
            column="stall_count",
            due="always",
        ),
        Metric(
            "audio_speed",
            "Seconds of audio received after the first delta, per second from the first to the last"
            " delta. Above 1 the reply is sent faster than it is played.",
            unit="×",
            better="higher",
            column="audio_speed",
        ),
        Metric(
            "vad_splits",
            "Commits beyond the first in one turn: pauses that the service took for the end of the"
            " caller's speech.",
            unit="n",
            column="vad_splits",
            due="always",
        ),
        Metric(
            "cached_share",
            "Share of a turn's input tokens that the service had cached, as reported for its first"
            " response; a session's first turn is excluded.",
            unit="%",
            better="higher",
            column="context_cached_tokens",
            of="context_tokens",
            unless=("turn", 1),
            due="always",
        ),
        # The path to the service. A turn that failed is no endless round trip, so the differences
        # of these instants are no latencies (`is_latency`).
        Metric(
            "network_rtt",
            "Minimum recent TCP round trip of the kernel (tcpi_min_rtt at the turn's end), to the"
            " nearest TLS terminator or to a proxy before it; in a telephone call, the minimum"
            " round trip of RTCP.",
            column="network_rtt_ns",
            due="always",
        ),
        Metric(
            "request_ack",
            "From response.create leaving the kernel to the peer's TCP acknowledging it: one"
            " network round trip of this turn, to the same endpoint as network_rtt. It is an upper"
            " bound, because a peer may delay an acknowledgement by up to 40 ms.",
            "request_sent",
            "request_acked",
            is_latency=False,
        ),
        Metric(
            "retransmits",
            "TCP segments that this machine retransmitted since the session's last turn; absent in"
            " telephone calls.",
            unit="n",
            column="retransmits",
            due="always",
        ),
        Metric(
            "ttfa_minus_rtt",
            "ttfa without one network round trip. It distinguishes a slow service from a distant"
            " one. Absent behind a proxy.",
            "measured_from",
            "first_audio",
            less="network_rtt_ns",
            unless=("rtt_scope", "proxy"),
        ),
        Metric(
            "network_delay",
            "Spoken turns of a target with `network`: by how much the impaired network delayed the"
            " chunk with the end of the caller's speech. Absent if its packet was dropped.",
            "speech_end",
            "speech_left",
            better="neither",
            is_latency=False,
            due="never",
        ),
        Metric(
            "voice_to_voice_minus_network_delay",
            "voice_to_voice without network_delay: from the departure of the end of the caller's"
            " speech. Absent if the reply begins before that end.",
            "speech_left",
            "first_audible",
            unless=("cut_off", True),
        ),
        Metric(
            "delta_gap",
            "Between neighbouring audio deltas of a response, if both timestamps are exact to"
            " 1 ms.",
            scope="event",
        ),
        Metric(
            "auth_wait",
            "How long a session waited for a sign-in before it could connect; 0 if a token was"
            " already valid, or if the target uses a key.",
            scope="session",
            column="auth_wait_ns",
        ),
        Metric("connect_dns", "Name lookup.", "connect_start", "dns_done", scope="session"),
        Metric("connect_tcp", "TCP connection.", "dns_done", "tcp_done", scope="session"),
        Metric("connect_tls", "TLS handshake.", "tcp_done", "tls_done", scope="session"),
        Metric(
            "connect_upgrade",
            "WebSocket upgrade; in a telephone call, the wait for the answer.",
            "tls_done",
            "opened",
            scope="session",
        ),
        Metric(
            "connect_total",
            "From the start of connecting to the open transport.",
            "connect_start",
            "opened",
            scope="session",
        ),
        # The phases before add up to `connect_total`: each begins where the last phase that
        # happened has ended. Those of a call over WebRTC, which follow, are parts of
        # `connect_upgrade`.
        Metric(
            "connect_offer",
            "Calls over WebRTC: from the open connection to the answer to the offer.",
            "tls_done",
            "offer_answered",
            scope="session",
        ),
        Metric(
            "connect_relay",
            "Calls over WebRTC with a TURN server of the target: from the open connection to the"
            " address at the server. A part of connect_offer.",
            "tls_done",
            "relay_allocated",
            scope="session",
        ),
        Metric(
            "connect_ice",
            "Calls over WebRTC: from the answer to the address that ICE selected.",
            "offer_answered",
            "ice_connected",
            scope="session",
        ),
        Metric(
            "connect_dtls",
            "Calls over WebRTC: from that address to the keys of SRTP.",
            "ice_connected",
            "dtls_done",
            scope="session",
        ),
        Metric(
            "post_dial_delay",
            "Agents on a telephone: from the start of the call to 180 Ringing.",
            "connect_start",
            "ringing",
            scope="session",
        ),
        Metric(
            "session_ready",
            "From the start of connecting to session.created.",
            "connect_start",
            "session_created",
            scope="session",
        ),
        Metric(
            "session_update",
            "From session.update handed to the kernel to session.updated.",
            "update_sent",
            "session_updated",
            scope="session",
        ),
        Metric(
            "mcp_listing",
            "From session.update handed to the kernel to the last mcp_list_tools.completed: how"
            " long the service needed for the tools of the MCP servers.",
            "update_sent",
            "mcp_listed",
            scope="session",
        ),
        # From the start of a session to its first reply, less the time that the caller takes
        # (`caller_time_ns`): a long first question is no delay of the service.
        Metric(
            "service_time",
            "Delays of the service before the first reply: from the start of connecting until the"
            " session is ready, plus from the first turn's origin to the first delta of its reply.",
            "connect_start",
            "first_reply",
            scope="session",
            less="caller_time_ns",
        ),
        Metric(
            "response_time",
            "service_time from the instant at which the call arrived, so any delay of its start is"
            " included. Only for calls that arrive (--arrival-rate).",
            "call_arrival",
            "first_reply",
            scope="session",
            less="caller_time_ns",
        ),
        Metric(
            "history_load",
            "From just before the first message of the history is sent to the service's"
            " acknowledgement of the last one.",
            "history_start",
            "history_acked",
            scope="session",
        ),
        Metric(
            "connect_to_first_audible",
            "How long a caller who dials is without an answer: from the start of connecting to the"
            " first audible sample of the first turn's reply as the simulated player plays it,"
            " without the caller's own speaking time. Its parts: session_ready, session_update, and"
            " the first turn's voice_to_voice; for a text turn, ttfa and the delay of the player.",
            "connect_start",
            "first_audible",
            scope="session",
            less="caller_time_ns",
        ),
        Metric(
            "greeting",
            "Services that speak first: from the start of connecting to the first audible sample of"
            " the greeting as the simulated player plays it.",
            "connect_start",
            "greeting_audible",
            scope="session",
        ),
        Metric(
            "answer_to_greeting",
            "Services that speak first: from the open transport, in a telephone call from 200 OK,"
            " to the first audible sample of the greeting as the simulated player plays it.",
            "opened",
            "greeting_audible",
            scope="session",
        ),
        Metric(
            "renewal_gap",
            "Sessions that replace one at its maximum age: from the end of the last reply in the"
            " old one, as the simulated player played it, to the first audible sample of the first"
            " reply in the new one, without the caller's own time. Its parts: the time until the"
            " new connection is started, session_ready, session_update, history_load, and the first"
            " turn's latency. Absent if the reply before or after is text; negative if a reply was"
            " sent faster than it was played.",
            "previous_reply_end",
            "first_audible",
            scope="session",
            less="caller_time_ns",
            signed=True,
        ),
        Metric(
            "return_gap",
            "Dropped calls that connect again: from the end of what the caller heard of the turn in"
            " progress, or from the drop, to the first whole reply after the return. Infinite for a"
            " call that gave up.",
            "last_heard",
            "heard_again",
            scope="session",
            due="dropped",
        ),
        Metric(
            "reconnect_time",
            "Dropped calls that connect again: from the drop to the open session. Infinite for a"
            " call that gave up.",
            "dropped",
            "session_updated",
            scope="session",
            due="dropped",
        ),
        Metric(
            "turns_repeated",
            "Dropped calls that came back: the turns that began again, because the drop had cut"
            " them.",
            unit="n",
            scope="session",
            column="turns_repeated",
            due="dropped",
        ),
        Metric(
            "idle_prompt",
            "How late the service spoke by itself, the first time in a session: from the instant at"
            " which it should (its idle timeout after the end of the reply's playback) to"
            " timeout_triggered. Negative if it spoke too early.",
            "idle_prompt_due",
            "idle_prompt_received",
            scope="session",
            signed=True,
        ),
        Metric(
            "rtp_loss",
            "Calls with RTP: share of the agent's RTP packets that never arrived, by their sequence"
            " numbers, until the end of the last turn.",
            unit="%",
            scope="session",
            column="rtp_lost",
            of="rtp_expected",
            due="always",
        ),
        Metric(
            "rtp_late_share",
            "Calls with RTP: share of the agent's RTP packets that arrived too late for a jitter"
            f" buffer of {JITTER_BUFFER_MS} ms, until the end of the last turn.",
            unit="%",
            scope="session",
            column="rtp_late",
            of="rtp_expected",
            due="always",
        ),
        Metric(
            "peer_rtp_loss",
            "Calls with RTP: share of the caller's RTP packets that did not reach the agent, by its"
            " last RTCP report.",
            unit="%",
            scope="session",
            column="peer_rtp_lost",
            of="peer_rtp_expected",
            due="always",
        ),
        Metric(
            "rtp_jitter",
            "Calls with RTP: jitter of the agent's RTP packets (RFC 3550) at the end of the last"
            " turn.",
            scope="session",
            column="rtp_jitter_ns",
            due="always",
        ),
        Metric(
            "peer_rtp_jitter",
            "Calls with RTP: jitter of the caller's RTP packets at the agent, by its last RTCP"
            " report.",
            scope="session",
            column="peer_rtp_jitter_ns",
            due="always",
        ),
        Metric(
            "transfer_silence",
            "Telephone calls: longest silence that the caller hears around a transfer, a hold, or a"
            " change of the agent's address or codec, until the end of the last turn. Of the"
            " silence before it, at most 3 s count.",
            scope="session",
            column="rtp_transfer_silence_ns",
            unless=("rtp_transfers", 0),
            due="always",
        ),
        Metric(
            "relay_rtt",
            "Calls over WebRTC that a TURN server relays: shortest round trip to this server until"
            " the end of the last turn. An upper bound, because it includes the server's time for a"
            " request.",
            scope="session",
            column="relay_rtt_ns",
        ),
        Metric(
            "relay_path_rtt",
            "Calls over WebRTC that a TURN server relays: shortest round trip through this server"
            " to the agent's ICE. A path without the server shortens a latency by less than this.",
            scope="session",
            column="relay_path_rtt_ns",
        ),
        Metric(
            "latency_slope",
            "How much longer the main metric becomes with each 1,000 input tokens of the"
            " conversation: Theil and Sen's slope over the successful turns of a session. Only for"
            " sessions whose conversation grows by 1,000 tokens or more, in at least four turns.",
            unit=SLOPE,
            scope="session",
        ),
        Metric(
            "latency_slope_uncached",
            "latency_slope with each 1,000 input tokens that were not cached.",
            unit=SLOPE,
            scope="session",
        ),
        Metric(
            "session_duration",
            "From the start of connecting to the end of the session.",
            "connect_start",
            "ended",
            scope="session",
            better="neither",
        ),
        Metric(
            "receive_delay",
            "From the kernel's receive timestamp to the instant at which this process handled the"
            " event. Timestamps of the process's own clock have this error; kernel timestamps do"
            " not.",
            scope="load_generator",
        ),
        Metric(
            "event_loop_delay",
            "How late a 10 ms timer of the event loop ran.",
            scope="load_generator",
        ),
        Metric(
            "send_delay",
            "How late a paced audio chunk was handed to the kernel, relative to the instant at"
            " which it was due.",
            scope="load_generator",
        ),
        Metric(
            "start_delay",
            "How late a session began: from its planned start to the start of connecting, without"
            " the wait for a token.",
            "intended_start",
            "connect_start",
            scope="load_generator",
            less="auth_wait_ns",
        ),
        Metric(
            "timestamp_uncertainty",
            "The maximum error of an event's arrival timestamp: 0 if the event ended a read that"
            " emptied the socket; otherwise the time since the socket was last known to be empty.",
            scope="load_generator",
        ),
        Metric(
            "wire_sent",
            "Bytes of WebSocket frames, or of the RTP packets of a telephone call, sent per second,"
            " per session and per target; before TLS, handshake excluded.",
            unit=BYTES_PER_S,
            scope="session",
            better="higher",
        ),
        Metric(
            "wire_received",
            "Bytes of WebSocket frames, or of the RTP packets of a telephone call, received per"
            " second, per session and per target; before TLS, handshake excluded.",
            unit=BYTES_PER_S,
            scope="session",
            better="higher",
        ),
        Metric(
            "audio_sent",
            "Decoded audio sent per second, per session and per target.",
            unit=BYTES_PER_S,
            scope="session",
            better="higher",
        ),
        Metric(
            "audio_received",
            "Decoded audio received per second, per session and per target.",
            unit=BYTES_PER_S,
            scope="session",
            better="higher",
        ),
    )
}

AUDIBLE = 104
"""The smallest magnitude of an audible sample: −50 dBFS, 104 of 32,768. Replies begin with less."""

SEGMENT_NAMES = {
    "speech_end": "speech_end",
    "speech_stopped": "end_of_turn_delay",
    "committed": "commit",
    "request_sent": "request",
    "response_created": "response_creation",
    "first_audio": "audio_generation",
    "first_audible": "playback_start",
}
"""The name of each segment of `voice_to_voice`, by the instant at which the segment ends."""
VAD_SEGMENTS = tuple(SEGMENT_NAMES)
MANUAL_SEGMENTS = tuple(
    name for name in VAD_SEGMENTS if name not in ("speech_stopped", "committed")
)
"""The instants that divide `voice_to_voice`, of turns whose end the service detects, and of other
turns.

If an instant did not happen, the segments before and after it merge, so that the segments always
add up to the whole. A segment may be negative.
"""
HEADLINE = ("ttfa", "ttft", "voice_to_voice")
"""The headline metrics. If the values of one of them are not exact, the run is invalid."""
OF_TRANSCRIPTS = (
    ("transcript_first", "transcript_total"),
    *((name,) for name in TRANSCRIPT_METRICS),
)
"""The metrics that take their place: those of the first tuple of which a run without headline
metrics has any."""
CAN_DECIDE = (*HEADLINE, *chain.from_iterable(OF_TRANSCRIPTS))
"""All metrics whose uncertainty can make a run invalid."""
WAITS = (*FIRST_DELTAS.values(), *TRANSCRIPT_METRICS)
"""The metrics of what the user of a turn waits for first (`awaited`)."""


def awaited(instants: Mapping[str, int]) -> tuple[str, str] | None:
    """Return (instant, metric) for which the caller of a turn waited first; None if it did not
    come.

    It is the first delta of the reply. A turn without a reply has the finished transcript of its
    speech instead.
    """
    for instant, metric in FIRST_DELTAS.items():
        if instant in instants:
            return instant, metric
    # if a response began, the caller waits for its first delta, even if none came
    if TRANSCRIPT not in instants or "response_created" in instants or "response_done" in instants:
        return None
    return TRANSCRIPT, TRANSCRIPT_METRICS["speech_end" not in instants]


def turn_type_of(names: Collection[str]) -> str:
    """Return the turn type: those `names` that are in TURN_TYPES, in its order, joined by `+`;
    else REGULAR.
    """
    return "+".join(name for name in TURN_TYPES if name in names) or REGULAR


def segments(instants: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Return (start, end, ns) of each segment of `voice_to_voice`; [] if `voice_to_voice` is
    absent.
    """
    chain = VAD_SEGMENTS if "speech_stopped" in instants else MANUAL_SEGMENTS
    if (
        chain[0] not in instants
        or chain[-1] not in instants
        or instants[chain[0]] > instants[chain[-1]]
    ):
        return []
    reached = [name for name in chain if name in instants]
    return [(start, end, instants[end] - instants[start]) for start, end in pairwise(reached)]


MIN_TURNS_BEYOND = 5
"""The minimum number n(1−p) of turns beyond a quantile p, for it to be published. It does not
apply to the median."""
ALIKE = 0.5
INDEPENDENT = 3.6
"""Assumptions about when a quantile in a tail is published.

ALIKE is the assumed correlation between the turns of one session. INDEPENDENT turns must lie beyond
a quantile so that the largest turn bounds it. The bound needs p^n ≤ 2.5 %, so n(1−p) must be 3.6 at
p95, and 3.7 at p99.
"""
MIN_EFFECTIVE_SESSIONS = 6
"""The minimum effective number of sessions (Kish) for a published quantile.

With n sessions, the probability that the medians of all sessions are below the real median is 2^−n.
From six sessions on, this probability is below 2.5 %. Then the largest of the medians is an upper
bound.
"""
SESSIONS_OF_FEW_TURNS = ((2, 9), (4, 7))
"""Minimum numbers of sessions for a published median if sessions have few turns: (turns of a
session, sessions).

A session with fewer turns than stated needs at least this many sessions. From these numbers G on,
the median has an upper bound: n / (1 + (k − 1)/2) · (z/t)² ≥ 5.3, where n = Gk and t has G − 1
degrees of freedom. With one turn in each session, the left side is also multiplied by (G − 1)/G,
the inverse of the design effect.
"""


def sessions_to_publish(p: float, turns: float, sessions: float, effective_sessions: float) -> int:
    """Return the number of sessions that a quantile needs to be published.

    `turns`, `sessions` and `effective_sessions` describe the design of the run.
    `effective_sessions` is the effective number of sessions (Kish). Only the design decides whether
    a quantile is published. If the result also decided, low values would be published more often.
    Each quantile needs six effective sessions (2^−6 < 2.5 %), and a median up to nine if sessions
    have few turns. A quantile in a tail also needs 5 turns beyond it, and enough turns to bound it:
    n / (1 + (Σn_g²/n − 1)/2) ≥ 3.6 / (1−p). It assumes a correlation of one half within sessions.
    """
    times = MIN_EFFECTIVE_SESSIONS / effective_sessions
    if p == 0.5:
        # the entries are ordered: the fewer turns sessions have, the more sessions are needed
        minimum = next(
            (least for few, least in SESSIONS_OF_FEW_TURNS if turns / effective_sessions < few), 0
        )
        times = max(times, minimum / effective_sessions)
    else:
        tail = min(p, 1 - p)
        independent = turns / (1 + ALIKE * (turns / effective_sessions - 1))
        times = max(times, INDEPENDENT / tail / independent, MIN_TURNS_BEYOND / tail / turns)
    # a product that is a whole number may be slightly more in floats, and would need one session
    # more
    return math.ceil(sessions * times - 1e-9)


PlannedEvent = Literal["interruptions", "sounds", "expectations"]
PLANNED_COLUMNS: dict[PlannedEvent, tuple[str, str]] = {
    event: (f"{event}_planned", f"{event}_missed") for event in get_args(PlannedEvent)
}
"""The columns of sessions that count a script's planned events, besides turns, and those that
did not happen."""
