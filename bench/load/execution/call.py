"""The call of one caller: a session, and the later sessions of the call, if the script renews
sessions, or connects again after a drop.
"""

# A call goes through `start`, `connect`, `open`, its steps, and `close`, and always through `end`.
# So each call that starts leaves a session with an outcome, whatever happens: a refusal, the end of
# the run (`RunEnded` is thrown into its greenlet), a limit of this machine, an error of ours, or
# one of the user's task. `run` returns the errors that Locust shows, and raises none but
# GreenletExit.
#
# A session is renewed between two turns. The old session must be idle, and the pacer of the target
# must allow a start: the call reserves its start before pairs that wait, because a caller is
# already on the line. Until then, an open session continues. A closed one has to wait. The next
# session begins with the conversation so far: from the transcripts, or by the handle with which the
# service restores it. Both sessions have rows of their own, whose names differ in `.2`, `.3`, ….
#
# If a session ends between the last check and the first sound of a turn, nothing of this turn was
# measured. Then the step runs again in the next session. Any later end makes the turn fail.
#
# If the script has `reconnect`, a call whose connection was dropped comes back in the same way, as
# clients do: after a wait, with further attempts (`Returning`), and it runs the steps again from
# the turn that the drop cut. This turn stays a failed one, and is one more turn of the next
# session.

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from weakref import WeakValueDictionary

import gevent

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.outcomes import OWN_FAULT, outcome_class
from bench.load.execution.away import Returning
from bench.load.execution.call_transcript import CallTranscript
from bench.load.execution.pairs import Pair
from bench.load.execution.session_registry import RunListener, SessionRegistry
from bench.load.execution.target_state import RefusedCall, TargetState
from bench.load.planning.tasks import Caller, CallSteps, SessionEnded, Turn, run_task
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import (
    PreparedPause,
    PreparedScript,
    PreparedStep,
)
from bench.plan.random_choices import SessionChoices
from bench.plan.steps import NO_ROW, StepReader, StepRules
from bench.plan.turns import Step
from bench.record.event_log import LoggedTransport
from bench.record.recorder import RowContext
from bench.session.dial import RunEnded, connect
from bench.session.session import Session
from bench.transport.impaired import impaired
from bench.transport.impairment.line import NetworkCounts
from bench.transport.own_limits import own_limit

POLL_S = 0.05
"""The interval at which a call without an open session checks whether its next session may
connect."""


@dataclass(frozen=True)
class CallAssignment:
    """One call of a pair, with its target, script and user. `leaving` returns True if the user
    must leave.
    """

    target_state: TargetState
    compiled_script: CompiledScript
    script: PreparedScript
    pair: Pair
    seed: int
    labels: RowContext
    user: Caller
    leaving: Callable[[], bool]


class Call:
    """An open call. It has one or several sessions, one after the other. Each step runs in the
    current session.
    """

    def __init__(self, sessions: SessionRegistry, assignment: CallAssignment) -> None:
        self._sessions = sessions
        self._assignment = assignment
        self._script = assignment.script
        self._transcript = CallTranscript(self._script.history_items)
        self._number = self._turns_started = 0
        draw = Random(f"{assignment.seed}:{assignment.pair.number}").random
        self._returning = Returning(self._script.reconnect, draw)
        self._handle = ""
        """The last handle with which the service restores the conversation."""
        self.on_turn: Callable[[TurnObservation], None] | None = None
        """A function that receives each ended turn, if the script is a task in Python, which may
        read the results."""
        self._session: Session | None = None
        """The current session; None until it is connected."""
        self.refusal: RefusedCall | None = None
        """The refusal of the call's last session; None before the end of the call, or if it was
        not refused."""

    def run(self) -> Exception | None:
        """Connect, run the steps, and end the call. Return a task's exception for Locust, or an
        unexpected error.
        """
        self.start()
        # `LiveRun.drain` throws `RunEnded` into the greenlets of this set
        self._sessions.active.add(gevent.getcurrent())
        try:
            if not self.connect():
                return None
            task_exception = self._run_steps() if self.open() else None
            if self._session is not None:  # None if the next session did not connect
                self._session.close()
        except RunEnded as run_end:
            self._abort(run_end)
            return None
        except gevent.GreenletExit:
            self._abort(RunEnded())
            raise
        except Exception as error:
            # A fault of ours, or of a user's task, which may raise anything. The open turn and the
            # session end as `failed:load_generator`, so that no sample is missing; Locust shows the
            # error.
            if (limit := own_limit(error)) is not None:
                self._abort(RunEnded(limit.outcome, limit.detail))
                return None
            self._abort(RunEnded(OWN_FAULT, f"{type(error).__name__}: {error}"))
            return error  # the caller of this method passes it to Locust
        finally:
            self._sessions.active.remove(gevent.getcurrent())
            self.end()
        return task_exception

    def end(self) -> None:
        self._listener.session_ended()
        self.refusal = self._listener.refusal
        self.on_turn = self._session = None  # reference cycles would wait for the garbage collector

    def _run_steps(self) -> Exception | None:
        """Run the steps of a script or of a task. Return the exception that a task raised for
        Locust, if any.
        """
        assignment = self._assignment
        script = assignment.compiled_script.script
        if script.task is None:
            for step in self._script.steps:
                if not self.run_step(step):
                    break
            self.finish()
            return None
        choices = SessionChoices(assignment.seed, assignment.pair.of_script)
        runner = StepRunner(self, assignment.compiled_script, self._script, script.reader, choices)
        self.on_turn = runner.turn_ended
        task_exception = run_task(assignment.user, script.task, runner)
        self.finish()
        return task_exception

    # Steps.

    def run_step(self, step: PreparedStep) -> bool:
        """Run one step, as `Session.run_step` does. If a renewal of the session is due, renew it
        before the step.
        """
        if not self._script.may_continue:
            return self._connected.run_step(step)
        if not step.within_turn:
            self._connected.wait_until_idle(settled=step.is_turn)
        if self._is_dropped:
            if not self._come_back():
                return False
        elif not step.within_turn and self._may_renew() and not self._renew():
            return False
        begun_ns = self._connected.now_ns
        turns_before = self.timeline.facts.turns_started
        if self._run_recorded(step):
            return True
        if step.is_turn and self.timeline.facts.turns_started == turns_before and self._may_renew():
            self._transcript.drop_steps(1)  # the session had ended before the caller's first sound
            return self._renew() and (self._run_recorded(step) or self._continues)
        if isinstance(step, PreparedPause) and self._is_dropped:
            left_ns = begun_ns + step.duration_ns - self._connected.now_ns
            rest = PreparedPause(max(0, left_ns))
            return self._come_back() and (self._connected.run_step(rest) or self._continues)
        return self._continues

    @property
    def _continues(self) -> bool:
        """True if the call continues in another session, which begins before the next step."""
        return self._renewal_is_due or self._is_dropped

    def _run_recorded(self, step: PreparedStep) -> bool:
        self._transcript.add_step(step)
        return self._connected.run_step(step)

    def wait_for_turn(self) -> None:
        self._connected.wait_for_turn()

    # Sessions of the call.

    def start(self, repeated: int = 0) -> None:
        """Start the record of the next session, which says `repeated` turns again."""
        self._number += 1
        self._network_counts = NetworkCounts()
        self._booked_ns: int | None = None
        """The start that the target's pacer has reserved for the call's next session; None if
        none is reserved."""
        self._listener = self.start_session(self._number, self._turns_started - repeated)
        self._listener.on_turn = self._on_turn

    def start_session(self, number: int, turns_started: int) -> RunListener:
        """Start the record of session `number` of the call, after `turns_started` turns of its
        earlier sessions.
        """
        assignment = self._assignment
        script = self._script
        labels = replace(assignment.labels, network=self._network_counts)
        is_complete = assignment.compiled_script.script.is_complete
        turns_planned = max(0, len(script.turns) * is_complete - turns_started)
        if number > 1:
            name = f"{labels.session_id}.{number}"
            labels = replace(labels, session_id=name, after_return=self._returning.has_returned)
            return self._sessions.start(assignment.target_state, script, labels, turns_planned)
        planned = {
            "intended_ns": assignment.pair.intended_ns,
            "called_ns": assignment.pair.called_ns,
        }
        return self._sessions.start(
            assignment.target_state, script, labels, turns_planned, **planned
        )

    def _on_turn(self, turn: TurnObservation) -> None:
        outputs, outcome = self._connected.function_outputs, self.timeline.facts.outcome
        self._transcript.add_turn(turn, outputs, outcome)
        if outcome_class(turn.outcome) == "success":
            self._returning.turn_succeeded()
        if self.on_turn is not None:
            self.on_turn(turn)

    @property
    def timeline(self) -> Timeline:
        return self._listener.timeline

    @property
    def _is_dropped(self) -> bool:
        return self._returning.is_due(self.timeline)

    @property
    def _connected(self) -> Session:
        assert self._session is not None, "a call must be connected before it is played"
        return self._session

    def connect(self) -> bool:
        """Connect the current session. Return False if the connection fails."""
        listener = self._listener
        script = self._script
        transport = connect(
            self._assignment.target_state.dialer, script, listener.timeline, listener.connected
        )
        if transport is None:
            return False
        assignment = self._assignment
        if (network := assignment.target_state.dialer.target.network_path.network) is not None:
            # the same for all targets of a pair
            seed = f"{assignment.seed}:{assignment.pair.number}:{self._number}"
            transport = impaired(transport, network, seed, self._network_counts, listener.sent)
        transport = LoggedTransport(transport, listener.log) if listener.log else transport
        self._session = Session(script, transport, listener.timeline, listener, self.is_ending)
        return True

    def open(self) -> bool:
        """Open the connected session. Return False if the session ended before it was ready."""
        self._connected.open()
        self._listener.on_opened()
        return not self.timeline.is_over

    def _abort(self, run_end: RunEnded) -> None:
        if self._session is not None:
            self._session.abort(run_end.outcome, run_end.detail)

    def is_ending(self) -> bool:
        return self._sessions.ending or self._assignment.leaving()

    # Renewal of the session.

    @property
    def _renewal_is_due(self) -> bool:
        timeline = self.timeline
        after_ns = self._script.renew_after_ns or 0
        is_old = False
        if after_ns and timeline.facts.turns_started and not timeline.is_over:
            is_old = self._connected.now_ns - timeline.facts.start_ns >= after_ns
        is_expired = timeline.facts.outcome == "renewed" and not self._is_dropped
        return (is_old or is_expired) and not self.is_ending()

    def _may_renew(self) -> bool:
        """Return whether the call must now continue in another session. Until that may start, an
        open one continues.
        """
        return self._renewal_is_due and self.has_step(waits=self.timeline.is_over)

    def has_step(self, *, waits: bool, from_ns: int = 0, until_ns: int = NEVER_NS) -> bool:
        """Return whether the next session may start now, as `Sessions.has_step` does."""
        pacer = self._assignment.target_state.pacer
        while True:
            now_ns = monotonic_ns()
            left_ns = from_ns - now_ns
            if self._booked_ns is None and left_ns <= 0:
                self._booked_ns = pacer.reserve(now_ns)
            if self._booked_ns is not None and pacer.is_due(self._booked_ns, now_ns):
                return True
            if not waits or self.is_ending() or now_ns > until_ns:
                return False
            gevent.sleep(min(POLL_S, left_ns / NS_PER_S) if left_ns > 0 else POLL_S)

    def _renew(self) -> bool:
        """Continue the call in another session. Return False if this fails.

        If the service has sent a handle, it restores the conversation itself.
        """
        played_until_ns = self.timeline.turns.played_until_ns
        is_open = self.next_session(inputs.ContinuesCall(played_until_ns))
        return is_open or self._returning.connect_again(self, 0) is not None

    # The return after a drop.

    def finish(self) -> None:
        """Wait for the end of the last turn. If a drop cut it, come back."""
        if self._script.reconnect is None or self._session is None:
            return
        self._connected.wait_for_turn()
        while self._is_dropped and self._transcript.unfinished and self._come_back():
            self._connected.wait_for_turn()

    def _come_back(self) -> bool:
        """Connect again, and run the steps again from the turn that the drop cut. Return False if
        the call gives up.
        """
        steps: tuple[PreparedStep, ...] = ()
        while self._is_dropped:
            self._drop_session()  # delivers the turns
            begun = self._transcript.unfinished
            steps = steps or begun
            self._transcript.drop_steps(len(begun))
            away = self._returning.connect_again(self, self._transcript.cut_in(steps))
            if away is None:
                self._drop_session()
                self._session = None
                return False
            if steps:  # the caller first hears what was received until the drop
                left_ns = away.heard_ns - self._connected.now_ns
                self._connected.pause(PreparedPause(max(0, left_ns)))
            if all(self._run_recorded(step) for step in steps):
                return True
        return False

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.drop()

    def next_session(self, continuation: inputs.ContinuesCall) -> bool:
        """Continue the call in a session that begins with the conversation until now. Return False
        if it does not open.
        """
        before = self.timeline
        before.apply(inputs.ReplacedBySession())
        facts = before.facts
        self._turns_started += facts.turns_started - min(facts.turns_repeated, facts.turns_started)
        if continuation.attempt:
            self._drop_session()
        else:
            self._connected.close()
        self._listener.session_ended()
        self._session = None
        self.start(continuation.repeated)
        self.timeline.apply(continuation)
        self._handle = facts.resumption or self._handle
        script = self._assignment.script
        self._script = script.continued(self._transcript.items, self._handle)
        is_open = self.connect() and self.open()
        if not is_open and "opened" in self.timeline.facts.instants:
            self._handle = ""  # the service knows it no more
        return is_open


class StepRunner(CallSteps):
    """An object that runs the steps of a task in a session, like those of a script (see
    `CompiledScript`).

    A step that the rehearsal of the task did not reach is prepared just before it runs.
    """

    def __init__(
        self,
        call: Session | Call,
        compiled_script: CompiledScript,
        script: PreparedScript,
        reader: StepReader,
        choices: SessionChoices,
    ) -> None:
        super().__init__(reader, StepRules(compiled_script.script.session))
        self._call = call
        self._compiled_script = compiled_script
        self._choices = choices
        variables = compiled_script.script.variables
        self._row = (
            variables.rows[script.variables_row - 1]
            if variables and script.variables_row
            else NO_ROW
        )
        self._requested: WeakValueDictionary[int, Turn] = WeakValueDictionary()
        """The open turns to which the task still has a reference, by the number of the turn."""

    def run(self, step: Step) -> None:
        if not self._call.run_step(
            self._compiled_script.step(step, self.turns, self._choices, self._row)
        ):
            raise SessionEnded

    def taken_turn(self) -> Turn:
        turn = self._requested[self.turns] = Turn(self.turns, self._wait_for_turn)
        return turn

    def turn_ended(self, turn: TurnObservation) -> None:
        if (requested_turn := self._requested.pop(turn.turn, None)) is not None:
            requested_turn.set_observation(turn)

    def _wait_for_turn(self) -> None:
        """Wait until all turns are complete, including their late results.

        Raise SessionEnded if the session ends before.
        """
        self._call.wait_for_turn()
        if self._requested:
            raise SessionEnded
