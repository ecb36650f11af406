"""The measurement of a recorded call by the timeline of live sessions. Pure.

The recording is applied to a timeline as if it were a live call to an agent on a plain WebSocket:
20 ms of the agent's channel are a message that arrives when it was played, and 20 ms of a caller's
utterance are a message that is sent when it was spoken. So the replies are detected, and all
instants are defined, as in a live call. There are three differences. The caller does not wait for
the silence that ends a reply. No timeout expires. The start of the call is unknown, because a
recording may start after the call was answered.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import PLANNED_COLUMNS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import session_start
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.reply_detector import KNOWN_NS
from bench.observe.timeline import Timeline
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedScript, PreparedSound, PreparedTurn
from bench.plan.script import Script
from bench.recorded_calls.channels import RecordedCall
from bench.recorded_calls.script_files import CHUNK_MS, RecordedUtterance
from bench.services.registry import DIALECTS
from bench.wire.audio import AudioFormat, by_name
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage, ClientMessage, Dialect
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection

DETECTED_NS = KNOWN_NS + 2 * CHUNK_MS * NS_PER_MS
"""The time after the start of a sound by which the timeline has detected it."""
REMOVED_TONE_ERROR_NS = 25 * NS_PER_MS
"""The maximum error of an instant at which a tone was removed."""
ENDLESS_S = 1e6
PCM = DIALECTS["pcm"]
"""The dialect of recorded calls."""
NO_TIMEOUTS = Timeouts(
    **dict.fromkeys(("end_of_turn", "first_delta", "next_delta", "response", "turn"), ENDLESS_S)
)
NO_TRAFFIC = dict.fromkeys(("wire_bytes_sent", "wire_bytes_received", "events"))
NOT_MEASURED = NO_TRAFFIC | dict.fromkeys(
    (
        "stall_duration_ns",
        "stall_count",
        "stall_duration_uncertainty_ns",
        "send_timestamp_source",
        "late_chunks",
        "uncertain_gaps",
        "audio_deltas",
    )
)
"""The values that only the arrivals and sends of messages give. A recording has neither."""
NOT_CONNECTED: dict[str, Any] = NO_TRAFFIC | {"auth_wait_ns": None}
"""The values that only a connection gives."""
NOT_PLANNED: dict[str, Any] = dict.fromkeys(chain.from_iterable(PLANNED_COLUMNS.values()))
"""The values that only a script gives that was planned before the call."""
UNKNOWN_INSTANTS = frozenset({"connect_start"})


@dataclass(frozen=True)
class MeasuredCall:
    turns: tuple[TurnObservation, ...]
    session: SessionObservation


def compiled_for_call(script: Script, call: RecordedCall) -> CompiledScript:
    """Return the script of a call for an agent on a plain WebSocket, with the audio format of
    the call.
    """
    session = SessionSettings(
        turn_detection=TurnDetection(type=FULL_DUPLEX),
        input_format=call.audio.name,
        output_format=call.audio.name,
    )
    return CompiledScript(replace(script, session=session, timeouts=NO_TIMEOUTS), PCM)


# Inputs of the caller and of the agent are merged by time, as a live session would see them. Two
# rules differ from a live call. An interruption is applied when the timeline can know of the reply
# that it interrupts (`DETECTED_NS`), because a detector needs a while after the start of a sound.
# And a turn ends when the caller speaks again, because a recorded caller cannot wait.
def measure(
    call: RecordedCall,
    utterances: Sequence[RecordedUtterance],
    script: PreparedScript,
    start_ns: int,
) -> MeasuredCall:
    """Measure a call that starts at `start_ns`. `script` is the script of the call, prepared by
    `compiled_for_call`.
    """
    start = session_start(script, start_ns, len(script.turns), service_responds=True)
    timeline = Timeline(start, _dialect_of(call.audio), reply_format=call.audio.name)
    turns = list[TurnObservation]()
    end_ns = start_ns + len(call.agent) * NS_PER_S // call.audio.rate_hz
    actions = [
        *_caller_inputs(call, utterances, script, start_ns),
        (end_ns, inputs.TurnEnded(end_ns)),
    ]
    for at_ns, happened in merge(actions, _agent_messages(call, start_ns), key=itemgetter(0)):
        if isinstance(happened, inputs.InterruptionAwaited) and len(timeline.turns.open) > 1:
            timeline.apply(inputs.TurnEnded(at_ns))  # the caller interrupts again before the answer
        timeline.apply(happened)
        if isinstance(happened, inputs.InterruptionAwaited) and not timeline.turns.is_interruptible:
            timeline.apply(inputs.TurnEnded(at_ns))
        timeline.expire(at_ns)
        turns += timeline.pop_turns(at_ns)
    timeline.apply(inputs.ScriptFinished(end_ns))
    turns += timeline.pop_turns(end_ns)
    errors = ((spoken, _tone_error_ns(call, spoken.utterance.end)) for spoken in utterances)
    uncertainties_ns = {
        spoken.name: spoken.speech.uncertainty_ns + error_ns for spoken, error_ns in errors
    }
    session = timeline.session()
    known = {
        name: instant_ns
        for name, instant_ns in session.instants.items()
        if name not in UNKNOWN_INSTANTS
    }
    return MeasuredCall(
        tuple(_observed(turn, uncertainties_ns.get(turn.step, 0)) for turn in turns),
        replace(session, instants=known, **NOT_CONNECTED, **NOT_PLANNED),
    )


def _dialect_of(audio: AudioFormat) -> Dialect:
    """Return the dialect of a call with this audio, which may have the errors of a codec."""
    dialect = copy(PCM)
    dialect.output_formats = by_name(audio)
    return dialect


def _tone_error_ns(call: RecordedCall, end: int) -> int:
    """Return the error of a latency from tones that were removed at the end of speech, or at the
    start of its reply.
    """
    reply = next((sound.start for sound in call.agent_sounds if sound.start > end), end)
    near = (
        any(start <= position <= until for start, until in call.removed)
        for position in (end, reply)
    )
    return REMOVED_TONE_ERROR_NS * sum(near)


def _observed(turn: TurnObservation, speech_end_uncertainty_ns: int) -> TurnObservation:
    """Return a turn without the values that a recording does not have.

    The uncertainty of the caller's end of speech is a part of the uncertainty that comes from the
    audio.
    """
    onset_ns = turn.onset_uncertainty_ns
    return msgspec.structs.replace(
        turn,
        kernel_stamps=0,
        onset_uncertainty_ns=None if onset_ns is None else onset_ns + speech_end_uncertainty_ns,
        **NOT_MEASURED,
    )


def _agent_messages(call: RecordedCall, start_ns: int) -> Iterator[tuple[int, inputs.AnyInput]]:
    size = call.audio.rate_hz * CHUNK_MS // 1_000
    for number, position in enumerate(range(0, len(call.agent), size)):
        data = BinaryMessage(call.audio.encode(call.agent[position : position + size]))
        at_ns = start_ns + number * CHUNK_MS * NS_PER_MS
        message = ReceivedMessage(data, Arrival(at_ns), 0)
        yield at_ns, inputs.Received(PCM.decode(data), message)


def _caller_inputs(
    call: RecordedCall,
    utterances: Sequence[RecordedUtterance],
    script: PreparedScript,
    start_ns: int,
) -> Iterator[tuple[int, inputs.AnyInput]]:
    """Yield (instant, input) of all that the caller does, in order.

    The inputs of an interruption come when the sound that it interrupts is detected. Otherwise this
    sound would be the reply to the interruption.
    """
    spoken = iter(utterances)
    for step in script.steps:
        if isinstance(step, PreparedTurn) and step.plan.greeting:
            yield start_ns, inputs.TurnStarted(start_ns, step.plan)
        elif isinstance(step, PreparedTurn | PreparedSound):
            recorded = next(spoken)
            at_ns = start_ns + recorded.start * NS_PER_S // call.audio.rate_hz
            due_ns = at_ns
            if recorded.utterance.kind != "turn":
                starts = [
                    sound.start
                    for sound in call.agent_sounds
                    if sound.start < recorded.utterance.start
                ]
                due_ns = max(
                    at_ns, start_ns + max(starts) * NS_PER_S // call.audio.rate_hz + DETECTED_NS
                )
            if isinstance(step, PreparedSound):
                yield due_ns, inputs.InterruptionAwaited(step.kind)
                sent = _sent(step.chunks, at_ns, 0)
            else:
                is_interruption = step.interrupts is not None
                yield (
                    due_ns,
                    (
                        inputs.InterruptionAwaited("speech")
                        if is_interruption
                        else inputs.TurnEnded(at_ns)
                    ),
                )
                yield due_ns, inputs.TurnStarted(at_ns, step.plan)
                sent = _sent(step.speech, at_ns, recorded.speech.uncertainty_ns)
            yield from ((max(due_ns, sent_ns), message) for sent_ns, message in sent)


def _sent(
    messages: Sequence[ClientMessage], at_ns: int, end_uncertainty_ns: int
) -> Iterator[tuple[int, inputs.AnyInput]]:
    for message in messages:
        at_ns += message.duration_ns or 0
        width_ns = end_uncertainty_ns if "speech_end" in message.instants else 0
        sent = inputs.Sent(
            message.name, at_ns, 0, width_ns, 0, message.audio_bytes, message.instants
        )
        yield at_ns, sent
