"""The inputs of a session's timeline: one value for each thing that the session did, or that happened to it.

An instant is absolute CLOCK_MONOTONIC nanoseconds. An event log is the stream of these values, with the messages that
came between them (`bench.run.event_log`); fields that have their default are left out of its lines. Messages are told
by `Timeline.received` instead, for they are most of what happens.

What there is to do comes back out of `Timeline.work`, as one value for each thing that is to be done now. Whoever does
it tells the timeline in the inputs that it always tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from bench.observe.observation import TurnObservation
from bench.plan.turn_plan import InterruptionKind, TurnPlan
from bench.protocol.audio import AudioFormatName
from bench.protocol.events import FunctionCall, TokenUsage
from bench.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.units import NS_PER_MS

NO_JSON = msgspec.Raw()


class Input(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="action"):
    """The base of all inputs; `action` tells their types apart in a log."""


class SessionStart(Input, frozen=True):
    """What a session's timeline is made with, whether it is live or a log's.

    `start_ns`: the start of connecting. `planned`: how many turns the script has. `service_responds`: the service's VAD
    starts responses by itself. `intended_ns`: when the session was meant to start; None where nobody had planned it.
    `called_ns`: when the call arrived that it is; None where none did. `renewable`: its call goes on in another session
    when it expires. `reply_silence_ns`: the silence that ends a reply if no event does.
    """

    start_ns: int
    planned: int
    timeouts: Timeouts
    service_responds: bool = False
    intended_ns: int | None = None
    called_ns: int | None = None
    renewable: bool = False
    reply_silence_ns: int = REPLY_SILENCE_MS * NS_PER_MS


class Connected(Input, frozen=True, tag="connected"):
    """The upgrade is done, or was refused: its phases, the service's response headers, the wait for a token before.

    `uncertainties_ns`: how much earlier each phase may really have ended. Connecting begins once there is a token.
    `call_id`: how an agent was told to name the call; "" elsewhere.
    """

    instants: Mapping[str, int]
    headers: Mapping[str, str]
    auth_wait_ns: int = 0
    uncertainties_ns: Mapping[str, int] = {}
    call_id: str = ""


class TurnStarted(Input, frozen=True, tag="begin"):
    """A turn begins; `at_ns` is read before its first send."""

    at_ns: int
    plan: TurnPlan


class Sent(Input, frozen=True, tag="sent"):
    """A client event of the current turn, or of the session where no turn is open, was handed to the kernel.

    The call took `uncertainty_ns`. `ticket`: by which `Transmitted` says when it really left. `instants`: those of
    speech that a microphone recorded so many ns before. `late`: it left late for its schedule. `event`: in a log what
    it said, its audio cut unless that is kept; left out where it is long. `untracked`: its event id, where it is the
    script's own and no turn's. `item`: the one that it cuts, after `played_ms`, or retrieves.
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


class HistoryStarted(Input, frozen=True, tag="history"):
    """The history is about to be sent: so many `messages` that were said before the first turn."""

    at_ns: int
    messages: int


class ContinuesCall(Input, frozen=True, tag="renews"):
    """The session takes the place of one that was as old as one may be; the first thing that it is told.

    `previous_reply_end_ns`: when the caller had heard the last reply in that one; None where none was heard.
    """

    previous_reply_end_ns: int | None = None


class ReplacedBySession(Input, frozen=True, tag="renewed"):
    """Another session takes this one's place: it plays what is left of the script."""


class Transmitted(Input, frozen=True, tag="transmitted"):
    """The kernel said when the message with this ticket left, or when the peer's TCP acknowledged it.

    It counts as long as its turn was not handed out, and changes nothing that was decided before.
    """

    ticket: int
    at_ns: int
    acknowledged: bool = False


class EventExpected(Input, frozen=True, tag="expect"):
    """The script insists on an event by an instant. `kind`: the name of a `Kind` in lower case."""

    kind: str
    until_ns: int


class InterruptionAwaited(Input, frozen=True, tag="await_interruption"):
    """The script interrupts the reply of the turn under way while it is played, or lets a sound be heard during it.

    `verify_truncation`: and has it checked that the service keeps nothing beyond the cut.
    """

    kind: InterruptionKind
    verify_truncation: bool = False


class ClientInterrupted(Input, frozen=True, tag="interrupt"):
    """The client interrupts the reply by itself, and has stopped its player."""

    at_ns: int


class SoundStarted(Input, frozen=True, tag="break_silence"):
    """Something is about to be heard while nothing is played, which asks for no reply: what is replied is played so."""

    reply_format: AudioFormatName = "pcm16"
    jitter_buffer_ns: int = 0


class SoundEnded(Input, frozen=True, tag="restore_silence"):
    """A sound in silence was heard, a reply to it was waited for, and nothing is under way any more."""


class FunctionOutputSent(Input, frozen=True, tag="call"):
    """A function's output was handed over. `wrong`: what is wrong with the service's call; "" where nothing is."""

    call_id: str
    at_ns: int
    wrong: str = ""


class NetworkMeasured(Input, frozen=True, tag="measured"):
    """What the kernel knew of the way to the peer (`TCP_INFO`), service or proxy, when the last turn ended.

    `rtt_ns` is smoothed, `min_rtt_ns` the shortest of late; `retransmits` counts since the connection was opened.
    """

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int
    scope: Literal["service", "proxy"] = "service"


class DeadlinePassed(Input, frozen=True, tag="expire"):
    """Something was due by now, and did not come."""

    at_ns: int


class StoppedWaiting(Input, frozen=True, tag="give_up"):
    """What the service has under way is waited for no longer: it belongs to turns that are over."""


class SessionFailed(Input, frozen=True, tag="fail"):
    """The session ends, and with it every open turn, unless something else ended it before."""

    outcome: str
    at_ns: int
    detail: str = ""


class ConnectionClosed(Input, frozen=True, tag="closed"):
    """The connection is gone; `ours`: we ended it, because what came broke a rule of the protocol or passed a limit.

    `cause`, `uncertainty_ns`: as of `bench.transport.interface.CloseInfo`. OpenAI refuses by an error, and a close
    after the upgrade.
    """

    code: int
    at_ns: int
    reason: str = ""
    ours: bool = False
    cause: str = ""
    uncertainty_ns: int = 0


class ScriptFinished(Input, frozen=True, tag="finish"):
    """The script was played to its end, and we close."""

    at_ns: int


class TurnsDelivered(Input, frozen=True, tag="deliver"):
    """Turns were delivered, by their numbers: they are over, and await nothing more by this instant.

    `tasks_done`: of turns by number, whether they have done their task, if a Python program says so.
    """

    at_ns: int
    turns: Sequence[int]
    tasks_done: Mapping[int, bool] = {}


AnyInput = (
    Connected
    | TurnStarted
    | Sent
    | HistoryStarted
    | ContinuesCall
    | ReplacedBySession
    | Transmitted
    | EventExpected
    | InterruptionAwaited
    | ClientInterrupted
    | SoundStarted
    | SoundEnded
    | FunctionOutputSent
    | NetworkMeasured
    | DeadlinePassed
    | StoppedWaiting
    | SessionFailed
    | ConnectionClosed
    | ScriptFinished
    | TurnsDelivered
)


class Action(msgspec.Struct, frozen=True):
    """The base of all that there is to do."""


class Pay(Action, frozen=True):
    """Tell of the tokens of responses that are done; whatever they belong to, each is told once."""

    usage: TokenUsage


class CancelResponse(Action, frozen=True):
    """Have the service end the response under way: its reply was interrupted."""

    event_id: str


class TruncateItem(Action, frozen=True):
    """Tell the service how much of an item was heard of a reply that was stopped, so that it knows what we know."""

    item_id: str
    played_ms: int
    event_id: str


class RetrieveItem(Action, frozen=True):
    """Have the service show what it keeps of an item that it says it has cut."""

    item_id: str
    event_id: str


class AcknowledgeMark(Action, frozen=True):
    """Tell the service that all that came before a mark of its was played, or dropped."""

    mark: str


class MeasureNetwork(Action, frozen=True):
    """Measure the network: a turn has ended, and nobody has said yet what the way to the peer was like then."""


class DeliverTurn(Action, frozen=True):
    """Pass on a turn that is over and awaits nothing more."""

    turn: TurnObservation


class RequestResponse(Action, frozen=True):
    """Ask for the turn's response: a VAD that starts none has committed all of the speech."""


class CallFunction(Action, frozen=True):
    """Have a function called, whose output is told once it is handed over."""

    call: FunctionCall


class RequestContinuation(Action, frozen=True):
    """Ask for the response that goes on from what the functions returned."""
