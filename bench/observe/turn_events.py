"""The effect of received events and of deadlines on an open turn: the functions return its
ending, or None. Pure.
"""

from collections.abc import Sequence
from functools import cache
from operator import itemgetter

from bench.base.clock import Arrival
from bench.base.units import NS_PER_S
from bench.catalogue.causes import NO_CAUSE, Cause, Code, Ending, Limit, in_words
from bench.catalogue.outcomes import ABANDONED, EXPECTED, UNDONE_TASK
from bench.catalogue.timeouts import MAX_ITEMS, Timeouts
from bench.observe.caller import SPEECH_INSTANTS
from bench.observe.reply import REPLY_INSTANTS
from bench.observe.spoken_answer import SpokenAnswer
from bench.observe.tool_calls import CALL_INSTANTS, MCP_KINDS, TASK_KINDS, tool_name
from bench.observe.turn import (
    ANSWERING,
    CALLING,
    PLAYING,
    SENDING,
    TRANSCRIPTIONS,
    UNNOTICED,
    WAITING,
    PendingTurn,
    State,
)
from bench.plan.turn_plan import MAILBOX
from bench.wire.connection import MatchedDelta
from bench.wire.dialect import SOUND, TurnSource
from bench.wire.events import (
    AUDIO_DELTA,
    COMMENTARY,
    DELTAS,
    INPUT_DELTA,
    MCP_APPROVAL,
    OUTPUT_ADDED,
    OUTPUT_DONE,
    RESPONSE_DONE,
    SPEECH_STARTED,
    TASK_ADDED,
    UNKNOWN,
    ErrorScope,
    EventKind,
    McpItem,
    ServerEvent,
    ServiceFailure,
    base64_form,
)

NO_REPLY_AUDIO = "failed:no_audio"
REPLYING = DELTAS | CALL_INSTANTS.keys() | MCP_KINDS

# A mapping: state → kind of event → next state. Events that are not listed change nothing. Sending
# response.create changes SENDING to WAITING. The end of speech changes SENDING to UNNOTICED if the
# service has a VAD. An outcome changes every state to OVER.
NEXT_STATE = {
    State.UNNOTICED: (
        {EventKind.SPEECH_STOPPED: State.WAITING} | dict.fromkeys(REPLYING, State.ANSWERING)
    ),
    State.WAITING: (
        {EventKind.SPEECH_STARTED: State.UNNOTICED} | dict.fromkeys(REPLYING, State.ANSWERING)
    ),
}

ITEM_EDGES = frozenset(
    {EventKind.OUTPUT_ADDED, EventKind.OUTPUT_DONE, EventKind.CALL_ADDED, EventKind.MCP_CALL_ADDED}
)
ITEM_ENDS = frozenset({EventKind.AUDIO_DONE, EventKind.TEXT_DONE, EventKind.OUTPUT_DONE})
WHOLE_TEXTS = frozenset({EventKind.TEXT_DONE, EventKind.TRANSCRIPT_DONE, EventKind.RESPONSE_DONE})


def received(
    turn: PendingTurn, event: ServerEvent, arrival: Arrival, wire_bytes: int
) -> Ending | None:
    """Apply an event of this open turn: counts, instants and state. Return the ending of the
    turn, if any.
    """
    at_ns, error_ns, kernel = arrival
    kind = event.kind
    # otherwise the event was detected in the audio
    sent = event.name != "" or turn.turn_source is not SOUND
    turn.messages.received(sent, at_ns, error_ns, wire_bytes, kernel)
    if kind in DELTAS:
        if not event.payload_bytes:  # neither audio nor text, so it is not the first delta
            return None
        return _deltas(
            turn, (MatchedDelta(event, at_ns, error_ns, 0, event.payload_bytes, wire_bytes),)
        )
    ending = _apply_event(turn, event, arrival)
    turn.messages.unknown_events += kind is UNKNOWN
    if kind in ITEM_EDGES:
        # an item with deltas that has ended is followed by response.done, unless it is a commentary
        is_commentary = turn.reply.phases.get(event.item_id) == COMMENTARY
        turn.is_between_items |= kind is not OUTPUT_DONE or is_commentary
    if kind in ITEM_EDGES or kind in ITEM_ENDS:
        turn.is_item_complete = not turn.is_between_items
    _advance(turn, kind)
    return ending


def received_deltas(turn: PendingTurn, deltas: Sequence[MatchedDelta]) -> None:
    """Count deltas of this open turn's unfinished reply. The effect is that of `received` for
    each of them.
    """
    worst_error_ns = wire_bytes = 0
    for delta in deltas:
        wire_bytes += delta.wire_bytes
        if delta.uncertainty_ns > worst_error_ns:
            worst_error_ns = delta.uncertainty_ns
    turn.messages.received(len(deltas), deltas[-1].at_ns, worst_error_ns, wire_bytes, True)
    _deltas(turn, deltas)


def _deltas(turn: PendingTurn, deltas: Sequence[MatchedDelta]) -> Ending | None:
    """Apply one decoded delta, or several matched deltas, which have a length and no payload."""
    turn.is_between_items = turn.is_item_complete = False
    if turn.waits.expected or turn.state is not ANSWERING:
        for delta in deltas:
            _advance(turn, delta.event.kind)
    is_heard = turn.turn_source is SOUND
    if not turn.reply.received_deltas(deltas, is_heard=is_heard):
        wrong = next((delta.event for delta in deltas if delta.payload_bytes < 0), deltas[-1].event)
        cause = in_words(f"the payload of {wrong.name} is not base64")
        if form := base64_form(wrong.payload):
            cause = cause.because(Cause(Code.BASE64_FORM, {"form": form}))
        return Ending("protocol_error:base64", cause)
    if len(turn.reply.items) > MAX_ITEMS:  # triggers and observations iterate over all items
        return Ending(
            "limit_exceeded:items", in_words(f"over {MAX_ITEMS} items with audio in one reply")
        )
    return None


def _advance(turn: PendingTurn, kind: EventKind) -> None:
    """Change to the state after an event. Remove the event from the events that the script
    requires.
    """
    waits = turn.waits
    if waits.expected and waits.expected.pop(kind, None) is not None:
        waits.met += 1
    # a service that need not report the end of speech is awaited as one that does not report the
    # speech at all
    if turn.state in NEXT_STATE and not (
        kind is SPEECH_STARTED and turn.turn_source is TurnSource.REPLIES
    ):
        turn.state = NEXT_STATE[turn.state].get(kind, turn.state)


def _apply_event(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    kind = event.kind
    at_ns = arrival.at_ns
    if kind in TRANSCRIPTIONS:
        turn.note_transcript(event, arrival)
        # the text of an interpreter is not the sound that its turn awaits
        is_awaited = turn.state is WAITING and turn.turn_source is not SOUND
        if kind is INPUT_DELTA and is_awaited:
            turn.state = ANSWERING
    elif kind in REPLY_INSTANTS:
        turn.reply.on_event(event, arrival)
    elif kind in SPEECH_INSTANTS:
        # The service detects that the caller continues. From here, the limit for detecting the end
        # counts again.
        if kind is SPEECH_STARTED and turn.state is not UNNOTICED:
            turn.waits.undetected_ns = at_ns
        turn.input_speech.on_event(event, arrival)
    elif kind in CALL_INSTANTS:
        turn.calls.on_event(event, arrival)
        if exceeded_limit := _note_calls(turn):
            return exceeded_limit
        if turn.tasks.are_possible:  # the text before the call was no result
            _await_result(turn)
    elif kind in MCP_KINDS or kind is MCP_APPROVAL:
        return _apply_mcp_event(turn, event, arrival)
    elif kind is OUTPUT_DONE and event.mcp is not None:
        turn.calls.mcp.on_item_done(event)
    elif kind in TASK_KINDS:
        return _apply_task_event(turn, event, arrival)
    elif kind is OUTPUT_ADDED and event.phase:
        turn.reply.phases[event.item_id] = event.phase
    if kind in WHOLE_TEXTS:
        is_scored = turn.plan.reference.is_of_reply
        turn.reply.add_text(event.text, event.item_id, is_scored=is_scored)
    if kind is RESPONSE_DONE and event.response_id in turn.responses.fillers:
        turn.responses.filler = ""
        turn.reply.await_another()
        return None
    if not turn.plan.has_reply:
        transcribed_ns = turn.transcribed_ns
        return (
            transcript_ending(turn)
            if transcribed_ns is not None and transcribed_ns <= at_ns
            else None
        )
    return _ending(turn, event, arrival) if kind is RESPONSE_DONE else None


def _note_calls(turn: PendingTurn) -> Ending | None:
    """Add new calls to the reply. Return the ending of the turn if there are too many."""
    turn.reply.add_calls(turn.calls.complete_calls.values())
    return turn.calls.exceeded_limit


def _apply_mcp_event(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    if event.kind is not MCP_APPROVAL:
        turn.calls.on_mcp_event(event, arrival)
    elif event.mcp is not None and (turn.plan.mcp_servers or {}).get(event.mcp.server):
        turn.calls.mcp.request_approval(event.item_id)
    else:
        tool = tool_name(event.mcp or McpItem(""))
        return Ending(
            "failed:mcp_approval",
            in_words(f"the service asks for the approval of a call of {tool}"),
        )
    return turn.calls.exceeded_limit


def _ending(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    """Return the ending of the turn when its response is done; None if another response follows."""
    failure = event.failure or ServiceFailure()
    if event.status == "completed":
        return _completion(turn, event, arrival)
    # The caller continued after a pause that the service had answered, and the service cancelled
    # that response. The turn's response follows.
    has_yielded = event.status == "cancelled" and turn.plan.vad and not turn.is_interrupted
    if has_yielded and turn.turn_source is not TurnSource.EVENTS and turn.is_early:
        _await_next_reply(turn, arrival.at_ns)
        return None
    if (
        turn.interruption is not None
        and turn.interruption.is_wanted
        and event.status == "cancelled"
    ):
        turn.interruption.cancelled = True
        if turn.reply.late_until_ns:
            turn.interruption.on_late_silence(turn.reply.silent_from)
        return Ending("interrupted")
    if event.status in ("cancelled", "incomplete"):
        return Ending(f"{event.status}:{event.reason or 'unknown'}")
    if not failure.cause and event.status != "failed":
        status = f"the status of the response is {event.status}"
        return Ending(
            "failed:unknown_status",
            in_words(status) if event.status else Cause(Code.NO_STATUS),
        )
    return failure_ending(failure, f"failed:{failure.cause or 'unknown'}", "response")


def failure_ending(failure: ServiceFailure, outcome: str, place: str) -> Ending:
    """Return the ending by a failure of the service. A rate limit has an outcome of its own."""
    throttled = failure.effect is ErrorScope.THROTTLED
    return Ending(f"throttled:{place}" if throttled else outcome, in_words(failure.detail))


def _completion(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    """Return the ending of a turn whose response is completed. It is good only with the
    requested kind of output.
    """
    at_ns = arrival.at_ns
    service_responds = turn.plan.vad and turn.plan.service_responds
    # A VAD may mistake a pause for the end and answer it completely. That reply does not count; the
    # next one does.
    if not (
        turn.input_speech.fully_answered(at_ns)
        if service_responds
        else turn.input_speech.is_speech_sent
    ):
        _await_next_reply(turn, at_ns)
        return None
    distinguishes = turn.plan.answer_min_ns or turn.has_tasks
    if distinguishes and not turn.is_interrupted and _lacks_answer(turn, at_ns):
        return None
    # The function calls are checked before the output, because a response that calls functions need
    # not contain speech.
    if turn.calls.end_response(event, arrival):
        turn.reply.await_another()
        turn.state = CALLING
        return _note_calls(turn)
    if problem := turn.calls.error_text():
        return Ending("wrong_function_call", in_words(problem))
    if turn.waits.expected:
        return failed_expectation(next(iter(turn.waits.expected)))
    # If audio is billed and none was decoded, this dialect does not know the service's event names.
    if turn.plan.wants_audio and AUDIO_DELTA not in turn.reply.deltas:
        return Ending(
            "protocol_error:dialect" if event.usage and event.usage.audio_out else NO_REPLY_AUDIO
        )
    if not turn.plan.wants_audio and EventKind.TEXT_DELTA not in turn.reply.deltas:
        return Ending("failed:no_text")
    if turn.interruption is not None and turn.reply.last_sound is not None:
        turn.interruption.on_silence(turn.reply.silent_from, turn.reply.last_sound)
    if turn.interruption is not None and turn.interruption.stopped_ns is not None:
        return turn.stopped_ending
    if turn.plan.wants_audio and turn.reply.is_inaudible:
        return Ending("failed:inaudible")
    if turn.interruption is None or turn.reply.playback_ends_ns <= at_ns:
        return Ending("ok")
    turn.state = PLAYING  # the turn ends at the latest when the reply is played
    return None


def _lacks_answer(turn: PendingTurn, at_ns: int) -> bool:
    """Return whether the ended reply contains only fillers. If it does, the caller continues to
    wait.
    """
    if turn.state is CALLING:
        turn.reply.await_another()
        turn.tasks.has_ended_answer = _spoken_answer(turn).has_begun
        return True
    answer = _spoken_answer(turn)
    answer.end_sound()
    answer.reject_before(turn.input_speech.instants.get("speech_end", 0))
    if answer.has_begun:
        return False
    if turn.is_early:
        _await_next_reply(turn, at_ns)
    else:
        turn.reply.await_another()
        turn.state = WAITING
    return True


def _await_next_reply(turn: PendingTurn, at_ns: int) -> None:
    turn.input_speech.await_rest()
    turn.calls.forget_response()
    turn.dropped.append(turn.reply)
    turn.reply = turn.reply.successor()
    turn.waits.awaited_ns = at_ns
    turn.state = turn.state_after_speech() if turn.input_speech.is_speech_sent else SENDING


def transcript_ending(turn: PendingTurn) -> Ending:
    """Return the ending of a turn without a reply, whose transcript is complete or has failed."""
    words = turn.input_speech.words
    if words.failure is not None:
        return failure_ending(words.failure, "failed:transcription", "transcription")
    if turn.waits.expected:
        return failed_expectation(next(iter(turn.waits.expected)))
    return (
        Ending("ok")
        if words.text
        else Ending("failed:no_transcript", in_words("the transcript has no words"))
    )


def output_sent(turn: PendingTurn, call_id: str, at_ns: int, error: str) -> None:
    turn.calls.on_output_sent(call_id, at_ns, error)
    if turn.state is CALLING and turn.tasks.are_possible and not turn.calls.is_request_due:
        turn.set_continuation(turn.calls.item_sent)
        if turn.calls.are_all_answered:
            turn.calls.end_round()
        _check_result(turn, turn.calls.item_sent.at_ns)


def _apply_task_event(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    kind = event.kind
    if kind is EventKind.RESULT_ACCEPTED:
        is_ours = turn.plan.owns(event.request) and turn.tasks.result_ns > 0
        if is_ours or (not event.request and turn.tasks.awaits_service):
            _spoken_answer(turn).expect(arrival.at_ns)
        return None
    if event.calls and not turn.plan.functions:
        return Ending(UNDONE_TASK, Cause(Code.NO_FUNCTIONS))
    turn.tasks.on_event(event, arrival.at_ns)
    if kind is EventKind.WORK_DONE:
        return _end_work(turn, event, arrival)
    if kind is TASK_ADDED:
        turn.calls.on_task(event, arrival)
    _await_result(turn)
    return None


def _end_work(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> Ending | None:
    """Return the ending of the turn if the service failed to do a task, or if the answer has
    already been spoken.
    """
    if event.status != "completed":
        failure = event.failure or ServiceFailure(code=event.reason)
        return Ending(
            f"failed:backend_{event.status}", Cause(Code.NOT_DONE).because(in_words(failure.detail))
        )
    if turn.calls.end_response(event, arrival) and (exceeded_limit := _note_calls(turn)):
        return exceeded_limit
    return _check_result(turn, arrival.at_ns)


def _spoken_answer(turn: PendingTurn) -> SpokenAnswer:
    assert turn.reply.spoken_answer is not None, "the plan does not search for an answer"
    return turn.reply.spoken_answer


def _await_result(turn: PendingTurn) -> None:
    """Wait for the result of a task. Meanwhile the service may say fillers."""
    turn.state = CALLING
    turn.tasks.result_ns = 0
    turn.tasks.has_ended_answer = False
    _spoken_answer(turn).await_result()


def _check_result(turn: PendingTurn, at_ns: int) -> Ending | None:
    """Wait for the answer if all results are there. Return the ending if it has already been
    spoken.
    """
    if turn.tasks.awaits_service or turn.calls.is_request_due or not turn.calls.are_all_answered:
        return None
    turn.tasks.result_ns = at_ns
    answer = _spoken_answer(turn)
    if answer.awaits_result:
        answer.expect(at_ns)
    turn.state = ANSWERING if answer.has_begun else WAITING
    return Ending("ok") if turn.tasks.has_ended_answer else None


def failed_expectation(kind: EventKind) -> Ending:
    event = kind.name.lower()
    return Ending(EXPECTED + event, Cause(Code.EVENT_NOT_IN_TIME, {"event": event}))


# Deadlines.


Deadline = tuple[int, str, Cause]
"""(instant, outcome, cause): when and how a turn ends if nothing comes before. It is a plain tuple,
because every second event makes two."""


def deadline(turn: PendingTurn, limits: Timeouts) -> Deadline | None:
    """Return the next deadline of an open turn; None without one."""
    if turn.plan.callee == MAILBOX:
        beep_ns = turn.input_speech.instants.get("beep_end")
        return None if beep_ns is None else (beep_ns + turn.plan.record_ns, "ok", NO_CAUSE)
    deadlines = [
        (until_ns, *failed_expectation(kind)) for kind, until_ns in turn.waits.expected.items()
    ]
    if turn.state is PLAYING:
        deadlines.append((turn.reply.playback_ends_ns, "ok", NO_CAUSE))
    elif turn.calls.mcp.unended and (turn.state is CALLING or turn.is_between_items):
        deadlines.append(
            _timed_out(turn.calls.mcp.changed_ns, limits.response, "response", Code.CALL_NOT_ENDED)
        )
    elif turn.state is CALLING and turn.responses.filler and turn.calls.are_all_answered:
        waits_from_ns = max(turn.messages.progress_ns, turn.calls.last_output_ns)
        deadlines.append(_timed_out(waits_from_ns, limits.next_delta, "next_delta"))
    elif turn.state is CALLING and turn.tasks.awaits_service:
        deadlines.append(
            _timed_out(turn.tasks.changed_ns, limits.response, "response", Code.NOT_DONE)
        )
    elif (transcribed_ns := None if turn.plan.has_reply else turn.transcribed_ns) is not None:
        deadlines.append((transcribed_ns, *transcript_ending(turn)))
    elif turn.state not in (SENDING, CALLING):
        due_ns, outcome, cause = _timeout(turn, limits)
        # The answer to a pause can be overdue while the caller still speaks. This deadline applies
        # only when the service must act.
        deadlines.append((max(due_ns, turn.waits.awaited_ns), outcome, cause))
    if limits.patience and turn.waits.input_complete_ns:
        deadlines.append(_impatient(turn, limits.patience))
    soonest = deadlines[0] if deadlines else None
    if len(deadlines) > 1:
        soonest = min(deadlines, key=itemgetter(0, 1))  # causes have no order
    latest_ns = turn.waits.input_complete_ns + limits.turn * NS_PER_S
    if turn.waits.input_complete_ns and (soonest is None or soonest[0] > latest_ns):  # seldom
        missing = (
            Code.NO_PAUSE if turn.turn_source is SOUND and turn.reply.has_started else Code.NOT_OVER
        )
        return _timed_out(turn.waits.input_complete_ns, limits.turn, "turn", missing)
    return soonest


def _impatient(turn: PendingTurn, patience_s: float) -> Deadline:
    """Return when the caller hangs up: if nothing is heard for so long. Text is read, not heard."""
    patience_ns = int(patience_s * NS_PER_S)
    quiet_ns = turn.waits.input_complete_ns
    audible_ns = turn.reply.first_audible_ns
    if not turn.plan.wants_audio:
        quiet_ns = max(quiet_ns, turn.messages.progress_ns)
    # audio that was received may become audible too late
    elif audible_ns is not None and audible_ns <= quiet_ns + patience_ns:
        quiet_ns = max(quiet_ns, turn.reply.playback_ends_ns)
    cause = Cause(Code.IMPATIENT, {"limit": Limit(patience_s, "patience")})
    return max(quiet_ns + patience_ns, turn.waits.awaited_ns), ABANDONED, cause


def _timeout(turn: PendingTurn, limits: Timeouts) -> Deadline:
    has_events = turn.turn_source is not SOUND
    instants = turn.input_speech.instants
    if turn.state is UNNOTICED:
        missing = Code.UNDETECTED if "speech_started" in instants else Code.UNHEARD
        timeout = _timed_out(turn.waits.undetected_ns, limits.end_of_turn, "end_of_turn", missing)
    elif turn.state is WAITING:
        request_ns = turn.instants.get("answer_request_sent") or turn.instants.get("request_sent")
        waits_from_ns = request_ns or instants.get("speech_stopped", turn.waits.undetected_ns)
        missing = Code.NOTHING_CAME
        if not has_events:
            missing = Code.ONLY_FILLERS if turn.reply.has_started else Code.NOTHING_AUDIBLE
        if turn.tasks.result_ns:
            waits_from_ns = max(turn.tasks.result_ns, turn.reply.playback_ends_ns)
            # the filler was the answer, too
            if turn.reply.spoken_answer and turn.reply.spoken_answer.merged_ns:
                return waits_from_ns + int(limits.first_delta * NS_PER_S), "ok", NO_CAUSE
            missing = Code.NOT_SPOKEN
        missing = missing if turn.plan.has_reply else Code.NO_TRANSCRIPT
        timeout = _timed_out(waits_from_ns, limits.first_delta, "first_delta", missing)
    elif turn.is_between_items:
        timeout = _timed_out(
            turn.messages.progress_ns, limits.first_delta, "first_delta", Code.NO_MORE_ITEMS
        )
    else:
        # If the service sends no turn events, no delta is due before the received audio has been
        # played.
        played_ns = 0 if has_events else turn.reply.playback_ends_ns
        missing = Code.NO_END if turn.is_item_complete else Code.NOTHING_CAME
        missing = missing if turn.plan.has_reply else Code.NO_WHOLE_TRANSCRIPT
        timeout = _timed_out(
            max(turn.messages.progress_ns, played_ns), limits.next_delta, "next_delta", missing
        )
    if turn.reply.created_ns is None:
        return timeout
    no_end = Code.NO_END if has_events else Code.NO_PAUSE
    response_timeout = _timed_out(turn.reply.created_ns, limits.response, "response", no_end)
    return timeout if timeout[0] < response_timeout[0] else response_timeout


def _timed_out(
    from_ns: int, limit_s: float, stage: str, missing: Code = Code.NOTHING_CAME
) -> Deadline:
    limit_ns, outcome, cause = _limit(limit_s, stage, missing)
    return from_ns + limit_ns, outcome, cause


@cache
def _limit(limit_s: float, stage: str, missing: Code) -> tuple[int, str, Cause]:
    """Return (limit in ns, outcome, cause). It is cached, because every second event calls it."""
    return (
        int(limit_s * NS_PER_S),
        f"timeout:{stage}",
        Cause(missing, {"limit": Limit(limit_s, stage)}),
    )
