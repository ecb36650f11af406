"""The columns of a run's tables: the name, type, source, meaning and file of each column.

Other modules and pages are made from this list: the schemas of Parquet and of the spool
(`bench.record.folder`), the rows (`bench.record.rows`), the dtypes of frames (`reports.data.runs`),
and the tables of docs/run-folder.md and docs/metrics.md. The end of a column's name is its unit:
`_ns`, `_bytes_…`, `_words`. Others are counts, shares or texts.
"""

# The tables have the columns in the order of the groups below. A reader names the columns that it
# needs, so new ones cost nothing to readers of others. Columns of uncertainties (`audit`) are in a
# file of their own: checks of validity read them, and most reports do not.
#
# An observation has absolute instants. A row has them relative to its `start_ns`, so that they are
# small, and that rows of several machines can be read together.

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.catalogue.metrics import CATALOGUE

ColumnKind = Literal["label", "text", "whole", "number", "flag"]
"""The type of a column. Rows often repeat a label; they seldom repeat a text. Whole numbers have
64 bits."""
InstantSource = Literal["arrival", "send", "clock"]
"""The source of an instant. It determines in which direction the instant may be wrong.

An arrival may really have been earlier than its timestamp, by up to its uncertainty. A send may
really have been later than its timestamp, by up to the duration of the send call. The load
generator's own clock is exact.
"""
FilledBy = Literal[
    "identity", "same", "or null", "instant", "error", "width", "tokens", "quality", "own"
]
"""The source of the value that a column has in the row of a turn or session.

- `same`: the field of the turn's or session's observation that has the name of the column.
- `or null`: the same field, but null if its text is empty.
- `instant`, `error`, `width`: an instant, the uncertainty of an arrival, or the uncertainty of a
  send.
- `tokens`: a number of tokens.
- `quality`: the score of a turn.
- `identity`: the identity that all rows of a session share.
- `own`: a value that the code of the row computes.
"""


# A column is declared once, with where its value comes from (`FilledBy`). The row of a turn is then
# filled by these words, without a line of code for each column, and a field of an observation
# becomes a column by its declaration here.
#
# A new column needs an entry in `ADDED`, until the version of the run folder changes: older folders
# do not have it, and are read with null, which is "unknown" in each analysis. It must never be read
# as 0 or False.
OF_CALLS = re.compile("(peer_)?rtp_|relay_")
RTP_METRICS = [
    m.column
    for m in CATALOGUE.values()
    if m.scope == "session" and OF_CALLS.match(m.column) and not m.of
]
"""The columns that are metrics of a call with RTP. They are made from the rows of the metrics."""
SETUP_OF_CALLS = ("offer_answered", "ice_connected", "dtls_done")
"""The instants of the set-up of a call with ICE and DTLS."""
NETWORK_COUNTS = ("network_dropped", "network_delayed", "network_stalls")
"""The columns of what an impaired network did to the messages of a session."""
ADDED = frozenset(
    {
        "cause",
        "after_return",
        "attempt",
        "turns_repeated",
        "gave_up",
        "dropped_at_ns",
        "last_heard_at_ns",
        "heard_again_at_ns",
        "heard_again_uncertainty_ns",
        "patience_ns",
        "callee",
        "taken_for_mailbox",
        "taken_for_person",
        "spoke_before_beep",
        "caller_mark",
        "crossed_audio",
        *RTP_METRICS,
        "interruption_missed",
        "start_offset_ns",
        "start_offset_uncertainty_ns",
        "transcript_lag_growth_ns",
        "transcript_lag_growth_error_ns",
        "speech_pause_ns",
        "input_characters",
        "reply_characters",
        "interruptions_planned",
        "interruptions_missed",
        "sounds_planned",
        "sounds_missed",
        "expectations_planned",
        "expectations_missed",
        *NETWORK_COUNTS,
        "rtp_unsent",
        "rtp_dropped",
        "rtp_uncounted_pauses",
        "rtp_restarts",
        "other_hosts",
        "rtp_codec",
        "rtp_transfers",
        "calls_without_line",
        "rtp_transfer_silence_uncertainty_ns",
        "speech_left_at_ns",
        "input_transcription_error",
        "task_defined",
        "unrequested_responses",
        "answers_uncertain",
        "input_kindless_tokens",
        "output_kindless_tokens",
        "audio_after_end_ns",
        "relay_allocated_at_ns",
        *(
            f"{instant}_{unit}"
            for instant in SETUP_OF_CALLS
            for unit in ("at_ns", "uncertainty_ns")
        ),
    }
)
"""The columns that this version of the run folder has gained. In the rows of an older tool their
values are unknown."""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that share one description, a sentence in Markdown.

    `audit` is True if the columns contain the uncertainty of other columns. Such columns are stored
    in a separate file.
    """

    names: tuple[str, ...]
    kind: ColumnKind
    sentence: str
    source: FilledBy = "same"
    audit: bool = False


@dataclass(frozen=True)
class InstantGroup:
    """Instants that share one description, a sentence in Markdown. Their columns are named
    `<name>_at_ns`.
    """

    names: tuple[str, ...]
    source: InstantSource
    sentence: str


def _group(
    kind: ColumnKind, names: str, sentence: str, filled: FilledBy = "same", *, audit: bool = False
) -> ColumnGroup:
    return ColumnGroup(tuple(names.split()), kind, sentence, filled, audit)


_label = partial(_group, "label")
_whole = partial(_group, "whole")
_flag = partial(_group, "flag")
_number = partial(_group, "number")
_text = partial(_group, "text", filled="or null")


def _instants(source: InstantSource, names: str, sentence: str) -> InstantGroup:
    return InstantGroup(tuple(names.split()), source, sentence)


_arrival = partial(_instants, "arrival")
_send = partial(_instants, "send")
_clock = partial(_instants, "clock")


def names_of(
    groups: Iterable[ColumnGroup] | Iterable[InstantGroup], *sources: FilledBy | InstantSource
) -> tuple[str, ...]:
    """Return the names of columns or instants, in the order of the groups; if `sources` are
    given, only of these.
    """
    return tuple(
        name for group in groups if not sources or group.source in sources for name in group.names
    )


def _of_instants(instants: tuple[InstantGroup, ...]) -> tuple[ColumnGroup, ...]:
    """Return the columns of instants, and the columns of their uncertainties."""
    at_ns = names_of(instants)
    sends = names_of(instants, "send")
    arrivals = names_of(instants, "arrival")
    return (
        _whole(
            " ".join(f"{name}_at_ns" for name in at_ns),
            "[instants](metrics.md#instants): nanoseconds after the row's `start_ns`, null if they"
            " did not happen",
            "instant",
        ),
        _whole(
            " ".join(f"{name}_uncertainty_ns" for name in sends),
            "by how much the send may really have been later; 0 with the kernel's timestamp. Null"
            " if unknown",
            "width",
            audit=True,
        ),
        _whole(
            " ".join(f"{name}_uncertainty_ns" for name in arrivals),
            "by how much the arrival may have been earlier: its"
            " [uncertainty](metrics.md#timestamp-uncertainty); null if unknown",
            "error",
            audit=True,
        ),
    )


DETAIL_CHARACTERS = 300
"""The maximum length of the texts `close_reason`, `mcp_error` and `input_transcription_error`, and
of the texts in `cause`. Longer ones are cut."""
CAUSE = "cause"
EARLIER_CAUSE = "detail"
"""The columns of the causes of an outcome, and of their text in rows of earlier versions."""
_RUN = _label("run_id", "the folder's name; of a merged run that of the merged one", "identity")
_TARGET = _label(
    "target",
    "label of the service: its name in `targets.yaml`, else its host; of a variant"
    " `<target>.<variant>`",
    "identity",
)
_WORKER = _whole("worker", "number of the process that recorded it, from 0", "identity")
_HOST = _label("host", "name of the machine that recorded it", "identity")
_SIMULATED = _flag("simulated", "measured against the simulator", "identity")

IDENTITY = (
    _RUN,
    _label("session_id", "ours, unique in the run: `w0-000001`", "identity"),
    _label(
        "service_session_id",
        "the service's own; for a call with an agent, the `{uuid}` in its address",
        "identity",
    ),
    _TARGET,
    _whole(
        "block pair",
        "the two minutes of the run in which its pair of sessions began, from 0; the number of the"
        " pair",
        "identity",
    ),
    _label(
        "phase",
        "`warmup` or `measurement`, by when the pair started; a row without a phase is measured",
        "identity",
    ),
    _label("scenario script", "the Locust file and the script's name", "identity"),
    _WORKER,
    _HOST,
    _SIMULATED,
    _flag(
        "after_return",
        "whether its call had been [dropped, and connected again](scripts.md#calls-that-come-back)",
        "identity",
    ),
    _label("outcome", "[how it ended](metrics.md#outcomes)"),
    _label(
        CAUSE,
        "[why it ended so](#causes), as JSON; each text in it, such as the service's message, has"
        f" at most {DETAIL_CHARACTERS} characters",
        "or null",
    ),
    _whole("start_ns", "when it began, on CLOCK_MONOTONIC"),
    _whole("start_utc_ns", "when it began, in UTC", "own"),
)
"""Columns that turns and sessions share. They contain the identity of a row, how it ended, and
when it began."""

# Kinds of tokens overlap: cached and written tokens are a part of the input, and kindless ones a
# part of the text. So the sum of these columns is no number of tokens.
TOKENS = (
    "text_in",
    "audio_in",
    "cached_in",
    "cached_text_in",
    "cached_audio_in",
    "text_out",
    "audio_out",
    "image_in",
    "cached_image_in",
    "cache_write_in",
    "kindless_in",
    "kindless_out",
)


def token_column(kind: str) -> str:
    """Return the column of a kind of tokens. For example, `cached_text_in` has
    `input_cached_text_tokens`.
    """
    *names, direction = kind.split("_")
    return "_".join(("input" if direction == "in" else "output", *names, "tokens"))


def _tokens(sentence: str) -> ColumnGroup:
    return _whole(" ".join(map(token_column, TOKENS)), sentence, "tokens")


_CARRIED = "audio_bytes_sent audio_bytes_received wire_bytes_sent wire_bytes_received"
_CARRIED_SENTENCE = "decoded audio; WebSocket frames with headers, before TLS"
_RETRY = (
    "the [delay](metrics.md#limits-of-the-service) that the service requested when it refused or"
    " throttled the "
)

# Instants have one name for all services. The sentences quote the events of OpenAI's GA; each
# dialect maps its own events to the same `EventKind`, and the source of an instant determines its
# column of uncertainty. An instant that is a copy of another one, such as that of a cancelled
# response, has a name of its own, so that a metric never has to ask which of the two it ends at.
TURN_INSTANT_GROUPS = (
    _send(
        "speech_start speech_end",
        "the first, and the last, sample of the caller's [speech](#where-speech-ends): when its"
        " chunk was handed to the kernel, less the part of the chunk after it. Absent if audio is"
        " not paced",
    ),
    _clock(
        "speech_left",
        "`speech_end` plus the delay of the caller's [impaired network](#impaired-networks); absent"
        " without such a network, and if the packet was dropped",
    ),
    _send(
        "request_sent",
        "`response.create` handed to the kernel; absent if the service starts the response by"
        " itself. In a session that only transcribes: `input_audio_buffer.commit`",
    ),
    _clock(
        "request_acked",
        "the TCP acknowledgement of `response.create`; null if it comes after the turn's end",
    ),
    _arrival(
        "speech_started speech_stopped",
        "the first and the last event of these names, of the service's VAD",
    ),
    _arrival("committed", "`input_audio_buffer.committed`, the last of several"),
    _arrival("response_created", "`response.created`"),
    _arrival(
        "first_text first_audio first_transcript", "the first delta of that kind with a payload"
    ),
    _arrival(
        "first_audible",
        "the reply's first [audible](#what-the-caller-hears) sample is played",
    ),
    _arrival(
        "last_audible",
        "the reply's last audible sample is played, if replies are [found in the"
        " audio](#services-without-turn-events); its uncertainty includes the sound's",
    ),
    _arrival("last_audio", "the last audio delta"),
    _arrival("audio_done transcript_done response_done", "the closing events, of several the last"),
    _arrival(
        "first_input_transcript",
        "the first delta with text of the transcript of the caller's audio",
    ),
    _arrival(
        "input_transcribed",
        "the finished transcript of the caller's audio, of several commits the last. In a session"
        " that only transcribes: of all commits",
    ),
    _arrival(
        "function_call_added function_call_done",
        "the first item that names a [function](#function-calls) or a tool of an [MCP"
        " server](#mcp-servers), or the first [delegated](#delegation) task; the end of the last"
        " call's arguments in the first response with calls",
    ),
    _arrival(
        "mcp_call_started mcp_call_ended",
        "the first `response.mcp_call.in_progress`, and the first `.completed` or `.failed`",
    ),
    _send(
        "answer_request_sent",
        "the last `response.create` after results of functions or MCP calls; or the result of a"
        " task that was delegated to the client",
    ),
    _arrival(
        "answer_audio answer_audible",
        "`first_audio` and `first_audible` of the [answer](#answers-in-parts)",
    ),
    _arrival("function_audible", "`answer_audible`, of turns with function calls"),
    _send(
        "barge_in",
        "the [interruption](#interruptions): the first sample of the speech or sound, or the clock"
        " before `response.cancel`",
    ),
    _arrival("barge_in_detected", "the `speech_started` that this caused"),
    _arrival(
        "barge_in_silent",
        "the player is silent: at `speech_started`; without it within 2 s, at the end of the reply",
    ),
    _arrival(
        "barge_in_last_audio barge_in_response_done",
        "`last_audio` and `response_done` of the cancelled response, if after `barge_in`",
    ),
    _send("truncate_sent", "`conversation.item.truncate` handed to the kernel"),
    _arrival("truncated", "the last `conversation.item.truncated`"),
    _clock("ended", "when the outcome was determined"),
)

TURNS = (
    *IDENTITY,
    _text(
        "response_id answer_response_id item_id",
        "the service's ids of the turn's first and last response, and of the caller's audio",
    ),
    _label("step", "the step's label"),
    _text("audio", "the file that was played; null in a text turn"),
    _whole("turn", "the number of the turn in its session, from 1"),
    _label(
        "measured_from",
        "the [instant](metrics.md#instants) that latency counts from: `request_sent` or"
        " `speech_end`",
    ),
    _label(
        "turn_type",
        "[turn types](metrics.md#turn-types), joined by `+`, or `regular`",
    ),
    *_of_instants(TURN_INSTANT_GROUPS),
    _whole(
        "transmit_delay_ns",
        "the kernel's transmit timestamp of `response.create` − our clock just before the send",
    ),
    _label(
        "send_timestamp_source",
        "where `request_sent` and `speech_end` come from: `kernel`, `userspace` (our clock),"
        " `mixed`",
    ),
    _label(
        "receive_timestamp_source",
        "where this turn's arrivals come from: `kernel`, `userspace`, `mixed`",
    ),
    _whole(
        "timestamp_uncertainty_ns timestamp_uncertainty_max_ns",
        "[timestamp uncertainty](decisions/0002-timestamp-uncertainty.md) of the first delta (of"
        " audio if there is any); the largest of the turn's events",
    ),
    _whole(_CARRIED, _CARRIED_SENTENCE),
    _whole(
        "events audio_deltas text_deltas transcript_deltas unknown_events",
        "counts of received events",
    ),
    _whole(
        "input_transcript_deltas",
        "deltas with text of the transcript of the caller's audio; null if it is not transcribed",
    ),
    _label(
        "input_transcription_error",
        "the first transcription of the caller's audio that failed: its error",
        "or null",
    ),
    _whole(
        "transcript_lag_ns transcript_lag_max_ns",
        "[lag](metrics.md#transcription) of these deltas: median and maximum; null if unknown",
    ),
    _whole(
        "transcript_lag_uncertainty_ns transcript_lag_max_uncertainty_ns",
        "by how much each of the two lags may really have been shorter",
        audit=True,
    ),
    _whole(
        "transcript_lag_growth_ns transcript_lag_growth_error_ns",
        "[growth of the lag](metrics.md#interpreters) during a talk, and the half-width of its"
        " interval of 95 %; null if unknown",
    ),
    _whole("start_offset_ns", "of interpreters: [start offset](metrics.md#interpreters)"),
    _whole(
        "start_offset_uncertainty_ns",
        "by how much the start offset may really have been shorter",
        audit=True,
    ),
    _number(
        "transcription_speed",
        "[×](metrics.md#transcription); null if the recording was paced",
    ),
    _whole("input_audio_ns", "`audio_bytes_sent` as time"),
    _whole("late_chunks", "audio chunks that left later than a tenth of their length"),
    _whole(
        "delta_gap_max_ns delta_gap_p95_ns",
        "gaps between audio deltas: the longest, and p95",
        "own",
    ),
    _whole("uncertain_gaps", "the gaps between audio deltas that are not exact to 1 ms"),
    _whole(
        "stall_duration_ns stall_count",
        "silence within the reply because its audio arrived late, and how often",
    ),
    _whole(
        "stall_duration_uncertainty_ns",
        "the uncertainty of `stall_duration_ns`, in both directions",
        audit=True,
    ),
    _whole(
        "onset_uncertainty_ns",
        "the uncertainty of the [start of the reply in its"
        " audio](accuracy.md#audio-onset-detection): a part of `first_audible_uncertainty_ns`",
        audit=True,
    ),
    _whole(
        "vad_splits", "commits beyond the first: pauses that the service took for the end of speech"
    ),
    _whole(
        "network_rtt_ns network_rtt_smoothed_ns retransmits",
        "from TCP_INFO at the turn's end: shortest and smoothed round trip; segments of ours sent"
        " again since the session's last turn. Null off Linux. In a telephone call the round trips"
        " of RTCP",
    ),
    _number("audio_speed", "how much faster than playback the reply's audio was received, ×"),
    _label(
        "rtt_scope",
        "where the round trips and `retransmits` end: at the `service` (its nearest end of TCP), or"
        " at a `proxy`",
    ),
    _whole("retry_after_ns", _RETRY + "turn"),
    _whole(
        "context_tokens context_cached_tokens",
        "input tokens of the turn's first response, and the cached among them; null if it reported"
        " none",
    ),
    _flag(
        "preamble",
        "whether audio was received before the answer; null without audio, in failed turns, and if"
        " no event marks the answer",
    ),
    _flag(
        "yielded",
        "of interruptions: whether the player was silent within 2 s; null if the reply had ended by"
        " itself",
    ),
    _flag(
        "false_yield",
        "of sounds that are no interruption: whether the reply stopped within 1 s; null if the turn"
        " failed before",
    ),
    _flag(
        "truncation_correct",
        "of truncated replies, if the script checks it: whether the service [retained nothing"
        " beyond what was played](metrics.md#interruptions)",
    ),
    _flag(
        "false_reply",
        "of sounds during silence before this turn: whether the service replied to them",
    ),
    _whole(
        "patience_ns",
        "after how long without an audible reply the caller [hangs up](scripts.md#patience); null"
        " for one who does not",
    ),
    _label(
        "callee",
        "in the first turn of a [call that the agent makes](agents.md#agents-that-dial): who"
        " answered: `person`, `late_person`, `mailbox` or `hang_up`",
        "or null",
    ),
    _flag(
        "taken_for_mailbox",
        "of persons: whether the agent hung up before it answered the second turn; null if unknown",
    ),
    _flag(
        "taken_for_person spoke_before_beep",
        "of mailboxes: whether the agent waited for an answer after the beep, and whether it spoke"
        " before the end of the beep; null if unknown",
    ),
    _whole(
        "caller_mark",
        "the [mark of the call](scripts.md#caller_marks) in the caller's speech; null without one",
    ),
    _flag(
        "crossed_audio",
        "whether the caller has heard the mark of another call, in this turn or before; null if no"
        " mark was heard",
    ),
    _flag("cut_off", "of VAD turns: whether a reply was played before the caller's speech ended"),
    _whole(
        "speech_pause_ns",
        "of speech [in parts](scripts.md#then): the pause between two parts; with"
        " [stated pauses](scripts.md#steps): the longest",
    ),
    _label(
        "interruption",
        "of the reply: by `speech` or by the `client`; or the sound in it: `backchannel`, `noise`,"
        " `talking_to_others`",
    ),
    _flag(
        "interruption_missed",
        "of such replies: whether the reply was over before",
    ),
    _whole(
        "function_calls function_execution_ns",
        "calls of functions; how long our own functions took. Null if the session declares none",
    ),
    _whole(
        "mcp_calls mcp_execution_ns",
        "calls of [MCP servers](metrics.md#mcp-servers); how long the service executed them. Null"
        " if the session declares no server",
    ),
    _flag(
        "mcp_call_failed",
        "whether an MCP call failed; null without MCP calls, and if a call had not ended",
    ),
    _label("mcp_error", "the first MCP call that failed, and its error", "or null"),
    _whole(
        "delegations",
        "[delegated](metrics.md#delegation) tasks, or responses that called functions; null if the"
        " session declares none",
    ),
    _whole("dead_air_ns", "the longest silence of the simulated player within the turn"),
    _whole(
        "late_audio_ns unplayed_audio_ns",
        "of interrupted replies: audio received after the stop; audio received but never played",
    ),
    _whole("received_audio_ns", "`audio_bytes_received` as time, of all responses of the turn"),
    _whole("overlap_ns", "of interrupted replies: how long both spoke"),
    _tokens(
        "of all of the turn's responses, [as the service reported them](metrics.md#tokens); cached"
        " and written ones are a part of the input, kindless ones of the text"
    ),
    _whole(
        "input_words input_word_errors reply_words reply_word_errors",
        "words of the references, and the [errors](metrics.md#quality); null errors of known words"
        " were [not scored](metrics.md#what-cannot-be-scored)",
        "quality",
    ),
    _flag(
        "task_success",
        "whether the turn did what the script calls [success](metrics.md#quality)",
        "quality",
    ),
    _whole(
        "input_characters reply_characters",
        "of these words: how many are [characters](metrics.md#quality) of scripts without spaces",
        "quality",
    ),
    _flag(
        "task_defined",
        "true if the script, or a function, defines success of the turn; null if not",
        "quality",
    ),
)

SESSION_INSTANT_GROUPS = (
    _clock(
        "call_arrival",
        "when the [call](load.md#calls-that-arrive) arrived; absent in a closed loop",
    ),
    _clock(
        "previous_reply_end",
        "the end of playback of the last reply in the session that this one replaces",
    ),
    _clock(
        "dropped last_heard",
        "of an attempt to [come back](scripts.md#calls-that-come-back): the end of the dropped"
        " session; until when the caller heard something of the turn in progress, else the drop",
    ),
    _arrival(
        "heard_again",
        "`first_audible` of the first whole reply after the return; of text, `first_text`",
    ),
    _clock("intended_start", "its planned start"),
    _clock("connect_start", "the start of connecting, after sign-in"),
    _clock(
        "dns_done tcp_done tls_done",
        "the ends of the phases of connecting; behind a proxy, of the proxy and its tunnel",
    ),
    _arrival("ringing", "180 Ringing, for an agent on a telephone"),
    _clock("relay_allocated", "the address at the TURN server that the target names"),
    _arrival(
        " ".join(SETUP_OF_CALLS),
        "the answer to the offer, and the ends of ICE and DTLS, if a call has them",
    ),
    _arrival(
        "opened",
        "the answer to the upgrade to WebSocket, the agent's answer on a telephone, or the open"
        " data channel",
    ),
    _arrival("session_created", "`session.created`"),
    _send("update_sent", "`session.update` handed to the kernel"),
    _arrival("session_updated", "`session.updated`"),
    _arrival(
        "mcp_listed", "the last `mcp_list_tools.completed`, if the script declares MCP servers"
    ),
    _clock("history_start", "before the first item of a history is sent"),
    _arrival("history_acked", "the acknowledgement of its last item"),
    _arrival(
        "first_reply",
        "the first audio delta of the first turn's reply, else its first text delta, else its"
        " finished transcript",
    ),
    _arrival("first_audible", "`first_audible` of the same reply"),
    _arrival("greeting_audible", "`first_audible` of the [greeting](scripts.md#wait_for)"),
    _clock(
        "idle_prompt_due",
        "when the service should speak by itself: its idle timeout after the reply was played",
    ),
    _arrival("idle_prompt_received", "`input_audio_buffer.timeout_triggered`"),
    _clock("ended", "the session's end"),
)

SESSIONS = (
    *IDENTITY,
    *_of_instants(SESSION_INSTANT_GROUPS),
    _whole("auth_wait_ns", "how long it waited for a sign-in before connecting"),
    _whole(
        "caller_time_ns",
        "the [caller's time](metrics.md#metrics-of-a-session) before the first turn",
    ),
    _whole("retry_after_ns", _RETRY + "session"),
    _whole(
        "turns_planned turns_started turns_ended turns_succeeded turns_not_started",
        "in the script; started; with a row; succeeded; planned and not started",
    ),
    _whole(
        "interruptions_planned interruptions_missed sounds_planned sounds_missed"
        " expectations_planned expectations_missed",
        "[interruptions, sounds and expectations](metrics.md#interruptions) to which the session"
        " came, and those that did not take place. Null for recorded calls",
    ),
    _whole(_CARRIED, _CARRIED_SENTENCE),
    _whole("events", "events received"),
    _whole("unknown_events", "events of unknown name", "own"),
    _whole("service_errors", "`error` events that failed nothing"),
    _whole("timestamp_fallbacks", "events without a usable kernel timestamp"),
    _whole(
        "unattributed_commits",
        "commits that no turn of the script caused: noise, sounds during silence, or the idle"
        " timeout",
    ),
    _whole(
        "unrequested_responses", "responses that no request and no commit caused; null if unknown"
    ),
    _flag("answers_uncertain", "whether one of them may be the answer of a turn"),
    _whole("audio_after_end_ns", "audio after its `response.done`, which no turn has"),
    _flag(
        "renewed",
        "whether [another session of its call](scripts.md#calls-that-outlive-their-session)"
        " replaced it",
    ),
    _whole(
        "attempt turns_repeated",
        "of an attempt to [come back](scripts.md#calls-that-come-back) after a drop: its number,"
        " from 1; the turns that the drop cut, and that it began again",
    ),
    _label(
        "gave_up",
        "why a dropped call did not come back: `attempts`, `within`, `refused` for good, or"
        " `unfinished`: the end of the run, or a limit of this machine",
        "or null",
    ),
    _whole("idle_prompts", "how often the service spoke by itself, at its idle timeout"),
    _whole(
        "billed_ns paused_ns",
        "the billable duration that the service reported at the end, and the part of it in standby",
    ),
    _whole(
        "rtp_expected rtp_lost rtp_late rtp_dropped rtp_sent rtp_unsent",
        "of a [telephone](agents.md#telephones) call, until the end of its last turn: RTP packets"
        " that should have arrived, never arrived, were too late for a jitter buffer of 60 ms, and"
        " that this machine dropped unread; that the caller sent, and that the kernel of this"
        " machine refused to send",
    ),
    _whole(
        "rtp_transfers",
        "how often the agent held, moved or [transferred](agents.md#hold-and-transfer) a telephone"
        " call",
    ),
    _whole(
        "calls_without_line",
        "how many [calls of the agent](agents.md#agents-that-dial) were refused because no line was"
        " free, since the earlier session of the process that counted them; null if this tool"
        " called",
    ),
    _whole(
        "rtp_transfer_silence_uncertainty_ns",
        "by how much the transfer silence may really have been shorter or longer",
        audit=True,
    ),
    _whole(
        "rtp_uncounted_pauses rtp_restarts",
        "how often the agent's RTP packets stopped for longer than their timestamps say, and how"
        " often its stream began again: another source (SSRC), new numbers or timestamps, or a much"
        " longer delay",
    ),
    _whole(
        "peer_rtp_expected peer_rtp_lost",
        "by the agent's last RTCP report: the caller's packets that should have reached it, and"
        " that did not",
    ),
    _whole(
        " ".join(NETWORK_COUNTS),
        "of a target with [`network`](targets.md#impaired-networks): RTP packets that were dropped;"
        " packets or messages that left later; stalls of a WebSocket that delayed any",
        "own",
    ),
    _whole(
        " ".join(RTP_METRICS),
        "the [metrics](metrics.md#metrics-of-a-session) of these names",
    ),
    _tokens("of all responses [that belong to no turn](metrics.md#tokens)"),
    _whole(
        "variables_row",
        "which row of the script's variables it took, from 1; null without variables",
        "own",
    ),
    _flag("event_log", "whether its events are in `events/`", "own"),
    _whole("close_code", "if the peer closed, or the connection broke; HTTP/2 streams have none"),
    _label("rtp_codec", "the codec that a call with RTP agreed on at last", "or null"),
    _label(
        "other_hosts",
        "the hosts that only the agent on a telephone named, and to which the call sent audio"
        " or SIP",
        "or null",
    ),
    _label("close_reason", "the peer's words", "or null"),
    _label(
        "callee",
        "who answered the [agent's call](agents.md#agents-that-dial), also `busy`; null if this"
        " tool called",
        "or null",
    ),
    _label(
        "model backend_model region",
        "as the service named them; the backend does [delegated](metrics.md#delegation) tasks",
        "own",
    ),
    _text("request_id", "of the upgrade, as the service named it", filled="own"),
    _label(
        "effective_settings", "JSON: the session's settings as the service confirmed them", "own"
    ),
    _text("response_headers", "JSON: the response headers of the upgrade", filled="own"),
)

# Rows of seconds are no observations: the recorder of each process writes one for each second and
# target (`bench.record.recorder`), with these names. The source of a column (`FilledBy`) has no
# meaning for them.
SECONDS = (
    _RUN,
    _whole("second", "UTC, seconds since 1970"),
    _whole(
        "duration_ns",
        "the recorded part of the second: less at both ends of the run, more if the event loop was"
        " blocked",
    ),
    _label("phase", "`warmup` or `measurement`, by when the second began"),
    _TARGET,
    _WORKER,
    _HOST,
    _SIMULATED,
    _whole(
        "calls_offered calls_blocked calls_delayed calls_not_started",
        "[calls that arrived](load.md#calls-that-arrive); of them those that found no free slot,"
        " that started late (counted at their start), and that were still waiting when the run"
        " ended",
    ),
    _whole(
        "calls_backed_off callers_backing_off",
        "in a closed loop, [after refused calls](load.md#refused-calls): the number of calls whose"
        " delay started in the second; the number of callers who are delayed at its end",
    ),
    _whole("sessions_active session_starts", "open at the end of the second; started within it"),
    _whole("turns_started turns_ended turns_failed", "turns that began, ended and failed in it"),
    _whole(
        "events audio_bytes_sent audio_bytes_received wire_bytes_sent wire_bytes_received",
        "as of turns",
    ),
    _whole(
        "receive_delay_max_ns event_loop_delay_max_ns",
        "the maximum of the second; `event_loop_delay` belongs to the process, and is the same for"
        " all targets",
    ),
    _whole("throttled", "sessions and turns that ended as `throttled:…` in it"),
    _whole(
        "requests_limit requests_remaining tokens_limit tokens_remaining",
        "what the service reported of its [limits](metrics.md#limits-of-the-service): the last"
        " limit, and the minimum that remained",
    ),
    _number("cpu", "share of one core that the worker's process took"),
)

TURN_INSTANTS = names_of(TURN_INSTANT_GROUPS)
SESSION_INSTANTS = names_of(SESSION_INSTANT_GROUPS)
TURN_ARRIVALS = names_of(TURN_INSTANT_GROUPS, "arrival")
SESSION_ARRIVALS = names_of(SESSION_INSTANT_GROUPS, "arrival")
TURN_SENDS = names_of(TURN_INSTANT_GROUPS, "send")
SESSION_SENDS = names_of(SESSION_INSTANT_GROUPS, "send")
TURN_KEYS = ("session_id", "turn")
"""The columns that identify a turn in a file of turns."""
UNCERTAINTY_COLUMNS = tuple(name for group in TURNS if group.audit for name in group.names)
"""The columns of a turn's uncertainties, which are stored in a separate file, after TURN_KEYS."""
LABELS = frozenset(
    name for group in (*TURNS, *SESSIONS, *SECONDS) if group.kind == "label" for name in group.names
)
"""The columns with texts that rows often repeat."""
