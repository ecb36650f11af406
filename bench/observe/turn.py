"""A turn under way: what was sent and what came, its state, and the one outcome that ends it. Pure.

A turn has one reply that counts. Where the service's VAD takes a pause for the end of speech and answers it to the end,
while the caller is still speaking, that answer is not the turn's: the next one is, with instants of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from bench.clock import Arrival, Handed
from bench.measures import Limits
from bench.observe.observation import TurnObservation
from bench.observe.playback import Player
from bench.protocol.audio import FORMATS
from bench.protocol.dialects import AudioFormatName
from bench.protocol.events import DELTAS, Event, Failure, Kind, Usage
from bench.transport.base import Network

LATE_TRANSCRIPT_NS = 5_000_000_000
EXACT_GAP_NS = 1_000_000
SECOND_NS = 1_000_000_000

THROTTLED_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota"})


class State(Enum):
    """How far a turn is."""

    SENDING = auto()
    """The caller is speaking, or typing."""
    UNNOTICED = auto()
    """The caller's speech is over, and the service has not noticed."""
    WAITING = auto()
    ANSWERING = auto()
    OVER = auto()


# state → kind of event → next state. A kind that is not listed changes nothing. Sending response.create turns SENDING
# into WAITING, the end of speech before a service with VAD turns it into UNNOTICED, and an outcome turns every state
# into OVER.
NEXT_STATE: dict[State, dict[Kind, State]] = {
    State.SENDING: {},
    State.UNNOTICED: {Kind.SPEECH_STOPPED: State.WAITING} | dict.fromkeys(DELTAS, State.ANSWERING),
    State.WAITING: {Kind.SPEECH_STARTED: State.UNNOTICED} | dict.fromkeys(DELTAS, State.ANSWERING),
    State.ANSWERING: {},
    State.OVER: {},
}

# kind of event → the instant that its arrival marks
FIRST_ARRIVAL = {
    Kind.SPEECH_STARTED: "speech_started",
    Kind.SPEECH_STOPPED: "speech_stopped",
    Kind.COMMITTED: "committed",
    Kind.RESPONSE_CREATED: "response_created",
    Kind.TEXT_DELTA: "first_text",
    Kind.AUDIO_DELTA: "first_audio",
    Kind.TRANSCRIPT_DELTA: "first_transcript",
    Kind.AUDIO_DONE: "audio_done",
    Kind.TRANSCRIPT_DONE: "transcript_done",
    Kind.RESPONSE_DONE: "response_done",
    Kind.INPUT_TRANSCRIBED: "input_transcribed",
}
LAST_ARRIVAL = frozenset({Kind.SPEECH_STOPPED, Kind.COMMITTED, Kind.INPUT_TRANSCRIBED})
"""Of these the last one counts: a VAD that splits a turn's speech stops and commits more than once."""
OF_A_REPLY = (
    "response_created", "first_text", "first_audio", "first_transcript", "first_audible", "last_audio", "audio_done",
    "transcript_done", "response_done",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What must be known of a turn to observe it. All of its client event ids begin with `event_prefix`.

    `vad`: the service finds the end of the caller's speech; `service_responds`: and starts the response by itself.
    `audio`: the name of the file that is played.
    """

    number: int
    step: str
    event_prefix: str
    request_event_id: str
    wants_audio: bool = True
    transcription_due: bool = False
    vad: bool = False
    service_responds: bool = False
    audio: str = ""
    reply_format: AudioFormatName = "pcm16"
    jitter_buffer_ns: int = 0


@dataclass(slots=True, eq=False)
class Turn:
    """A turn under way."""

    plan: TurnPlan
    start_ns: int
    state: State = State.SENDING
    outcome: str = ""
    detail: str = ""
    instants: dict[str, int] = field(default_factory=dict)
    response_id: str = ""
    item_id: str = ""
    requested_width_ns: int | None = None
    commits: int = 0
    answered: int = 0
    """Commits of a VAD that the service has answered, with a response or with its refusal."""
    speech_open: bool = False
    """The service hears speech of this turn and has not said that it stopped."""
    uncommitted: bool = False
    """The service has heard speech of this turn, and more of it than it has committed."""
    unnoticed_ns: int = 0
    awaited_ns: int = 0
    """Since when it is the service's turn; what was due before is overdue from then on."""
    expected: dict[str, int] = field(default_factory=dict)
    """Instants that the script insists on, each with the instant by which it must have happened."""
    committed_item: str = ""
    """What the instant `committed` is of; `input_transcribed` is of the same."""
    transcripts: int = 0
    """Commits whose transcription came, or failed."""
    progress_ns: int = 0
    first_delta_error_ns: int | None = None
    first_audio_error_ns: int | None = None
    worst_error_ns: int = 0
    last_audio_error_ns: int = 0
    kernel_stamps: int = 0
    user_stamps: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    reply_audio_bytes: int = 0
    first_audio_bytes: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    deltas: Counter[Kind] = field(default_factory=Counter)
    unknown_events: int = 0
    late_chunks: int = 0
    gaps_ns: list[int] = field(default_factory=list)
    inexact_gaps: int = 0
    usage: Usage | None = None
    player: Player | None = None
    reply_text: str = ""
    input_text: str = ""
    network: Network | None = None
    retransmits: int | None = None

    def mark(self, instant: str, at_ns: int) -> None:
        self.instants.setdefault(instant, at_ns)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """The first terminal cause wins."""
        if self.state is not State.OVER:
            self.state, self.outcome, self.detail = State.OVER, outcome, detail
            self.mark("ended", at_ns)

    def sent(
        self, handed: Handed, wire_bytes: int, audio_bytes: int, moments: Mapping[str, int], *, asks: bool, late: bool
    ) -> None:
        """A message of this turn was handed to the kernel; it `asks` for the response, or holds `moments` of speech.

        A moment is an instant that a microphone recorded so many ns before the message was due.
        """
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late
        for instant, before_ns in moments.items():
            self.mark(instant, handed.at_ns - before_ns)
        if self.state is State.OVER:
            return
        if asks:
            self.mark("requested", handed.at_ns)
            self.requested_width_ns, self.progress_ns = handed.width_ns, handed.at_ns
            self.state = State.WAITING
        elif self.plan.vad and "speech_end" in moments:
            self.unnoticed_ns, self.awaited_ns = self.instants["speech_end"], handed.at_ns
            self.progress_ns = max(self.progress_ns, handed.at_ns)
            self.state = self._state_after_speech()

    def _state_after_speech(self) -> State:
        """A VAD that took a pause for the end may be far ahead when the caller's speech is over."""
        if any(self.deltas.values()):
            return State.ANSWERING
        return State.WAITING if self.noticed else State.UNNOTICED

    @property
    def spoken(self) -> bool:
        """The caller has said everything."""
        return not self.plan.vad or "speech_end" in self.instants

    @property
    def noticed(self) -> bool:
        """The service's VAD has heard this turn to an end, and hears nothing more."""
        return self.plan.vad and "speech_stopped" in self.instants and not self.speech_open

    @property
    def wants_request(self) -> bool:
        """The service has committed the caller's speech and leaves it to the client to ask for the response."""
        heard = self.plan.vad and self.spoken and self.commits > 0 and not self.uncommitted
        return heard and not self.plan.service_responds and "requested" not in self.instants

    def received(self, event: Event, arrival: Arrival, wire_bytes: int) -> tuple[str, str] | None:
        """An event of this open turn: counts, instants, the next state; outcome and detail where it is terminal."""
        self.events += 1
        self.wire_bytes_received += wire_bytes
        self.unknown_events += event.kind is Kind.UNKNOWN
        self.kernel_stamps += arrival.kernel
        self.user_stamps += not arrival.kernel
        self.worst_error_ns = max(self.worst_error_ns, arrival.error_ns)
        self.progress_ns = max(self.progress_ns, arrival.at_ns)
        if event.kind in DELTAS:
            return self._delta(event, arrival)
        if event.kind in FIRST_ARRIVAL:
            self._happened(event, arrival.at_ns)
        if event.kind in (Kind.TEXT_DONE, Kind.TRANSCRIPT_DONE):
            self.reply_text = event.text
        if event.kind is Kind.RESPONSE_DONE:
            self.usage = event.usage
            return self._ending(event, arrival.at_ns)
        return None

    def _happened(self, event: Event, at_ns: int) -> None:
        kind = event.kind
        self._mark_arrival(kind, at_ns)
        if kind is Kind.SPEECH_STARTED:
            self.speech_open = self.uncommitted = True
            if self.state is not State.UNNOTICED:
                self.unnoticed_ns = at_ns
        elif kind is Kind.SPEECH_STOPPED:
            self.speech_open = False
        elif kind is Kind.COMMITTED:
            self.uncommitted, self.committed_item = False, event.item_id
            self.instants.pop("input_transcribed", None)  # that was of what was committed before
        self.state = NEXT_STATE[self.state].get(kind, self.state)

    def _mark_arrival(self, kind: Kind, at_ns: int) -> None:
        instant = FIRST_ARRIVAL[kind]
        if kind in LAST_ARRIVAL:
            self.instants[instant] = at_ns
        else:
            self.mark(instant, at_ns)
        self.expected.pop(instant, None)

    def _delta(self, event: Event, arrival: Arrival) -> tuple[str, str] | None:
        if event.payload_bytes == 0:
            return None
        if event.payload_bytes < 0 or (event.kind is Kind.AUDIO_DELTA and not self._audio_delta(event, arrival)):
            return "protocol:base64", f"the payload of {event.name} is not base64"
        if self.first_delta_error_ns is None:
            self.first_delta_error_ns = arrival.error_ns
        self.deltas[event.kind] += 1
        self._mark_arrival(event.kind, arrival.at_ns)
        self.state = NEXT_STATE[self.state].get(event.kind, self.state)
        return None

    def _audio_delta(self, event: Event, arrival: Arrival) -> bool:
        """False where its audio cannot be decoded."""
        self.audio_bytes_received += event.payload_bytes
        self.reply_audio_bytes += event.payload_bytes
        before_ns = self.instants.get("last_audio")
        if self.player is None or before_ns is None:
            self.player = Player(FORMATS[self.plan.reply_format], self.plan.jitter_buffer_ns, arrival.at_ns)
            self.first_audio_error_ns, self.first_audio_bytes = arrival.error_ns, event.payload_bytes
        elif max(arrival.error_ns, self.last_audio_error_ns) <= EXACT_GAP_NS:
            self.gaps_ns.append(arrival.at_ns - before_ns)
        else:
            self.inexact_gaps += 1
        self.instants["last_audio"], self.last_audio_error_ns = arrival.at_ns, arrival.error_ns
        played = self.player.add(arrival.at_ns, event.payload_bytes, event.payload)
        if self.player.first_audible_ns is not None:
            self.mark("first_audible", self.player.first_audible_ns)
        return played

    def _ending(self, event: Event, at_ns: int) -> tuple[str, str] | None:
        """Outcome and detail of a turn whose response is done; None where another one is to come."""
        failure = event.failure or Failure()
        if event.status == "completed":
            return self._completion(at_ns)
        if event.status in ("cancelled", "incomplete"):
            return f"{event.status}:{event.reason or 'unknown'}", ""
        code = failure.code or failure.type or (event.status if event.status != "failed" else "") or "unknown"
        outcome = "throttled:response" if code in THROTTLED_CODES else f"failed:{code}"
        return outcome, f"{code}: {failure.message}" if failure.message else code

    def _completion(self, at_ns: int) -> tuple[str, str] | None:
        """Completed: with the kind of output that was asked for, or it does not count as success."""
        if not self._last_reply:
            self._await_next_reply(at_ns)
            return None
        if self.expected:
            return failed_expectation(next(iter(self.expected)))
        if self.plan.wants_audio and not self.deltas[Kind.AUDIO_DELTA]:
            return ("protocol:dialect" if self.usage and self.usage.audio_out else "failed:no_audio"), ""
        if not self.plan.wants_audio and not self.deltas[Kind.TEXT_DELTA]:
            return "failed:no_text", ""
        return "ok", ""

    @property
    def _last_reply(self) -> bool:
        """Whether the response that is done answers all that was said."""
        if not self.plan.vad:
            return True
        return (
            self.spoken and not self.uncommitted and (not self.plan.service_responds or self.answered >= self.commits)
        )

    def _await_next_reply(self, at_ns: int) -> None:
        for instant in OF_A_REPLY:
            self.instants.pop(instant, None)
        self.player, self.first_delta_error_ns, self.first_audio_error_ns = None, None, None
        self.reply_audio_bytes = self.inexact_gaps = 0
        self.reply_text, self.awaited_ns = "", at_ns
        self.deltas.clear()
        self.gaps_ns.clear()
        self.state = self._state_after_speech() if self.spoken else State.SENDING

    def expect(self, kind: Kind, until_ns: int) -> None:
        """The script insists on an event of this kind by an instant."""
        instant = FIRST_ARRIVAL[kind]
        if self.state is not State.OVER and instant not in self.instants:
            self.expected[instant] = until_ns

    def deadline(self, limits: Limits) -> tuple[int, str, str] | None:
        """(instant, outcome, detail) of what ends this turn next if nothing comes; None while nothing is due."""
        due = [(until_ns, *failed_expectation(instant)) for instant, until_ns in self.expected.items()]
        if self.state not in (State.SENDING, State.OVER):
            due_ns, outcome, detail = self._timeout(limits)
            due.append((max(due_ns, self.awaited_ns), outcome, detail))
        return min(due, default=None)

    def _timeout(self, limits: Limits) -> tuple[int, str, str]:
        if self.state is State.UNNOTICED:
            return _timed_out(self.unnoticed_ns, limits.speech, "speech")
        if self.state is State.WAITING:
            waits_from_ns = self.instants.get("requested") or self.instants["speech_stopped"]
            due = _timed_out(waits_from_ns, limits.first_delta, "first_delta")
        else:
            due = _timed_out(self.progress_ns, limits.next_delta, "next_delta")
        created_ns = self.instants.get("response_created")
        return due if created_ns is None else min(due, _timed_out(created_ns, limits.done, "done"))

    def note_transcript(self, event: Event, at_ns: int) -> None:
        """A transcription of the caller's audio came, or failed; too late is as good as never."""
        if self.state is State.OVER and at_ns >= self.instants["ended"] + LATE_TRANSCRIPT_NS:
            return
        self.transcripts += 1
        if event.kind is Kind.INPUT_TRANSCRIBED:
            self.input_text = f"{self.input_text} {event.text}".strip()
            if self.committed_item in ("", event.item_id):
                self.instants["input_transcribed"] = at_ns

    def awaits_transcript(self, now_ns: int) -> bool:
        if not self.plan.transcription_due or not self.audio_bytes_sent or self.transcripts >= max(1, self.commits):
            return False
        return now_ns < self.instants["ended"] + LATE_TRANSCRIPT_NS

    def observation(self) -> TurnObservation:
        error_ns = self.first_delta_error_ns if self.first_audio_error_ns is None else self.first_audio_error_ns
        return TurnObservation(
            turn=self.plan.number,
            step=self.plan.step,
            outcome=self.outcome,
            detail=self.detail,
            start_ns=self.start_ns,
            instants=self.instants,
            response_id=self.response_id,
            item_id=self.item_id,
            audio=self.plan.audio,
            requested_width_ns=self.requested_width_ns,
            stamp_error_ns=error_ns,
            stamp_error_max_ns=self.worst_error_ns,
            kernel_stamps=self.kernel_stamps,
            user_stamps=self.user_stamps,
            audio_bytes_sent=self.audio_bytes_sent,
            audio_bytes_received=self.audio_bytes_received,
            wire_bytes_sent=self.wire_bytes_sent,
            wire_bytes_received=self.wire_bytes_received,
            events=self.events,
            audio_deltas=self.deltas[Kind.AUDIO_DELTA],
            text_deltas=self.deltas[Kind.TEXT_DELTA],
            transcript_deltas=self.deltas[Kind.TRANSCRIPT_DELTA],
            unknown_events=self.unknown_events,
            late_chunks=self.late_chunks,
            gaps_ns=tuple(self.gaps_ns),
            inexact_gaps=self.inexact_gaps,
            audio_speed=self._audio_speed(),
            stall_ns=None if self.player is None else self.player.stall_ns,
            stalls=None if self.player is None else self.player.stalls,
            vad_splits=max(0, self.commits - 1) if self.plan.vad else None,
            network_rtt_ns=self.network.min_rtt_ns if self.network else None,
            network_rtt_smoothed_ns=self.network.rtt_ns if self.network else None,
            retransmits=self.retransmits,
            reply_text=self.reply_text,
            input_text=self.input_text,
            usage=self.usage,
        )

    def _audio_speed(self) -> float | None:
        """Seconds of audio received after the first delta, per second from first to last; None under two deltas."""
        first_ns, last_ns = self.instants.get("first_audio"), self.instants.get("last_audio")
        if first_ns is None or last_ns is None or last_ns <= first_ns:
            return None
        audio_s = (self.reply_audio_bytes - self.first_audio_bytes) / FORMATS[self.plan.reply_format].bytes_per_s
        return audio_s / ((last_ns - first_ns) / SECOND_NS)


def _timed_out(from_ns: int, limit_s: float, stage: str) -> tuple[int, str, str]:
    return from_ns + int(limit_s * SECOND_NS), f"timeout:{stage}", f"nothing came within the limit {stage}"


def failed_expectation(instant: str) -> tuple[str, str]:
    """Outcome and detail of a turn that went without what its script insists on."""
    kind = next(kind for kind, name in FIRST_ARRIVAL.items() if name == instant)
    event = kind.name.lower()
    return f"failed:expected_{event}", f"the script expects {event}, and it did not come in time"
