"""A session plays its script over a transport and tells a timeline what it sent and what came: the only loop there is.

It is single-threaded: it either waits for messages or sends one that is due. Turn 1 begins once the service has greeted
the session and taken its settings; within a turn nothing waits for an acknowledgement, for some services send none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bench.clock import Arrival
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.observe.turn import TurnPlan
from bench.plan.frames import OutgoingMessage, PreparedScript, PreparedTurn
from bench.plan.script import Pause
from bench.protocol.dialects import clear_audio
from bench.protocol.events import Event, decode
from bench.transport.base import Transport

SLICE_NS = 250_000_000
"""How long a pause waits before it asks again whether the run is ending."""
FAR_NS = 3_600_000_000_000
LATE_SHARE = 10
"""A chunk is late when it leaves later than this part of its own length."""


class Listener(Protocol):
    """Whoever records a session while it goes on."""

    def received(self, event: Event, arrival: Arrival, handled_ns: int, wire_bytes: int) -> None:
        """An event was handled."""

    def sent(self, wire_bytes: int, audio_bytes: int, lag_ns: int | None) -> None:
        """A message was handed to the kernel, `lag_ns` after it was due where it was paced."""

    def turn_began(self) -> None:
        """A turn has begun."""

    def turn_ended(self, turn: TurnObservation) -> None:
        """A turn is over and awaits nothing more."""


class Session:
    """One session, from the open transport to its close. `ending()` says that no new turn shall begin."""

    def __init__(
        self,
        script: PreparedScript,
        transport: Transport,
        timeline: Timeline,
        listener: Listener,
        ending: Callable[[], bool],
    ) -> None:
        self._script, self._transport, self._timeline = script, transport, timeline
        self._listener, self._ending = listener, ending

    def play(self) -> None:
        """Greet, play every step, wait for late transcriptions, close. The outcomes are the timeline's."""
        self._greet()
        for step in self._script.steps:
            if self._timeline.over:
                break
            if self._ending():
                self._timeline.fail("abandoned", self._transport.now_ns(), "the run ended")
            elif isinstance(step, Pause):
                self._pause(step.duration_ns)
            else:
                self._turn(step)
        self._await_transcripts()
        if not self._timeline.over:
            self._timeline.finish(self._transport.now_ns())
        self._hand_out()
        self._transport.close()

    def abandon(self, outcome: str, detail: str) -> None:
        """Cut short by whoever runs this: what is in flight ends so, the connection is dropped, nothing waits."""
        self._timeline.fail(outcome, self._transport.now_ns(), detail)
        self._transport.abort()
        self._hand_out()

    # Steps.

    def _greet(self) -> None:
        until_ns = self._transport.now_ns() + int(self._script.limits.session * 1e9)
        self._listen_for("session_created", until_ns)
        if not self._timeline.over:
            self._send(OutgoingMessage("session.update", self._script.session_update))
            self._listen_for("session_updated", until_ns)

    def _listen_for(self, instant: str, until_ns: int) -> None:
        while not self._timeline.reached(instant) and not self._timeline.over:
            if self._transport.now_ns() >= until_ns:
                missing = instant.replace("_", ".")
                self._timeline.fail("timeout:session", until_ns, f"{missing} did not come within the limit session")
                return
            self._listen(until_ns)

    def _pause(self, duration_ns: int) -> None:
        until_ns = self._transport.now_ns() + duration_ns
        while self._transport.now_ns() < until_ns and not self._timeline.over and not self._ending():
            self._listen(min(until_ns, self._transport.now_ns() + SLICE_NS))

    def _turn(self, turn: PreparedTurn) -> None:
        speech_ns = self._transport.now_ns()
        if turn.inputs and turn.inputs[0].due_ns is not None:
            self._listen_until(speech_ns + turn.inputs[0].due_ns)  # the first chunk is due when it has been spoken
        if self._timeline.over:
            return
        self._timeline.begin(self._plan(turn), self._transport.now_ns())
        self._listener.turn_began()
        spoken = self._say(turn, speech_ns)
        while not self._timeline.turn_over:
            due = self._timeline.deadline()
            self._listen(due[0] if due else self._transport.now_ns() + FAR_NS)
        if not spoken and not self._timeline.over:  # what the service holds of a broken turn is not the next one's
            self._send(OutgoingMessage("input_audio_buffer.clear", clear_audio(f"{turn.event_prefix}clear")))

    def _plan(self, turn: PreparedTurn) -> TurnPlan:
        return TurnPlan(
            number=turn.number,
            step=turn.label,
            event_prefix=turn.event_prefix,
            request_event_id=turn.request_event_id,
            wants_audio=turn.wants_audio,
            transcription_due=self._script.transcribes and turn.kind == "audio",
        )

    def _say(self, turn: PreparedTurn, speech_ns: int) -> bool:
        """Send a turn's messages, each when it is due; False where the turn ended before all were sent."""
        for message in (*turn.inputs, turn.request):
            due_ns = None if message.due_ns is None else speech_ns + message.due_ns
            if due_ns is not None:
                self._listen_until(due_ns)
            if self._timeline.turn_over:
                return turn.kind != "audio"
            self._send(message, due_ns, turn.chunk_ns)
        return True

    def _await_transcripts(self) -> None:
        while not self._timeline.over and not self._ending():
            due_ns = self._timeline.transcript_due_ns(self._transport.now_ns())
            if due_ns is None:
                return
            self._listen(min(due_ns, self._transport.now_ns() + SLICE_NS))

    # In and out.

    def _send(self, message: OutgoingMessage, due_ns: int | None = None, chunk_ns: int | None = None) -> None:
        sent = self._transport.send(message.data)
        if sent is None:
            self._notice_close()
            return
        lag_ns = None if due_ns is None else sent.handed.at_ns - due_ns
        late = lag_ns is not None and chunk_ns is not None and lag_ns * LATE_SHARE > chunk_ns
        self._timeline.sent(
            message.name, sent.handed, wire_bytes=sent.wire_bytes, audio_bytes=message.audio_bytes, late=late
        )
        self._listener.sent(sent.wire_bytes, message.audio_bytes, lag_ns)

    def _listen_until(self, until_ns: int) -> None:
        """Handle whatever comes until an instant, or until the connection is gone."""
        while self._transport.now_ns() < until_ns and self._transport.closed is None:
            self._listen(until_ns)

    def _listen(self, until_ns: int) -> None:
        """Wait for messages until an instant, and handle those that one read brought."""
        came = self._transport.receive(until_ns)
        for data, arrival, wire_bytes in came:
            event = decode(data, self._script.dialect)
            self._timeline.received(event, arrival, wire_bytes)
            self._listener.received(event, arrival, self._transport.now_ns(), wire_bytes)
        self._notice_close()
        if not came:
            self._timeline.expire(self._transport.now_ns())
        if self._timeline.turn_over:
            self._hand_out()

    def _notice_close(self) -> None:
        if self._transport.closed is not None:
            self._timeline.closed(*self._transport.closed)

    def _hand_out(self) -> None:
        for turn in self._timeline.take(self._transport.now_ns()):
            self._listener.turn_ended(turn)
