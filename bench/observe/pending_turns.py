"""The turns of a session that have started and are not yet delivered, with their deadlines. Pure.

At most two turns are open: the current turn, and the turn whose reply the current turn interrupts. All other turns have
ended and wait for late events.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import NO_PAUSE, NOTHING_AUDIBLE, ONLY_FILLERS, UNHEARD, outcome_class
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.session_facts import PlannedEvents
from bench.observe.turn import ARRIVALS, LATE_TRANSCRIPT_NS, PendingTurn, State
from bench.observe.turn_events import failed_expectation, output_sent, transcript_ending
from bench.observe.turn_observation import all_instants
from bench.observe.turn_parts import NOT_DONE, NOT_ENDED, NOT_SPOKEN
from bench.wire.dialect import SOUND
from bench.wire.events import EventKind, ServiceFailure
from bench.wire.settings import ONLY_TRANSCRIPT

UNDETECTED = "the service's VAD noticed no end of speech (noise above its threshold is speech to it)"
NOTHING = "nothing came"
NO_MORE = "neither another item nor response.done came"
NO_END = "response.done did not come"
NOT_OVER = "the turn was not over"
NO_TRANSCRIPT = "no transcript of the caller's audio came"
NO_WHOLE_TRANSCRIPT = "neither more text nor the finished transcript of the caller's audio came"


def deadline(turn: PendingTurn, limits: Timeouts) -> tuple[int, str, str] | None:
    """Return (instant, outcome, detail): when and how a turn ends at its next deadline; None without one."""
    deadlines = [(until_ns, *failed_expectation(kind)) for kind, until_ns in turn.expected.items()]
    if turn.state is State.PLAYING:
        deadlines.append((turn.reply.playback_ends_ns, "ok", ""))
    elif turn.calls.mcp.unended and (turn.state is State.CALLING or turn.is_between_items):
        deadlines.append(_timed_out(turn.calls.mcp.changed_ns, limits.response, "response", NOT_ENDED))
    elif turn.state is State.CALLING and turn.filler and turn.calls.are_all_answered:
        waits_from_ns = max(turn.progress_ns, turn.calls.last_output_ns)
        deadlines.append(_timed_out(waits_from_ns, limits.next_delta, "next_delta"))
    elif turn.state is State.CALLING and turn.delegations.awaits_backend:
        deadlines.append(_timed_out(turn.delegations.handed_ns, limits.response, "response", NOT_DONE))
    elif (transcribed_ns := turn.transcribed_ns if turn.output == ONLY_TRANSCRIPT else None) is not None:
        deadlines.append((transcribed_ns, *transcript_ending(turn)))
    elif turn.state not in (State.SENDING, State.CALLING, State.OVER):
        due_ns, outcome, detail = _timeout(turn, limits)
        # The answer to a pause can be overdue while the caller still speaks. This deadline applies only when the
        # service must act.
        deadlines.append((max(due_ns, turn.awaited_ns), outcome, detail))
    soonest = min(deadlines, default=None)
    latest_ns = turn.input_complete_ns + limits.turn * NS_PER_S
    if turn.input_complete_ns and (soonest is None or soonest[0] > latest_ns):  # seldom
        missing = NO_PAUSE if turn.turn_source is SOUND and turn.reply.has_started else NOT_OVER
        return None if turn.state is State.OVER else _timed_out(turn.input_complete_ns, limits.turn, "turn", missing)
    return soonest


def _timeout(turn: PendingTurn, limits: Timeouts) -> tuple[int, str, str]:
    has_events, instants = turn.turn_source is not SOUND, turn.input_speech.instants
    if turn.state is State.UNNOTICED:
        missing = UNDETECTED if "speech_started" in instants else UNHEARD
        timeout = _timed_out(turn.undetected_ns, limits.end_of_turn, "end_of_turn", missing)
    elif turn.state is State.WAITING:
        request_ns = turn.instants.get("answer_request_sent") or turn.instants.get("request_sent")
        waits_from_ns = request_ns or instants.get("speech_stopped", turn.undetected_ns)
        missing = NOTHING if has_events else ONLY_FILLERS if turn.reply.has_started else NOTHING_AUDIBLE
        if turn.delegations.result_ns:
            waits_from_ns = max(turn.delegations.result_ns, turn.reply.playback_ends_ns)
            if turn.reply.spoken_answer and turn.reply.spoken_answer.merged_ns:  # the filler was the answer, too
                return waits_from_ns + int(limits.first_delta * NS_PER_S), "ok", ""
            missing = NOT_SPOKEN
        missing = NO_TRANSCRIPT if turn.output == ONLY_TRANSCRIPT else missing
        timeout = _timed_out(waits_from_ns, limits.first_delta, "first_delta", missing)
    elif turn.is_between_items:
        timeout = _timed_out(turn.progress_ns, limits.first_delta, "first_delta", NO_MORE)
    else:
        # If the service sends no turn events, no delta is due before the received audio has been played.
        played_ns = 0 if has_events else turn.reply.playback_ends_ns
        missing = NO_WHOLE_TRANSCRIPT if turn.output == ONLY_TRANSCRIPT else NOTHING
        timeout = _timed_out(max(turn.progress_ns, played_ns), limits.next_delta, "next_delta", missing)
    if turn.reply.created_ns is None:
        return timeout
    no_end = NO_END if has_events else NO_PAUSE
    response_timeout = _timed_out(turn.reply.created_ns, limits.response, "response", no_end)
    return timeout if timeout[0] < response_timeout[0] else response_timeout


def _timed_out(from_ns: int, limit_s: float, stage: str, missing: str = NOTHING) -> tuple[int, str, str]:
    limit_ns, outcome, detail = _limit(limit_s, stage, missing)
    return from_ns + limit_ns, outcome, detail


@cache
def _limit(limit_s: float, stage: str, missing: str) -> tuple[int, str, str]:
    """Return (limit in ns, outcome, detail). It is cached, because every second event calls it."""
    return int(limit_s * NS_PER_S), f"timeout:{stage}", f"{missing} within {limit_s:g} s (timeout `{stage}`)"


CANCEL, TRUNCATE, RETRIEVE = "cancel", "truncate", "retrieve"
STOPS_REPLY = (f"-{CANCEL}", f"-{TRUNCATE}", f"-{RETRIEVE}")
"""The suffixes of the ids of messages that stop a turn's reply or check its truncation."""


class PendingTurns:
    __slots__ = ("_retransmits", "_retrieves", "all", "awaits_network", "events", "interrupted", "last")

    def __init__(self, events: PlannedEvents) -> None:
        self.events = events
        self.all: list[PendingTurn] = []
        self.last: PendingTurn | None = None
        """The turn that started last, also after its delivery."""
        self.interrupted: PendingTurn | None = None
        """The turn whose reply will be interrupted, or was interrupted last."""
        self.awaits_network = False
        """True if the network has not been measured since the last turn started."""
        self._retransmits = 0
        self._retrieves = 0  # number of sent requests for a truncated item

    def start(self, turn: PendingTurn) -> None:
        """Add a turn that starts. If the previous turn is open, the new turn interrupts its reply."""
        if (previous := self.current) is not None:
            turn.interrupts = previous.interruption
        self.last = turn
        self.all.append(turn)
        self.awaits_network = True

    @property
    def current(self) -> PendingTurn | None:
        """The turn that started last, if it is open; otherwise None."""
        turn = self.last
        return None if turn is None or turn.state is State.OVER else turn

    def current_at(self, at_ns: int) -> PendingTurn | None:
        """Return the open turn that started last before an instant. A greeting may start before its turn."""
        turn = self.current
        if turn is None or turn.start_ns <= at_ns or turn.plan.greeting:
            return turn
        return next((turn for turn in reversed(self.open) if turn.start_ns <= at_ns), None)

    @property
    def open(self) -> list[PendingTurn]:
        """The open turns: the current turn, and the turn whose reply the current turn interrupts."""
        return [turn for turn in self.all if turn.state is not State.OVER]

    @property
    def is_interruptible(self) -> bool:
        """True if the turn whose reply the script interrupts is still open."""
        return self.interrupted is not None and self.interrupted.state is not State.OVER

    @property
    def are_all_over(self) -> bool:
        return self.current is None and not self.is_interruptible

    @property
    def is_answering(self) -> bool:
        """True if an item of the current turn's reply is incomplete, and the script requires no further event."""
        turn = self.last
        return turn is not None and turn.state is State.ANSWERING and not turn.is_between_items and not turn.expected

    @property
    def is_streaming(self) -> bool:
        """True if the first deltas of the current turn's reply have arrived, and only its end is awaited."""
        turn = self.last
        return turn is not None and self.is_answering and turn.is_streaming

    def awaits_output(self, call_id: str) -> bool:
        """Return whether the client must still send the output of a call: if the current turn made it."""
        turn = self.current
        return turn is not None and call_id in turn.calls.made

    @property
    def played_until_ns(self) -> int | None:
        """The instant at which the received audio of the last turn's reply has been played; None without audio."""
        return self.last.reply.playback_ends_ns or None if self.last is not None else None

    def next_timeout(self, limits: Timeouts) -> tuple[int, str, str, PendingTurn] | None:
        """Return (instant, outcome, detail, turn) of the earliest deadline of the open turns; None without one."""
        first: tuple[int, str, str, PendingTurn] | None = None
        for turn in self.all:
            if turn.state is not State.OVER:
                due = deadline(turn, limits)
                if due is not None and (first is None or due < first[:3]):
                    first = (*due, turn)
        return first

    def done(self, now_ns: int, *, session_over: bool) -> list[PendingTurn]:
        """Return the ended turns that await no late event; after the session's end, all of them."""
        return [t for t in self.all if t.state is State.OVER and (session_over or not t.is_incomplete(now_ns))]

    def cuts(self) -> list[inputs.Action]:
        """Return the messages that cancel and truncate a stopped reply, and those that retrieve truncated items."""
        found: list[inputs.Action] = []
        stopped_turn = self.interrupted
        if stopped_turn is not None and stopped_turn.interruption is not None and stopped_turn.turn_source is not SOUND:
            interruption, prefix = stopped_turn.interruption, stopped_turn.plan.event_prefix
            if interruption.uncancelled:
                interruption.uncancelled = False
                found.append(inputs.CancelResponse(f"{prefix}{CANCEL}"))
            if interruption.stopped_ns is not None and "truncate_sent" not in interruption.instants:
                for number, (item_id, played_ms) in enumerate(stopped_turn.reply.cuts(), 1):
                    found.append(inputs.TruncateItem(item_id, played_ms, f"{prefix}{number}-{TRUNCATE}"))
        for turn in self.all:
            if turn.check is not None and turn.state is State.OVER:
                for item_id in sorted(turn.check.truncated - turn.check.requested):
                    self._retrieves += 1
                    found.append(inputs.RetrieveItem(item_id, f"{turn.plan.event_prefix}{self._retrieves}-{RETRIEVE}"))
        return found

    def remove(self, turn: PendingTurn, at_ns: int) -> None:
        """Remove a delivered turn. After the wait for late events, missing events fail the check of its truncation."""
        self.all.remove(turn)
        self.events.occur("expectations", turn.met_expectations)
        if outcome_class(turn.outcome) == "unfinished":
            self.events.withdraw("expectations", len(turn.expected))
            if turn is self.interrupted:
                self.events.withdraw_awaited()
        if turn.check is not None and at_ns >= turn.instants["ended"] + LATE_TRANSCRIPT_NS:
            turn.check.failed |= turn.check.is_pending  # missing events count as failures

    # Inputs of the session.

    def await_interruption(self, awaited: inputs.InterruptionAwaited) -> None:
        """Prepare the current turn's reply for an interruption, or for a sound during the reply."""
        self.interrupted = self.current
        self.events.await_cue(awaited.kind)
        if self.interrupted is not None:
            self.interrupted.await_interruption(awaited.kind, verify=awaited.verify_truncation)

    def interrupt(self, interrupted: inputs.ClientInterrupted) -> None:
        if self.interrupted is not None and self.is_interruptible:
            self.events.begin_awaited()
            self.interrupted.interrupt(interrupted.at_ns)

    def answer_call(self, answered: inputs.FunctionOutputSent) -> None:
        if self.last is not None:
            output_sent(self.last, answered.call_id, answered.at_ns, answered.wrong)

    def transmitted(self, timestamp: inputs.Transmitted) -> None:
        for turn in self.all:
            turn.transmitted(timestamp)

    def expect(self, expected: inputs.EventExpected) -> None:
        """Record that the script requires an event of the last turn. If that turn is over, the event is missed."""
        kind, turn = EventKind[expected.kind.upper()], self.last
        self.events.reach("expectations")
        if turn is not None and ARRIVALS[kind] in all_instants(turn).instants:
            self.events.occur("expectations")
        elif turn is not None and turn.state is not State.OVER:
            turn.expected[kind] = expected.until_ns

    def measured(self, network: inputs.NetworkMeasured) -> None:
        self.awaits_network = False
        if self.last is not None:
            self.last.network = network
            if network.retransmits is not None:  # the kernel counts from the start of the connection
                self.last.retransmits = network.retransmits - self._retransmits
                self._retransmits = network.retransmits

    def mark_barge_in(self, turn: PendingTurn, instants: Sequence[str]) -> None:
        """Record the edges of an interruption, or of a sound during a reply, from the new instants of the speech."""
        input_speech = turn.input_speech
        if turn.interrupts is not None:
            if "speech_start" in instants and self.is_interruptible:
                self.events.begin_awaited()
                start_ns, width_ns = input_speech.instants["speech_start"], input_speech.widths_ns["speech_start"]
                turn.interrupts.sent("barge_in", start_ns, width_ns)
            if "speech_end" in instants:
                turn.interrupts.spoken_ns = input_speech.instants["speech_end"]
        if turn.interruption is not None:
            if "barge_in" in instants:
                self.events.begin_awaited()
                turn.interruption.sent("barge_in", *input_speech.clear_instants("barge_in"))
            if "sound_end" in instants:
                turn.interruption.spoken_ns, _ = input_speech.clear_instants("sound_end")

    def note_unsent(self, turn: PendingTurn, unsent: inputs.NotSent, unsent_ns: int) -> None:
        """Record unsent audio of the caller for the turns whose values depend on it. It lasts `unsent_ns`."""
        speech, sound, cause = turn.input_speech.instants, turn.interruption, unsent.reason
        ends_speech, ends_sound = "speech_end" in unsent.instants, "sound_end" in unsent.instants
        if "speech_start" in speech and (ends_speech or "speech_end" not in speech):
            turn.input_speech.note_unsent(unsent_ns, cause, is_essential=ends_speech)
            if turn.interrupts is not None and self.interrupted is not None:
                self.interrupted.input_speech.note_unsent(unsent_ns, cause, is_essential=True)
        elif sound is not None and "barge_in" in sound.instants and (ends_sound or sound.spoken_ns is None):
            turn.input_speech.note_unsent(unsent_ns, cause, is_essential=True)

    def note_uncancelled(self, failure: ServiceFailure) -> None:
        """Apply an error to a cancel, truncate or retrieve, which only came too late and so ends no turn."""
        for turn in self.all:
            if turn.interruption is None or not failure.event_id.startswith(turn.plan.event_prefix):
                continue
            if failure.event_id.endswith(TRUNCATE):
                turn.interruption.unconfirmed_truncations -= 1
            if turn.check is not None and not failure.event_id.endswith(CANCEL):
                turn.check.failed = True
