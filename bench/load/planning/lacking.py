"""The instants and columns that the turns and sessions of a script can never have.

They are derived from the plan alone. Metrics are computed from instants and columns
(`Metric.columns`). Therefore it is known before the first paid call which metrics cannot be
measured. Only what is certain is listed: a service may speak although text was requested, but it
cannot report the end of speech of a text turn. In two cases, nothing is known: a task in Python
chooses its steps in each session, and a script that sends raw service events may change any
setting.
"""

# A run uses this before its first session: a threshold or an exported metric that no turn can have
# is refused (`Metric.lack_reason`), and a report states the reason in place of an empty value. An
# entry too many refuses a metric that exists, and one too few only makes a run without a value. So
# an entry needs a condition that the plan alone decides, and `tests/load/test_workload.py` checks
# that no turn has what it lacks.

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.catalogue.columns import TURN_INSTANTS
from bench.observe.turn_observation import RECEIVED, UNREPORTED
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import (
    PreparedEvent,
    PreparedInterruption,
    PreparedScript,
    PreparedSound,
    PreparedTurn,
)
from bench.plan.turns import ScriptTurn
from bench.wire.dialect import SOUND, TurnSource
from bench.wire.settings import ONLY_TRANSCRIPT

UNNAMED = "the service sends no turn events, so only audio is measured"

UNREPORTED_INPUT = (
    "the service reports neither commits nor the start of a reply, and truncates nothing"
)


@dataclass(frozen=True)
class MissingFeature:
    """A condition under which a turn lacks the instants and columns `names`, and its reason.

    The name `turn_type:…`, with one of `bench.catalogue.metrics.TURN_TYPES`, means that it has no
    such turns.
    """

    names: Sequence[str]
    holds: Callable[[PreparedScript, PreparedTurn], bool]
    reason: str


def _can_call(script: PreparedScript, turn: PreparedTurn) -> bool:
    """Return whether the service may call a function, or may do a task."""
    return turn.plan.functions or script.dialect.has_tasks


def _interrupts(script: PreparedScript) -> bool:
    return any(
        isinstance(step, PreparedInterruption) or (step.is_turn and step.interrupts is not None)
        for step in script.steps
    )


def _sounds(script: PreparedScript) -> bool:
    return any(isinstance(step, PreparedSound) for step in script.steps)


# What only one kind of turn can have. A name may be in several of these tuples.
SPOKEN = (
    "speech_start",
    "speech_end",
    "committed",
    "input_transcribed",
    "speech_started",
    "speech_stopped",
    "cut_off",
)
SAID = (
    "first_audio",
    "first_audible",
    "first_transcript",
    "transcript_done",
    "answer_audio",
    "answer_audible",
)
OF_CALLS = (
    "function_call_added",
    "function_call_done",
    "answer_request_sent",
    "function_audible",
    "delegations",
    "turn_type:function_calls",
)
OF_MCP = ("mcp_call_started", "mcp_call_ended", "mcp_calls", "mcp_execution_ns", "mcp_call_failed")
NOT_TRANSCRIBED = "the caller's speech is not transcribed (`input_transcription`)"
NO_SERVERS = "the script has no MCP servers (`mcp_servers`)"
OF_BARGE_IN = (
    "barge_in",
    "barge_in_detected",
    "barge_in_silent",
    "barge_in_last_audio",
    "barge_in_response_done",
    "overlap_ns",
    "truncate_sent",
    "truncated",
    "turn_type:after_truncation",
)

OF_REPLIES = (
    "response_created",
    "first_text",
    *SAID,
    "last_audible",
    "last_audio",
    "audio_done",
    "response_done",
    "audio_speed",
    "stall_duration_ns",
    "stall_count",
    "preamble",
    "cut_off",
    "context_tokens",
    "false_reply",
    "context_cached_tokens",
    "dead_air_ns",
    "reply_word_errors",
    "reply_words",
    "reply_characters",
    "task_success",
    *OF_CALLS,
    *OF_BARGE_IN,
    "yielded",
    "truncation_correct",
    "false_yield",
    "turn_type:after_interruption",
    "turn_type:filler",
    "late_audio_ns",
    "unplayed_audio_ns",
)

# The order of this list is that of the reasons: the first that holds is the one that the user
# reads, so the most general come first ("only transcribes" explains more than "replies are text").
# Each condition asks for the plan of a turn, and not for the script's text, because defaults and a
# target's settings are in the plan only.
MISSING_FEATURES = (
    MissingFeature(
        OF_REPLIES,
        lambda _, turn: turn.plan.output == ONLY_TRANSCRIPT,
        "the session only transcribes, so there are no replies (`output: transcript`)",
    ),
    MissingFeature(
        ("transcription_speed",),
        lambda _, turn: turn.plan.output != ONLY_TRANSCRIPT or bool(turn.speech),
        "the script has no recording that is sent all at once to a session that only transcribes"
        " (`paced`)",
    ),
    MissingFeature(
        ("speech_start", "speech_end", "transcript_lag_ns", "transcript_lag_max_ns"),
        lambda _, turn: turn.kind == "audio" and not turn.speech,
        "the recordings are sent all at once (`paced`)",
    ),
    MissingFeature(
        SPOKEN, lambda _, turn: turn.kind != "audio", "the script has no voice turn (`audio`)"
    ),
    MissingFeature(
        ("speech_started", "speech_stopped", "vad_splits", "cut_off"),
        lambda script, turn: not turn.plan.vad and script.dialect.turn_source is not SOUND,
        "the service detects no turns (`turn_detection`)",
    ),
    MissingFeature(
        (*SAID, "audio_speed", "stall_duration_ns", "stall_count", "preamble"),
        lambda _, turn: not turn.plan.wants_audio,
        "replies are text (`output`)",
    ),
    MissingFeature(
        (
            "input_transcribed",
            "input_transcript_deltas",
            "input_word_errors",
            "input_words",
            "input_characters",
        ),
        lambda _, turn: not turn.plan.transcription_due,
        NOT_TRANSCRIBED,
    ),
    MissingFeature(
        ("first_input_transcript", "transcript_lag_ns", "transcript_lag_max_ns"),
        lambda _, turn: not (turn.plan.transcription_due or turn.plan.interpreted),
        NOT_TRANSCRIBED,
    ),
    MissingFeature(
        ("start_offset_ns",),
        lambda _, turn: not turn.plan.interpreted,
        "the service is no interpreter",
    ),
    MissingFeature(
        ("input_word_errors", "input_words", "input_characters"),
        lambda _, turn: not turn.plan.reference.words,
        "the script has no `transcript` of the caller's speech",
    ),
    MissingFeature(
        ("reply_word_errors", "reply_words", "reply_characters"),
        lambda _, turn: not turn.plan.reference.reply,
        "the script has no `expected_reply`",
    ),
    MissingFeature(
        ("task_success",),
        lambda _, turn: not turn.plan.reference.has_task and turn.judge is None,
        "the script has no `success` condition",
    ),
    MissingFeature(
        OF_CALLS,
        lambda script, turn: not (_can_call(script, turn) or turn.plan.mcp_servers),
        "the session has no functions (`tools`)",
    ),
    MissingFeature(
        ("function_execution_ns",),
        lambda script, turn: not _can_call(script, turn),
        "the session has no functions (`tools`)",
    ),
    MissingFeature(OF_MCP, lambda _, turn: not turn.plan.mcp_servers, NO_SERVERS),
    MissingFeature(
        OF_BARGE_IN,
        lambda script, _: not _interrupts(script) and not _sounds(script),
        "the script has no `interrupt` step",
    ),
    MissingFeature(
        ("yielded", "truncation_correct", "turn_type:after_interruption"),
        lambda script, _: not _interrupts(script),
        "the script has no `interrupt` step",
    ),
    MissingFeature(
        ("false_yield", "false_reply"),
        lambda script, _: not _sounds(script),
        "the script has no `sound` step",
    ),
    MissingFeature(
        (
            "committed",
            "vad_splits",
            "response_created",
            "truncate_sent",
            "truncated",
            "truncation_correct",
        ),
        lambda script, _: script.dialect.turn_source is TurnSource.REPLIES,
        UNREPORTED_INPUT,
    ),
    MissingFeature(
        tuple(name for name in (*TURN_INSTANTS, *UNREPORTED) if name not in RECEIVED),
        lambda script, _: script.dialect.turn_source is SOUND,
        UNNAMED,
    ),
)
"""All missing features. If several apply to the same name, the first one determines the reason."""


def missing_features(compiled_script: CompiledScript, *, arrives: bool) -> dict[str, Any] | None:
    """Return the instants and columns that a script's turns and sessions lack, with reasons; None
    if unknown.

    `arrives` is True if calls arrive (open loop).
    """
    if compiled_script.script.task is not None:
        return None
    script = compiled_script.prepare_session(0, 0)
    # an event of the service may change any setting; a message (`item`) changes none
    if any(isinstance(step, PreparedEvent) and step.item is None for step in script.steps):
        return None
    planned = zip(compiled_script.script.turns, script.turns, strict=True)
    turns = [
        {"step": turn.plan.step, "lacks": dict(_of_turn(script, _of_any_session(step, turn)))}
        for step, turn in planned
    ]
    return {
        "name": script.name,
        "turns": turns,
        "session": dict(_of_session(script, arrives=arrives)),
    }


def _of_any_session(step: ScriptTurn, turn: PreparedTurn) -> PreparedTurn:
    """Return a turn with the words that any session may have: each one draws a recording, and the
    words of some may be unknown.
    """
    reference = replace(step.reference, words=" ".join(step.expected_words))
    return replace(turn, plan=replace(turn.plan, reference=reference))


def _of_turn(script: PreparedScript, turn: PreparedTurn) -> Iterator[tuple[str, str]]:
    """Yield each name that a turn lacks, with its reasons. The caller keeps the last one, so the
    first comes last.
    """
    for lack in reversed(MISSING_FEATURES):
        if lack.holds(script, turn):
            yield from ((name, lack.reason) for name in lack.names)


def _of_session(script: PreparedScript, *, arrives: bool) -> Iterator[tuple[str, str]]:
    detection = script.settings.turn_detection
    if not script.history:
        yield from dict.fromkeys(
            ("history_start", "history_acked"), "the script has no `history`"
        ).items()
    if not script.settings.mcp_servers:
        yield "mcp_listed", NO_SERVERS
    if not any(turn.plan.greeting for turn in script.turns):
        yield "greeting_audible", "the script has no `wait_for: greeting` step"
    if script.renew_after_ns is None:
        yield "previous_reply_end", "its calls never renew their session (`renew_after`)"
    if script.reconnect is None:
        yield from dict.fromkeys(
            ("dropped", "last_heard", "turns_repeated"),
            "its calls never connect again (`reconnect`)",
        ).items()
    if detection is None or detection.idle_timeout_ms is None:
        yield from dict.fromkeys(
            ("idle_prompt_due", "idle_prompt_received"), "the session has no `idle_timeout_ms`"
        ).items()
    if not any(turn.plan.wants_audio for turn in script.turns):
        has_replies = script.settings.output != ONLY_TRANSCRIPT
        yield (
            "first_audible",
            "replies are text (`output`)" if has_replies else "the session only transcribes",
        )
    if not arrives:
        yield "call_arrival", "the load has no call arrivals (closed loop)"
