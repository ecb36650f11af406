"""A turn under way: what was sent and what came, its state, and the one outcome that ends it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from bench.clock import Arrival, Handed
from bench.measures import Limits
from bench.observe.observation import TurnObservation
from bench.protocol.events import DELTAS, Event, Failure, Kind, Usage

LATE_TRANSCRIPT_NS = 5_000_000_000
EXACT_GAP_NS = 1_000_000
SECOND_NS = 1_000_000_000

THROTTLED_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota"})


class State(Enum):
    """How far a turn is."""

    SENDING = auto()
    WAITING = auto()
    ANSWERING = auto()
    OVER = auto()


# state → kind of event → next state. A kind that is not listed changes nothing; sending response.create turns SENDING
# into WAITING, and an outcome turns every state into OVER.
NEXT_STATE: dict[State, dict[Kind, State]] = {
    State.SENDING: {},
    State.WAITING: dict.fromkeys(DELTAS, State.ANSWERING),
    State.ANSWERING: {},
    State.OVER: {},
}

# kind of event → the instant that its first arrival marks
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


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What must be known of a turn to observe it. All of its client event ids begin with `event_prefix`."""

    number: int
    step: str
    event_prefix: str
    request_event_id: str
    wants_audio: bool = True
    transcription_due: bool = False


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
    transcript_settled: bool = False
    progress_ns: int = 0
    first_delta_error_ns: int | None = None
    first_audio_error_ns: int | None = None
    worst_error_ns: int = 0
    last_audio_error_ns: int = 0
    kernel_stamps: int = 0
    user_stamps: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
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

    def mark(self, instant: str, at_ns: int) -> None:
        self.instants.setdefault(instant, at_ns)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """The first terminal cause wins."""
        if self.state is not State.OVER:
            self.state, self.outcome, self.detail = State.OVER, outcome, detail
            self.mark("ended", at_ns)

    def sent(self, handed: Handed | None, wire_bytes: int, audio_bytes: int, *, late: bool) -> None:
        """A message of this turn was handed to the kernel; `handed` is there for the request of its response."""
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late
        if handed is not None and self.state is State.SENDING:
            self.mark("requested", handed.at_ns)
            self.requested_width_ns, self.progress_ns = handed.width_ns, handed.at_ns
            self.state = State.WAITING

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
            self.mark(FIRST_ARRIVAL[event.kind], arrival.at_ns)
        if event.kind is Kind.RESPONSE_DONE:
            self.usage = event.usage
            return self._ending(event)
        return None

    def _delta(self, event: Event, arrival: Arrival) -> tuple[str, str] | None:
        if event.payload_bytes < 0:
            return "protocol:base64", f"the payload of {event.name} is not base64"
        if event.payload_bytes == 0:
            return None
        if event.kind is Kind.AUDIO_DELTA:
            self._audio_delta(event.payload_bytes, arrival)
        if self.first_delta_error_ns is None:
            self.first_delta_error_ns = arrival.error_ns
        self.deltas[event.kind] += 1
        self.mark(FIRST_ARRIVAL[event.kind], arrival.at_ns)
        self.state = NEXT_STATE[self.state].get(event.kind, self.state)
        return None

    def _audio_delta(self, audio_bytes: int, arrival: Arrival) -> None:
        self.audio_bytes_received += audio_bytes
        before_ns = self.instants.get("last_audio")
        if before_ns is None:
            self.first_audio_error_ns, self.first_audio_bytes = arrival.error_ns, audio_bytes
        elif max(arrival.error_ns, self.last_audio_error_ns) <= EXACT_GAP_NS:
            self.gaps_ns.append(arrival.at_ns - before_ns)
        else:
            self.inexact_gaps += 1
        self.instants["last_audio"], self.last_audio_error_ns = arrival.at_ns, arrival.error_ns

    def _ending(self, event: Event) -> tuple[str, str]:
        """Outcome and detail of a turn whose response is done."""
        failure = event.failure or Failure()
        if event.status == "completed":
            return self._completion(), ""
        if event.status in ("cancelled", "incomplete"):
            return f"{event.status}:{event.reason or 'unknown'}", ""
        code = failure.code or failure.type or (event.status if event.status != "failed" else "") or "unknown"
        outcome = "throttled:response" if code in THROTTLED_CODES else f"failed:{code}"
        return outcome, f"{code}: {failure.message}" if failure.message else code

    def _completion(self) -> str:
        """Completed: with the kind of output that was asked for, or it does not count as success."""
        if self.plan.wants_audio and not self.deltas[Kind.AUDIO_DELTA]:
            return "protocol:dialect" if self.usage and self.usage.audio_out else "failed:no_audio"
        if not self.plan.wants_audio and not self.deltas[Kind.TEXT_DELTA]:
            return "failed:no_text"
        return "ok"

    def deadline(self, limits: Limits) -> tuple[int, str] | None:
        """(instant, stage) at which this turn times out; None while nothing is due."""
        if self.state in (State.SENDING, State.OVER):
            return None
        if self.state is State.WAITING:
            due = (self.instants["requested"] + int(limits.first_delta * SECOND_NS), "first_delta")
        else:
            due = (self.progress_ns + int(limits.next_delta * SECOND_NS), "next_delta")
        created = self.instants.get("response_created")
        return due if created is None else min(due, (created + int(limits.done * SECOND_NS), "done"))

    def note_transcript(self, kind: Kind, at_ns: int) -> None:
        """A transcription of the caller's audio came, or failed; too late is as good as never."""
        if self.state is not State.OVER or at_ns < self.instants["ended"] + LATE_TRANSCRIPT_NS:
            self.transcript_settled = True
            if kind is Kind.INPUT_TRANSCRIBED:
                self.mark("input_transcribed", at_ns)

    def awaits_transcript(self, now_ns: int) -> bool:
        if not self.plan.transcription_due or not self.audio_bytes_sent or self.transcript_settled:
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
            requested_width_ns=self.requested_width_ns,
            stamp_error_ns=error_ns,
            stamp_error_max_ns=self.worst_error_ns,
            kernel_stamps=self.kernel_stamps,
            user_stamps=self.user_stamps,
            audio_bytes_sent=self.audio_bytes_sent,
            audio_bytes_received=self.audio_bytes_received,
            first_audio_bytes=self.first_audio_bytes,
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
            usage=self.usage,
        )
