"""Plays one caller's call: a session, and those that take its place where a script renews sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import gevent

from bench.clock import monotonic_ns
from bench.dial import HARNESS_FAULT, Cut, connect
from bench.load.execution.back_off import RefusedCall
from bench.load.execution.pairs import Pair
from bench.load.execution.session_registry import RunListener, SessionRegistry
from bench.load.execution.target_state import TargetState
from bench.load.planning.tasks import Caller, CallSteps, SessionEnded, Turn, run_task
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedEvent, PreparedScript, PreparedStep, PreparedTurn
from bench.plan.random_choices import SessionChoices
from bench.plan.steps import NO_ROW, StepReader, StepRules
from bench.plan.turns import Step
from bench.protocol.base import SaidItem
from bench.protocol.settings import FunctionOutput, Message
from bench.run.event_log import LoggedTransport
from bench.run.recorder import RowContext
from bench.session import Session

POLL_S = 0.05
"""How often a call whose session has ended looks whether the next one may be connected."""


@dataclass(frozen=True)
class CallAssignment:
    """What a call of a pair is to play: a script at an arm. `leaving`: whether its user is to go."""

    arm: TargetState
    repertoire: CompiledScript
    script: PreparedScript
    pair: Pair
    seed: int
    labels: RowContext
    user: Caller
    leaving: Callable[[], bool]


class CallTranscript:
    """Holds what was said in a call, in the order of its steps, as items that can be told to another session.

    It starts with what was said `before` the call; speech is in it as it was transcribed.
    """

    def __init__(self, before: Sequence[SaidItem]) -> None:
        self._parts: list[list[SaidItem]] = [list(before)]
        self._open: dict[int, list[SaidItem]] = {}
        """The parts of turns that are not over, by the numbers of the turns."""

    def note_step(self, step: PreparedStep) -> None:
        """Note a step that is about to be played; what is out of band the conversation does not know."""
        said = step.said if isinstance(step, PreparedTurn | PreparedEvent) else None
        apart = isinstance(step, PreparedTurn) and step.plan.out_of_band
        self._parts.append([] if said is None or apart else [said])
        if isinstance(step, PreparedTurn) and not apart:
            self._open[step.plan.number] = self._parts[-1]

    def take_back(self) -> None:
        part = self._parts.pop()
        self._open = {number: other for number, other in self._open.items() if other is not part}

    def note_turn(self, turn: TurnObservation, outputs: dict[str, FunctionOutput]) -> None:
        """Note what was heard in a turn that is over, and take out of `outputs` what its functions returned."""
        part = self._open.pop(turn.turn, [])  # of a turn out of band nothing is kept
        if turn.input_text:
            part.append(Message(role="user", text=turn.input_text))
        for replied in turn.reply_parts:
            if isinstance(replied, str):
                part.append(Message(role="assistant", text=replied))
            elif (returned := outputs.pop(replied.call_id, None)) is not None:  # calls without that are left out
                part += [replied, returned]

    @property
    def items(self) -> list[SaidItem]:
        return [item for part in self._parts for item in part]


class Call:
    """A call under way: whoever plays its steps need not know which of its sessions it is in."""

    def __init__(self, sessions: SessionRegistry, assignment: CallAssignment) -> None:
        self._sessions, self._assignment, self._script = sessions, assignment, assignment.script
        self._transcript = CallTranscript(self._script.said_before)
        self._number = self._turns_started = 0
        self.hear_turn: Callable[[TurnObservation], None] | None = None
        """Hears of each turn that is over, where a task in Python may ask after it."""
        self._session: Session | None = None
        """None as long as it is not connected."""
        self.refusal: RefusedCall | None = None
        """What the service refused, once the call has ended: its last session."""

    def play(self) -> Exception | None:
        """Play the call from its connection to its end. Returns what its task has to say to Locust, or a fault."""
        self.begin()
        self._sessions.active.add(gevent.getcurrent())
        try:
            if not self.connect():
                return None
            word = self._play_steps() if self.open() else None
            if self._session is not None:  # None if the session that was to take its place did not connect
                self._session.close()
        except Cut as cut:
            self._abandon(cut)
            return None
        except gevent.GreenletExit:
            self._abandon(Cut())
            raise
        except Exception as error:
            # A fault of ours, or of a user's task, which may raise anything. The turn under way and the session end as
            # `failed:load_generator`, and never as missing samples; Locust shows the error.
            self._abandon(Cut(HARNESS_FAULT, f"{type(error).__name__}: {error}"))
            return error  # whoever runs the session tells Locust
        finally:
            self._sessions.active.remove(gevent.getcurrent())
            self.end()
        return word

    def end(self) -> None:
        self._listener.session_ended()
        self.refusal = self._listener.refusal
        self.hear_turn = self._session = None  # cycles would wait for the garbage collector

    def _play_steps(self) -> Exception | None:
        """Play the steps of a script, or those that a task takes. Returns what that has to say to Locust."""
        assignment = self._assignment
        script = assignment.repertoire.script
        if script.task is None:
            for step in self._script.steps:
                if not self.perform(step):
                    break
            return None
        choices = SessionChoices(assignment.seed, assignment.pair.of_script)
        player = StepRunner(self, assignment.repertoire, self._script, script.reader, choices)
        self.hear_turn = player.turn_ended
        return run_task(assignment.user, script.task, player)

    # Steps.

    def perform(self, step: PreparedStep) -> bool:
        """Play one step, as `Session.perform` does; before it, where it is time, go on in another session."""
        if not self._script.renewable:
            return self._connected.perform(step)
        if not step.within_turn:
            self._connected.await_quiet(settled=step.plays_turn)
            if self._may_renew() and not self._renew():
                return False
        begun = self._listener.timeline.facts.turns_started
        if self._play_noted(step):
            return True
        if step.plays_turn and self._listener.timeline.facts.turns_started == begun and self._may_renew():
            self._transcript.take_back()  # the session had ended before the caller's first sound
            return self._renew() and (self._play_noted(step) or self._renewal_is_due)
        return self._renewal_is_due

    def _play_noted(self, step: PreparedStep) -> bool:
        self._transcript.note_step(step)
        return self._connected.perform(step)

    def await_turn(self) -> None:
        self._connected.await_turn()

    # Its sessions.

    def begin(self) -> None:
        self._number += 1
        self._booked_ns: int | None = None
        """When the session after it has its place among the starts of its arm."""
        self._listener = self.begin_session(self._number, self._turns_started)
        self._listener.hear_turn = self._hear

    def begin_session(self, number: int, turns_started: int) -> RunListener:
        """Begin the record of a session. `number`: in the call, from 1; `turns_started`: in those before it."""
        assignment, script = self._assignment, self._script
        labels, wanted = assignment.labels, max(0, (assignment.repertoire.script.turns_planned or 0) - turns_started)
        if number > 1:
            labels = replace(labels, session_id=f"{labels.session_id}.{number}")
            return self._sessions.begin(assignment.arm, script, labels, wanted)
        planned = {"intended_ns": assignment.pair.intended_ns, "called_ns": assignment.pair.called_ns}
        return self._sessions.begin(assignment.arm, script, labels, wanted, **planned)

    def _hear(self, turn: TurnObservation) -> None:
        self._transcript.note_turn(turn, self._connected.outputs)
        if self.hear_turn is not None:
            self.hear_turn(turn)

    @property
    def _connected(self) -> Session:
        assert self._session is not None, "a call is connected before it is played"
        return self._session

    def connect(self) -> bool:
        """Connect the session that was begun; False where there is no connection."""
        listener, script = self._listener, self._script
        transport = connect(self._assignment.arm.dialer, script.limits, listener.timeline, listener.connected)
        if transport is None:
            return False
        transport = LoggedTransport(transport, listener.log) if listener.log else transport
        self._session = Session(script, transport, listener.timeline, listener, self.ending)
        return True

    def open(self) -> bool:
        """Open the session that was connected; False where it does not get ready."""
        self._connected.open()
        self._listener.note_opened()
        return not self._listener.timeline.over

    def _abandon(self, cut: Cut) -> None:
        if self._session is not None:
            self._session.abandon(cut.outcome, cut.detail)

    def ending(self) -> bool:
        return self._sessions.ending or self._assignment.leaving()

    # The session that takes the place of one.

    @property
    def _renewal_is_due(self) -> bool:
        timeline, after_ns = self._listener.timeline, self._script.renew_after_ns or 0
        is_old = False
        if timeline.facts.turns_started and not timeline.over:
            is_old = self._connected.now_ns - timeline.facts.start_ns >= after_ns
        return (is_old or timeline.facts.outcome == "renewed") and not self.ending()

    def _may_renew(self) -> bool:
        """Whether to go on in another session now: an old one goes on itself while there is no place for the next."""
        return self._renewal_is_due and self.has_place(waits=self._listener.timeline.over)

    def has_place(self, *, waits: bool) -> bool:
        """Whether the next session has its place among the starts. `waits`: wait for it, unless the call is to end."""
        pacer = self._assignment.arm.pacer
        while True:
            now_ns = monotonic_ns()
            if self._booked_ns is None:
                self._booked_ns = pacer.book(now_ns)
            if self._booked_ns is not None and pacer.is_due(self._booked_ns, now_ns):
                return True
            if not waits or self.ending():
                return False
            gevent.sleep(POLL_S)

    def _renew(self) -> bool:
        """Go on in another session, which is told what was said so far; False where it does not get ready."""
        before = self._listener.timeline
        before.tell(inputs.ReplacedBySession())
        self._turns_started += before.facts.turns_started
        self._connected.close()
        self._listener.session_ended()
        self._session = None
        self.begin()
        self._listener.timeline.tell(inputs.ContinuesCall(before.turns.heard_ns))
        self._script = self._script.after(self._transcript.items)
        return self.connect() and self.open()


class StepRunner(CallSteps):
    """Plays a task's steps, as a script's (see `CompiledScript`). What its rehearsal missed is prepared on the spot."""

    def __init__(
        self,
        call: Session | Call,
        repertoire: CompiledScript,
        script: PreparedScript,
        reader: StepReader,
        choices: SessionChoices,
    ) -> None:
        super().__init__(reader, StepRules(repertoire.script.session))
        self._call, self._repertoire, self._choices = call, repertoire, choices
        variables = repertoire.script.variables
        self._row = variables.rows[script.variables_row - 1] if variables and script.variables_row else NO_ROW
        self._asked: WeakValueDictionary[int, Turn] = WeakValueDictionary()
        """The turns that the task may ask after, by their numbers; of others nothing is kept."""

    def play(self, step: Step) -> None:
        if not self._call.perform(self._repertoire.step(step, self.turns, self._choices, self._row)):
            raise SessionEnded

    def taken_turn(self) -> Turn:
        turn = self._asked[self.turns] = Turn(self.turns, self._await_turn)
        return turn

    def turn_ended(self, turn: TurnObservation) -> None:
        if (asked := self._asked.pop(turn.turn, None)) is not None:
            asked.hear(turn)

    def _await_turn(self) -> None:
        """Wait until every turn is over and awaits nothing more. Raises SessionOver where the run ends before."""
        self._call.await_turn()
        if self._asked:
            raise SessionEnded
