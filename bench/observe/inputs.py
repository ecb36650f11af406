"""The inputs of a session's timeline: one value for each action of the session, and for each event.

An instant is absolute CLOCK_MONOTONIC nanoseconds. An event log is the stream of these values
(`bench.record.event_log`). The lines of the log omit fields with their default value. The types of
`AnyLogged` are lines as they are. Three types occur for each packet, and are smaller: a `SentChunk`
stands for a `Sent` without instants, a `MatchedDelta` for a `Received` with one event, and a log
has a line of its own type for a received message.

`Timeline.due_actions` determines the actions that are due now, one value for each. The session
performs these actions and reports them as inputs. The inputs that a transport reports are in
`bench.wire.connection`.
"""

# Whatever affects a result is an input, also the expiry of a deadline and the delivery of turns. So
# the replay of a log gives the same rows as the session did, and a test needs no clock and no
# socket.
#
# The tag of a class is the word in the log, and its fields are the keys there. Both are a format: a
# class may be renamed, but its tag may not. A new field has a default, with which older logs are
# read. A new input is a class here, a part of `AnyLogged`, and a handler in `Timeline`.
#
# Actions have the opposite direction. An action is a request to the session, without an instant.
# What was done, and when, returns as inputs (`Sent`, `NetworkMeasured`, `FunctionOutputSent`), so a
# message that could not be sent has no instant either.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.observe.observation import TurnObservation
from bench.plan.turn_plan import InterruptionKind, TurnPlan
from bench.wire.audio import AudioFormatName
from bench.wire.connection import Connected as Connected
from bench.wire.connection import ConnectionClosed as ConnectionClosed
from bench.wire.connection import Input as Input
from bench.wire.connection import MatchedDelta as MatchedDelta
from bench.wire.connection import NetworkMeasured as NetworkMeasured
from bench.wire.connection import ReceivedMessage
from bench.wire.connection import RtpMeasured as RtpMeasured
from bench.wire.connection import SentChunk as SentChunk
from bench.wire.connection import Transmitted as Transmitted
from bench.wire.dialect import BinaryMessage
from bench.wire.events import (
    AUDIO_DELTA,
    EMPTY,
    FunctionCall,
    ServerEvent,
    StrippedAudio,
    TokenUsage,
    audio_payload,
)

if TYPE_CHECKING:
    from bench.plan.prepared import PreparedScript

NO_JSON = msgspec.Raw()


class SessionStart(Input, frozen=True):
    """The parameters of a session's timeline. The session is live, or replayed from a log.

    `start_ns` is the start of connecting. `planned` is the number of turns of the script.
    `service_responds` is True if the service's VAD starts responses. `intended_ns` is the planned
    start of the session; None if the start was not planned. `called_ns` is the arrival of the
    session's call; None if calls do not arrive at a rate. `renewable` is True if the call continues
    in another session when this session expires. `reply_silence_ns` is the silence that ends a
    reply if no event ends it. `mcp_servers` is the number of MCP servers that the session declares.
    `callee` is who answers the agent's call; "" if this tool calls.
    """

    start_ns: int
    planned: int
    timeouts: Timeouts
    service_responds: bool = False
    intended_ns: int | None = None
    called_ns: int | None = None
    renewable: bool = False
    reply_silence_ns: int = REPLY_SILENCE_MS * NS_PER_MS
    mcp_servers: int = 0
    callee: str = ""


def session_start(script: PreparedScript, start_ns: int, turns: int, **of_run: Any) -> SessionStart:
    """Return the start of a session of `turns` turns. Fields that only the run knows replace
    those of the script.
    """
    of_script: dict[str, Any] = {
        "service_responds": script.service_responds,
        "reply_silence_ns": script.reply_silence_ns,
        "mcp_servers": len(script.settings.mcp_servers),
        "callee": script.callee.kind if script.callee else "",
    }
    return SessionStart(start_ns, turns, script.limits, **of_script | of_run)


class TurnStarted(Input, frozen=True, tag="begin"):
    """The start of a turn. `at_ns` is the clock before the first send of the turn."""

    at_ns: int
    plan: TurnPlan


class Sent(Input, frozen=True, tag="sent"):
    """A client event that the kernel has accepted. It belongs to the current turn; without one, to
    the session.

    The send call took `uncertainty_ns`. `Transmitted` refers to the message by `ticket`. `instants`
    are instants of speech, each with the nanoseconds from its recording by a microphone to the
    send. `late` is True if the message was sent later than its schedule. `event` is the content of
    the message, and is set only in a log. It contains audio only if audio is recorded, and is
    omitted if it is long. `untracked` is the event id if the script itself sent the event outside
    of any turn. `item` is the item that the event retrieves, or truncates after `played_ms`.
    """

    name: str
    at_ns: int
    wire_bytes: int
    uncertainty_ns: int = 0
    ticket: int = 0
    audio_bytes: int = 0
    instants: Mapping[str, int] = {}
    late: bool = False
    event: msgspec.Raw = NO_JSON
    untracked: str = ""
    item: str = ""
    played_ms: int = 0


class Received(msgspec.Struct, frozen=True):
    """A received message, with all events in it. A frame of a track has none between replies.

    The session knew the events at `handled_ns`, which the timeline does not use.
    """

    events: Sequence[ServerEvent]
    message: ReceivedMessage
    handled_ns: int = 0


class NotSent(Input, frozen=True, tag="not_sent"):
    """Audio that was not sent at the last `Sent`: the kernel refused it, or the peer holds the
    call.
    """

    audio_bytes: int
    reason: str
    instants: Mapping[str, int] = {}


class HistoryStarted(Input, frozen=True, tag="history"):
    """The start of sending the history: the number of `messages` from before the first turn."""

    at_ns: int
    messages: int


class ContinuesCall(Input, frozen=True, tag="renews"):
    """The continuation of a call from another session. It is the session's first input.

    `previous_reply_end_ns` is when the playback of the previous session's last reply ended; None if
    there was no reply. After a drop, the session is the `attempt` of this number, from 1, to come
    back: the old one ended at `dropped_ns`, the caller heard something until `heard_ns`, and the
    script says `repeated` turns again.
    """

    previous_reply_end_ns: int | None = None
    attempt: int = 0
    dropped_ns: int = 0
    heard_ns: int = 0
    repeated: int = 0


class NotContinued(Input, frozen=True, tag="gave_up"):
    """The end of a dropped call that no other session continues. `reason` is one of
    `bench.plan.reconnect`.
    """

    reason: str


class ReplacedBySession(Input, frozen=True, tag="renewed"):
    """The replacement of this session by another one, which runs the rest of the script."""


class EventExpected(Input, frozen=True, tag="expect"):
    """An event that the script requires by an instant. `kind` is the name of an `EventKind` in
    lower case.
    """

    kind: str
    until_ns: int


class InterruptionAwaited(Input, frozen=True, tag="await_interruption"):
    """The script's plan to interrupt the playback of the current turn's reply, or to play a sound
    during that playback.

    `verify_truncation` is True if the client must check that the service keeps nothing beyond the
    truncation.
    """

    kind: InterruptionKind
    verify_truncation: bool = False


class ClientInterrupted(Input, frozen=True, tag="interrupt"):
    """An interruption of the reply by the client, which has stopped its player."""

    at_ns: int


class SoundStarted(Input, frozen=True, tag="break_silence"):
    """The start of a sound in silence that needs no reply. A reply to it is played with these
    settings.
    """

    reply_format: AudioFormatName = "pcm16"
    jitter_buffer_ns: int = 0


class SoundEnded(Input, frozen=True, tag="restore_silence"):
    """The end of a sound in silence, after the wait for replies to it and for pending work."""


class FunctionOutputSent(Input, frozen=True, tag="call"):
    """The sending of a function's output. `wrong` is the error in the service's call; "" if
    there is none.
    """

    call_id: str
    at_ns: int
    wrong: str = ""


class DeadlinePassed(Input, frozen=True, tag="expire"):
    """The expiry of a deadline."""

    at_ns: int


class TurnEnded(Input, frozen=True, tag="end_turn"):
    """The end of the open turns in a recorded call: the caller speaks again, or the recording ends.

    The caller of a live session waits for the silence that ends a reply. The caller of a recorded
    call did not.
    """

    at_ns: int


class StoppedWaiting(Input, frozen=True, tag="give_up"):
    """The end of the wait for the service's pending work, which belongs to ended turns."""


class SessionFailed(Input, frozen=True, tag="fail"):
    """A failure of the session. It ends the session and every open turn, unless they have
    already ended. `cause` is as in rows, or a text; its key in logs is that of earlier versions.
    """

    outcome: str
    at_ns: int
    cause: str = msgspec.field(default="", name="detail")


class ScriptFinished(Input, frozen=True, tag="finish"):
    """The end of the script. The client closes the connection."""

    at_ns: int


class TurnsDelivered(Input, frozen=True, tag="deliver"):
    """The delivery of turns, by number. These turns have ended, and await no late event at this
    instant.

    `tasks_done` maps turn numbers to whether the turn has done its task. It has the turns that a
    Python program judges. `is_crossed` is whether the caller has heard the mark of another call.
    """

    at_ns: int
    turns: Sequence[int]
    tasks_done: Mapping[int, bool] = {}
    is_crossed: bool | None = None


AnyLogged = (
    Connected
    | TurnStarted
    | Sent
    | NotSent
    | HistoryStarted
    | ContinuesCall
    | NotContinued
    | ReplacedBySession
    | Transmitted
    | EventExpected
    | InterruptionAwaited
    | ClientInterrupted
    | SoundStarted
    | SoundEnded
    | FunctionOutputSent
    | NetworkMeasured
    | RtpMeasured
    | DeadlinePassed
    | TurnEnded
    | StoppedWaiting
    | SessionFailed
    | ConnectionClosed
    | ScriptFinished
    | TurnsDelivered
)
AnyInput = AnyLogged | Received | MatchedDelta | SentChunk
FrequentInput = SentChunk | MatchedDelta | Received


def split(
    batch: Sequence[AnyInput],
) -> tuple[Sequence[SentChunk], Sequence[MatchedDelta], Sequence[Received]]:
    """Return the frequent inputs of a batch by their types, each in the order of the batch."""
    if not batch:
        return (), (), ()
    kinds = [*map(type, batch)]
    several: Any = batch
    # most batches have a single kind, and `count` needs no loop in Python
    if kinds.count(kinds[0]) == len(kinds):
        if kinds[0] is MatchedDelta:
            return (), several, ()
        if kinds[0] is SentChunk:
            return several, (), ()
    chunks = []
    deltas = []
    messages = []
    for each in batch:
        if type(each) is SentChunk:
            chunks.append(each)
        elif type(each) is MatchedDelta:
            deltas.append(each)
        elif type(each) is Received:
            messages.append(each)
    return chunks, deltas, messages


def received_sound(
    events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
) -> MatchedDelta | None:
    """Return the sound that is the only event of a message; None if it is another event, or cannot
    be deferred.

    If the event has no payload, the message is nothing but audio.
    """
    data, (at_ns, error_ns, kernel), wire_bytes = message
    event = events[0]
    if (
        len(events) != 1
        or event.kind is not AUDIO_DELTA
        # only the kernel's timestamp shows how late this process read the sound
        or not kernel
        or isinstance(event.payload, StrippedAudio)
    ):
        return None
    audio: bytes | None = data
    if event.payload is not EMPTY or not isinstance(data, BinaryMessage):
        audio = audio_payload(event.payload) if event.payload_bytes > 0 else None
        event = msgspec.structs.replace(event, payload=EMPTY, payload_bytes=0)
    return (
        MatchedDelta(event, at_ns, error_ns, handled_ns - at_ns, len(audio), wire_bytes, audio)
        if audio
        else None
    )


class Action(msgspec.Struct, frozen=True):
    """The base class of all actions."""


class ReportUsage(Action, frozen=True):
    """The tokens of ended responses. Each response is reported once, even if it belongs to no
    turn.
    """

    usage: TokenUsage


class CancelResponse(Action, frozen=True):
    """The cancellation of the response in progress, because its reply was interrupted."""

    event_id: str


class TruncateItem(Action, frozen=True):
    """The truncation of an item of a stopped reply, so that the service knows how much the
    caller has heard.
    """

    item_id: str
    played_ms: int
    event_id: str


class RetrieveItem(Action, frozen=True):
    """The retrieval of a truncated item, to check which part of it the service keeps."""

    item_id: str
    event_id: str


class AcknowledgeMark(Action, frozen=True):
    """The report to the service that all audio before one of its marks was played or dropped."""

    mark: ServerEvent


class MeasureNetwork(Action, frozen=True):
    """The measurement of the network after a turn's end."""


class DeliverTurn(Action, frozen=True):
    """The delivery of a turn that has ended and awaits no late event."""

    turn: TurnObservation


class RequestResponse(Action, frozen=True):
    """The request of the turn's response. The VAD has committed all of the speech, but starts no
    responses itself.
    """


class CallFunction(Action, frozen=True):
    """The execution of a function. The output becomes an input of the timeline when it has been
    sent.
    """

    call: FunctionCall


class ApproveMcpCall(Action, frozen=True):
    """The approval of an MCP call, which the service has requested with the item `request_id`."""

    request_id: str
    event_id: str


class RequestContinuation(Action, frozen=True):
    """The request of the next response, after all function outputs were sent and all MCP calls
    executed.
    """
