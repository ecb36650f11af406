"""The conversion of an ended turn to its observation: instants, uncertainties, turn type and
counts. Pure.
"""

# A turn becomes its observation once, when it is delivered: it has ended, and awaits no late event.
# A Python program that judges the turn gets an observation before that.
#
# A value is absent for one of three reasons. The service sends no turn events: then only `RECEIVED`
# and the columns outside of `UNREPORTED` can be known. The plan does not have what the column
# describes (no functions, no turn detection, no reference). Or the turn ended before.
# `bench.load.planning.lacking` predicts the first two reasons before the run, from the same tables.

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgspec

from bench.base.units import NEVER_NS
from bench.catalogue.metrics import MEASURED_FROM, turn_type_of
from bench.catalogue.outcomes import CANCELLED_SPLIT, SUCCESSFUL, outcome_class
from bench.observe.callee import spoke_before_beep, taken_for_person
from bench.observe.caller import FALSE_YIELD_NS, TranscriptLag
from bench.observe.observation import (
    UNJUDGED,
    Instants,
    TurnObservation,
    is_done,
    receive_timestamp_source,
    score_turn,
)
from bench.observe.turn import PendingTurn, TurnMessages
from bench.plan.turn_plan import MAILBOX, NO_REFERENCE, SuccessPredicate
from bench.wire.audio import ALL_FORMATS
from bench.wire.dialect import SOUND, TurnSource
from bench.wire.events import EventKind

AFTER_BARGE_IN = {"barge_in_last_audio": "last_audio", "barge_in_response_done": "response_done"}
"""A mapping from an instant to the instant from which it is copied. These instants belong to a
response that an interruption ended. The copy is made only if the copied instant came after the
interruption."""

OF_TURN = (
    "outcome",
    "causes",
    "start_ns",
    "audio_bytes_received",
    "false_reply",
    "patience_ns",
    "taken_for_mailbox",
    "caller_mark",
    "crossed_audio",
)
OF_MESSAGES = tuple(
    counted.name
    for counted in fields(TurnMessages)
    if counted.name in TurnObservation.__struct_fields__
)
"""The fields that the row has under the same name."""
_of_turn = attrgetter(*OF_TURN)
_of_messages = attrgetter(*OF_MESSAGES)
STALLS = ("stall_duration_ns", "stall_count", "stall_duration_uncertainty_ns")
OF_PACKETS = frozenset({"first_audio", "answer_audio", "last_audio", "audio_done"})
"""The instants that have no meaning in a track."""
RECEIVED = frozenset(
    {
        "start",
        "speech_start",
        "speech_end",
        "speech_left",
        "first_audible",
        "last_audible",
        "answer_audible",
        "first_input_transcript",
        "barge_in",
        "barge_in_detected",
        "barge_in_silent",
        "barge_in_last_audio",
        "ended",
        "function_call_added",
        "function_call_done",
        "answer_request_sent",
        "function_audible",
    }
)
"""The instants that can be known if the service reports nothing about turns, but perhaps its
caller's speech."""
UNREPORTED: Mapping[str, Any] = {
    "response_id": "",
    "gaps_ns": (),
    "uncertain_gaps": 0,
    "audio_speed": None,
    "vad_splits": None,
    "input_transcript_deltas": None,
    "answer_response_id": "",
}
"""The values of columns that are unknown if the service sends no turn events."""


def all_instants(turn: PendingTurn) -> Instants:
    """Return every known instant of a turn; only those of `RECEIVED` if the service sends no
    turn events.
    """
    found = Instants()
    interruption = turn.interruption
    found.include(turn, turn.input_speech, turn.calls, turn.reply, turn.calls.mcp)
    # the speech went on, or another commit followed: only the instant was removed
    for removed in turn.input_speech.uncertainties_ns.keys() - turn.input_speech.instants.keys():
        del found.uncertainties_ns[removed]
    audible = turn.reply.audio_instants()
    if turn.calls.rounds or turn.has_tasks:
        audible["function_audible"] = audible.get("answer_audible")
    for name, arrival in audible.items():
        if arrival is not None:
            found.arrived(name, arrival)
    if interruption is not None:
        barge_in_ns = interruption.instants.get("barge_in", NEVER_NS)
        for name, source in AFTER_BARGE_IN.items():
            if source in found.uncertainties_ns:
                found.uncertainties_ns[name] = found.uncertainties_ns[source]
            if interruption.cancelled and found.instants.get(source, 0) > barge_in_ns:
                found.instants[name] = found.instants[source]
        found.include(interruption)
    if turn.turn_source is SOUND:
        absent = set() if turn.plan.answer_min_ns or turn.has_tasks else {"answer_audible"}
        if turn.outcome != "ok":  # the last sound may have been dropped, or may not be the end
            absent.add("last_audible")
        found.instants = {
            name: at_ns for name, at_ns in found.instants.items() if name in RECEIVED - absent
        }
    return found


def turn_type(turn: PendingTurn) -> str:
    """Return how a turn differs from other turns of its step. Turns of different types are never
    pooled.
    """
    differences = {
        "function_calls": bool(turn.calls.rounds) or turn.has_tasks,
        "after_interruption": (
            turn.interrupts is not None and turn.interrupts.stopped_ns is not None
        ),
        "after_truncation": turn.responses.after_truncation,
        "wake_up": turn.is_wake_up,
        "filler": turn.responses.may_have_filler or bool(turn.responses.fillers),
    }
    return turn_type_of([name for name, is_different in differences.items() if is_different])


def cut_off(turn: PendingTurn) -> bool | None:
    """Return whether playback of a reply began before the speech ended; None if that is unknown, or
    without a VAD.

    A turn may end before its speech does. A reply that was played by then cut the caller off.
    Otherwise no reply will if the service cancelled its only one; after another end of the turn it
    is unknown what would have followed.
    """
    speech = turn.input_speech.instants
    if not turn.plan.vad or "speech_start" not in speech:
        return None
    starts_ns = (reply.playback_starts_ns for reply in (*turn.dropped, turn.reply))
    until_ns = speech.get("speech_end", turn.instants.get("ended", 0))
    if any(at_ns is not None and at_ns < until_ns for at_ns in starts_ns):
        return True
    return False if "speech_end" in speech or turn.outcome == CANCELLED_SPLIT else None


def _is_missed(turn: PendingTurn) -> bool | None:
    """Return whether the reply ended before the planned interruption or sound; None if unplanned
    or unfinished.
    """
    if turn.interruption is None or outcome_class(turn.outcome) == "unfinished":
        return None
    return not turn.interruption.has_begun


def _overlap_ns(turn: PendingTurn) -> int | None:
    interruption = turn.interruption
    if interruption is None or interruption.kind == "client" or not interruption.has_begun:
        return None
    # both speak until the first of them is silent
    ends_ns = turn.reply.silent_from.at_ns
    if interruption.spoken_ns is not None:
        ends_ns = min(ends_ns, interruption.spoken_ns)
    return max(0, ends_ns - interruption.instants["barge_in"])


def _dead_air_ns(turn: PendingTurn, instants: Mapping[str, int]) -> int | None:
    """Return the player's longest silence after the instant from which latency is measured; None if
    it is unknown.

    If the service sends turn events, the silence is known for a turn with function calls or several
    items. If the service sends no turn events, the silence is known if the reply was audible and
    began after that instant.
    """
    measured_from_ns = next(
        (at_ns for name in MEASURED_FROM if (at_ns := instants.get(name)) is not None), None
    )
    if turn.turn_source is SOUND:
        audible_ns = instants.get("first_audible")
        if measured_from_ns is None or audible_ns is None or audible_ns < measured_from_ns:
            return None
        return max(audible_ns - measured_from_ns, turn.reply.longest_pause_ns)
    if measured_from_ns is None or not (turn.calls.rounds or len(turn.reply.items) > 1):
        return None
    return turn.reply.longest_silence_ns(measured_from_ns)


def _false_yield(turn: PendingTurn) -> bool | None:
    """Return whether a sound stopped the reply; None without a sound, or if the turn failed before
    the sound could stop it.
    """
    interruption = turn.interruption
    if interruption is None:
        return None
    stopped = interruption.false_yield_of_sounds
    begun_ns = interruption.instants.get("barge_in", NEVER_NS)
    watched_ns = turn.instants.get("ended", begun_ns) - begun_ns
    is_cut = turn.outcome not in SUCCESSFUL and 0 <= watched_ns < FALSE_YIELD_NS
    return None if is_cut and not stopped else stopped


def _mcp_call_failed(turn: PendingTurn) -> bool | None:
    """Return whether an MCP call failed; None without calls, or if the turn ended before a call
    did.
    """
    mcp = turn.calls.mcp
    if mcp.failed:
        return True
    return False if mcp.items and not mcp.unended else None


def _results_needed(turn: PendingTurn) -> int | None:
    """Return how often the service needed a result before it could answer; None if it can have
    needed none.
    """
    if turn.tasks.are_possible:
        return turn.tasks.count
    return turn.calls.rounds if turn.plan.functions or turn.plan.mcp_servers else None


def _transcript_lag(turn: PendingTurn) -> TranscriptLag | None:
    """Return how far the deltas of the caller's transcript lagged behind the speech; None if it
    is unknown.

    The text of an interpreter is complete only if its speech is, which ends the turn.
    """
    speech = turn.input_speech
    start_ns, end_ns = (speech.instants.get(name) for name in ("speech_start", "speech_end"))
    is_stream = turn.turn_source is SOUND
    if start_ns is None or end_ns is None or (is_stream and turn.outcome not in SUCCESSFUL):
        return None
    width_ns = max(speech.widths_ns["speech_start"], speech.widths_ns["speech_end"])
    return speech.words.lag(start_ns, end_ns, width_ns, is_stream=is_stream)


def _start_offset(turn: PendingTurn) -> dict[str, Any]:
    """Return how long after the start of its segment an interpreter is first heard, with its
    uncertainty; {} if that is unknown. A sound before the segment is not its translation.
    """
    start_ns = turn.input_speech.instants.get("speech_start")
    if not turn.plan.interpreted or start_ns is None:
        return {}
    heard = (reply.audio_instants().get("first_audible") for reply in (*turn.dropped, turn.reply))
    first = next((arrival for arrival in heard if arrival and arrival.at_ns >= start_ns), None)
    if first is None:
        return {}
    width_ns = turn.input_speech.widths_ns["speech_start"]
    return {
        "start_offset_ns": first.at_ns - start_ns,
        "start_offset_uncertainty_ns": first.uncertainty_ns + width_ns,
    }


def _transcription_speed(turn: PendingTurn, audio_ns: int) -> float | None:
    """Return the audio of an unpaced recording divided by the time until its transcript; None if
    there is none.
    """
    transcribed_ns = turn.input_speech.instants.get("input_transcribed")
    if (
        turn.plan.has_reply
        or "speech_start" in turn.input_speech.instants
        or transcribed_ns is None
    ):
        return None
    # the quotient is infinite only if both instants are equal, so 1 ns replaces 0
    return audio_ns / max(1, transcribed_ns - turn.start_ns)


def task_success(turn: PendingTurn, judges: dict[int, SuccessPredicate]) -> bool | None:
    """Return the judgement of the turn's function, which runs only once; None without a
    function.
    """
    judge = judges.pop(turn.plan.number, None)
    turn.is_judged = judge is not None
    return None if judge is None else is_done(turn.outcome, lambda: judge(observation(turn)))


def observation(turn: PendingTurn, task_success: bool | None = None) -> TurnObservation:
    """Return the observation of a turn. `task_success` is the judgement of a Python program, if
    there is one.
    """
    reply = turn.reply
    calls = turn.calls
    mcp = turn.calls.mcp
    interruption = turn.interruption
    messages = turn.messages
    network = messages.network
    responses = turn.responses
    if interruption is not None and turn.outcome == "ok":
        interruption.on_played_out(reply.playback_ends_ns)
    # known from events, or from sounds
    is_answer_known = turn.turn_source is not SOUND or turn.plan.answer_min_ns or turn.has_tasks
    timestamped = len(turn.sending.timestamped)
    players = [item.player for item in reply.items.values()]
    stalls: dict[str, Any] = {
        name: sum(getattr(player, name) for player in players) if players else None
        for name in STALLS
    }
    reference = turn.plan.reference
    lag = _transcript_lag(turn)
    input_audio_ns = ALL_FORMATS[turn.plan.speech_format].duration_ns(messages.audio_bytes_sent)
    score = UNJUDGED
    if reference != NO_REFERENCE:
        score = score_turn(
            reference,
            turn.outcome,
            turn.input_speech.transcript,
            reply.answer_text,
            is_transcription_due=turn.plan.transcription_due,
        )
    if turn.is_judged or task_success is not None:  # the replay of a log has only the judgement
        score = score._replace(task_success=task_success, task_defined=True)
    transcription_failure = turn.input_speech.words.failure
    found = all_instants(turn)
    observed = TurnObservation(
        **dict(zip(OF_TURN, _of_turn(turn), strict=True)),
        **dict(zip(OF_MESSAGES, _of_messages(messages), strict=True)),
        response_id=responses.first_id,
        answer_response_id=responses.last_id,
        item_id=turn.input_speech.item_id,
        usage=responses.usage,
        transmit_delay_ns=turn.sending.transmit_delay_ns,
        turn=turn.plan.number,
        step=turn.plan.step,
        instants=found.instants,
        audio=turn.plan.audio,
        uncertainties_ns=found.uncertainties_ns,
        widths_ns=found.widths_ns,
        audio_deltas=reply.deltas[EventKind.AUDIO_DELTA],
        text_deltas=reply.deltas[EventKind.TEXT_DELTA],
        transcript_deltas=reply.deltas[EventKind.TRANSCRIPT_DELTA],
        gaps_ns=tuple(reply.gaps_ns),
        uncertain_gaps=reply.uncertain_gaps,
        audio_speed=reply.audio_speed,
        **stalls,
        vad_splits=(
            max(0, turn.input_speech.commits - 1)
            if turn.plan.vad and turn.turn_source is not TurnSource.REPLIES
            else None
        ),
        network_rtt_ns=network.min_rtt_ns if network else None,
        network_rtt_smoothed_ns=network.rtt_ns if network else None,
        reply_text=reply.text,
        reply_parts=tuple(reply.parts),
        input_text=turn.input_speech.words.text,
        input_audio_ns=input_audio_ns,
        input_transcript_deltas=(
            turn.input_speech.words.deltas if turn.plan.transcription_due else None
        ),
        input_transcription_error=transcription_failure.detail if transcription_failure else "",
        **(lag._asdict() if lag else {}),
        **_start_offset(turn),
        transcription_speed=_transcription_speed(turn, input_audio_ns),
        rtt_scope=network.scope if network else None,
        send_timestamp_source=receive_timestamp_source(
            timestamped, turn.sending.sends - timestamped
        ),
        preamble=reply.preamble if is_answer_known and turn.outcome in SUCCESSFUL else None,
        function_calls=len(calls.complete_calls) if turn.plan.functions else None,
        function_execution_ns=calls.own_ns if calls.of_rounds or turn.has_tasks else None,
        mcp_calls=len(mcp.items) if mcp.items or turn.plan.mcp_servers else None,
        mcp_execution_ns=mcp.execution_ns if mcp.items else None,
        mcp_call_failed=_mcp_call_failed(turn),
        mcp_error=mcp.error_text,
        delegations=_results_needed(turn),
        dead_air_ns=_dead_air_ns(turn, found.instants),
        interruption=interruption.kind if interruption and interruption.has_begun else None,
        interruption_missed=_is_missed(turn),
        yielded=interruption.has_yielded if interruption else None,
        false_yield=_false_yield(turn),
        truncation_correct=turn.check.verdict if turn.check else None,
        cut_off=cut_off(turn),
        speech_pause_ns=turn.plan.pause_ns,
        late_audio_ns=reply.late_ns if reply.stopped_ns is not None else None,
        unplayed_audio_ns=reply.unplayed_ns if reply.stopped_ns is not None else None,
        received_audio_ns=reply.audio.duration_ns(turn.audio_bytes_received),
        overlap_ns=_overlap_ns(turn),
        onset_uncertainty_ns=reply.onset_uncertainty_ns,
        quality=score,
        turn_type=turn_type(turn),
        callee=turn.plan.callee,
        context_tokens=responses.context.input if responses.context else None,
        context_cached_tokens=responses.context.cached_in if responses.context else None,
    )
    if turn.plan.callee == MAILBOX:
        # what it records is no reply
        observed = msgspec.structs.replace(
            observed,
            taken_for_person=taken_for_person(turn),
            spoke_before_beep=spoke_before_beep(turn),
            received_audio_ns=0,
            **dict.fromkeys(STALLS),
        )
    return (
        observed
        if turn.turn_source is not SOUND
        else msgspec.structs.replace(observed, **UNREPORTED)
    )


def without_packets(turn: TurnObservation) -> TurnObservation:
    """Return a turn without the arrivals of audio. A track also has packets while no one speaks."""
    instants = {name: at_ns for name, at_ns in turn.instants.items() if name not in OF_PACKETS}
    uncertainties_ns = {
        name: error_ns for name, error_ns in turn.uncertainties_ns.items() if name not in OF_PACKETS
    }
    return msgspec.structs.replace(
        turn,
        instants=instants,
        uncertainties_ns=uncertainties_ns,
        gaps_ns=(),
        uncertain_gaps=0,
        audio_speed=None,
    )
