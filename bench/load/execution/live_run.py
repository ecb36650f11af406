"""The part of a run that one process executes: its targets, its recorder, and the pairs of sessions
of its users.

The object `LiveRun` is made when Locust starts a test, and closed when Locust stops the test.
During the run, it writes the recorder's rows and histograms to disk, and measures the delay of the
event loop.
"""

# All work of a process happens in greenlets of one thread: that of each user, which runs the pairs;
# in a comparison, one for each session of a pair; and those of `Flusher`. Sessions never write
# rows to disk.
# They add rows to the recorder's memory, and `Flusher` writes them twice a second, so a slow disk
# delays a write and no session.
#
# `run_pair` decides in this order: whether the caller has to wait (back-off, or an arriving call),
# whether the run still needs a pair, and when the pair may start. A pair counts in `_left` as soon
# as it waits for its start, so that processes never start more than their share. It is returned if
# the run ends before its start.
#
# At the end, `drain` waits for open sessions, and throws `RunEnded` into those that are late.
# `close` writes what is left.

import gc
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import numpy as np
import pyarrow as pa
from greenlet import greenlet

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.load.execution.call import Call, CallAssignment
from bench.load.execution.pairs import Pair, PairCounter, WorkerSlot, is_sampled, order
from bench.load.execution.progress import CostMeter, ProgressCounter, ProgressReport
from bench.load.execution.session_registry import LocustCallbacks, SessionRegistry
from bench.load.execution.start_scheduler import CallDispatcher, PairStart, StartScheduler
from bench.load.execution.target_state import BackOff, TargetState
from bench.load.lifecycle import ALL_DONE, RunEvent, StopRequested
from bench.load.planning.load_model import Arrivals
from bench.load.planning.run_plan import RunPlan
from bench.load.planning.tasks import Caller, SessionTask, is_locust_word
from bench.observe.observation import load_scorer
from bench.record.histograms import MEASURED
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.session.dial import RunEnded
from bench.target.tokens import Keyring
from bench.transport.connect import load_socks, start_first_thread
from bench.transport.event_loop import CallbackScheduler
from bench.transport.interface import next_slot_ns
from bench.transport.links import opener_of
from bench.transport.ring.shortages import Shortages

POLL_S = 0.05
ABORT_WAIT_S = 5.0
MAX_PAUSE_S = 0.001
"""The maximum time of callbacks, such as those that open sessions, before the event loop polls
its sockets."""
NEW_OBJECTS = 2_000
LOOKS = 100
"""Thresholds of the garbage collector, during whose searches all sessions wait. Sessions leave no
cycles.

After NEW_OBJECTS new objects, it searches these (1 ms). After LOOKS searches, it searches all
objects (up to 100 ms).
"""
HEARTBEAT_NS = 10_000_000
TICK_S = 0.5
BACK_OFF = 2
"""A component of the seed. With it, the waits after refused calls are independent of all other
random numbers."""
HISTOGRAMS_EVERY_S = 8.0


class LiveRun:
    """The part of a run that one process executes. `slot` is its position in the run. It writes
    results to `spool`.
    """

    def __init__(
        self,
        plan: RunPlan,
        slot: WorkerSlot,
        states: Sequence[TargetState],
        keyring: Keyring,
        spool: Spool,
        callbacks: LocustCallbacks,
    ) -> None:
        self.target_states = states
        self._options = plan.options
        self._slot = slot
        self.session_pause_s = 0.0 if plan.load_model.arrivals else plan.options.session_pause_s
        """The pause of a user after each session, in seconds. It is 0 in an open loop."""
        self._scenarios = {user: user.scenario_name() for user, _ in states[0].workload}
        self._keyring = keyring
        self._callbacks = callbacks
        clock = {
            "clock_offset_ns": slot.ahead_ns,
            "clock_offset_uncertainty_ns": slot.ahead_uncertainty_ns,
        }
        self.recorder = Recorder(
            spool,
            slot.started_utc_ns,
            hide=keyring.redact,
            transcripts=plan.options.record_transcripts,
            warm_until_ns=slot.started_ns + int(slot.warmup_s * NS_PER_S),
            ahead_ns=slot.ahead_ns,
            host=plan.host_facts | ({} if slot.ahead_uncertainty_ns is None else clock),
            show_open_turns=plan.options.show_open_turns,
        )
        terms = {target.label: target.terms for target in plan.targets}
        self._progress = ProgressCounter(CostMeter(plan.prices.models, terms))
        self.sessions = SessionRegistry(
            spool,
            self.recorder,
            self._progress,
            plan.options,
            callbacks,
            target_count=len(states),
            hide=keyring.redact,
            ends_ns=slot.started_ns + plan.run_time_s * NS_PER_S,
        )
        self._labels = [state.label for state in states]
        self._left = math.inf if plan.sessions is None else slot.share(plan.sessions)
        """The number of pairs that may still start."""
        self._open = 0
        """The number of pairs that are in progress or wait for their start."""
        self._waiting_calls = 0
        """The number of calls that arrived, were not blocked, and have not started their
        sessions."""
        self._starts = StartScheduler(states, lambda: self.sessions.ending)
        self._numbers = PairCounter(slot)
        self._dispatcher = self._make_dispatcher(plan.load_model.arrivals)
        self._back_off = BackOff(
            np.random.default_rng([plan.options.seed, slot.worker, BACK_OFF]).random,
            waits=lambda starts: self.recorder.back_off(self._labels, starts=starts),
            ending=lambda: self.sessions.ending or self._left == 0,
        )
        _tune_interpreter()
        self.flusher = Flusher(self.recorder, callbacks.apply)
        if self._left == 0:
            callbacks.apply(StopRequested(ALL_DONE))

    # Pairs.

    def run_pair(self, user: type, task: SessionTask, caller: Caller) -> bool:
        """Run a pair: a session with each target, at once in a closed loop; when a call arrives in
        an open loop.

        Return False if the run is ending, no pair is left to start, or the caller must leave. Raise
        the exception that a task raised for Locust, or an unexpected error.
        """
        called_ns = None
        if self._dispatcher is None:
            if not self._back_off.wait(caller):
                return False
        else:
            called_ns = self._dispatcher.next_call(caller)
            if called_ns is None:
                return False
        if self.sessions.ending or self._left == 0:
            return False
        self._left -= 1
        self._open += 1
        try:
            # a call that arrived starts even if its caller must leave
            is_leaving = caller.is_leaving if called_ns is None else None
            start = self._starts.acquire(called_ns or monotonic_ns(), is_leaving)
            if start is not None:
                self._run_started(start, called_ns, user, task, caller)
            else:
                self._left += 1  # the pair did not start
        finally:
            self._open -= 1
            self._stop_if_done()
        return True

    def _stop_if_done(self) -> None:
        """End the run if no pair is in progress and no pair will start."""
        over = self._left == 0 or (self._dispatcher is not None and self._dispatcher.is_over)
        if over and not self._open:
            self._callbacks.apply(StopRequested(ALL_DONE))

    def _run_started(
        self, start: PairStart, called_ns: int | None, user: type, task: SessionTask, caller: Caller
    ) -> None:
        """Run a pair that may start now. Its sessions start one after the other. Raise their
        errors (`raise_all`).
        """
        try:
            if called_ns is not None:
                self._waiting_calls -= 1
                if start.intended_ns > called_ns:
                    self.recorder.count_calls(self._labels, calls_delayed=1)
            script = self.target_states[0].workload[user, task].script.name
            pair = self._numbers.next(script, start.intended_ns, monotonic_ns(), called_ns)
            calls = [
                Call(self.sessions, assignment)
                for assignment in self._assignments(pair, user, task, caller)
            ]
            try:
                if len(calls) == 1:
                    results = [calls[0].run()]
                else:  # the hub starts the greenlets in this order
                    others = [gevent.spawn(call.run) for call in calls]
                    try:
                        results = [session.get() for session in others]
                    finally:
                        # has an effect only if their user was killed
                        gevent.killall(others, block=False)
                if called_ns is None:
                    self._back_off.on_call_ended(
                        caller, [call.refusal for call in calls if call.refusal is not None]
                    )
                raise_all([result for result in results if isinstance(result, Exception)])
            finally:
                self._progress.count(pairs_done=pair.phase == MEASURED)
        finally:
            self._starts.ended(start)

    def _assignments(
        self, pair: Pair, user: Any, task: SessionTask, caller: Caller
    ) -> list[CallAssignment]:
        """Return the calls of a pair, in the order in which they start."""
        states = self.target_states
        seed = self._options.seed
        assigned = []
        users = caller.doubles(len(states))
        for number in order(len(states), seed, pair.number):
            state = states[number]
            compiled_script = state.workload[user, task]
            started = pair.number // self._slot.workers * len(states) + number
            script = compiled_script.drawn_session(pair.of_script, seed)
            labels = RowContext(
                session_id=f"w{self._slot.worker}-{started:06d}",
                target=state.label,
                scenario=self._scenarios[user],
                script=compiled_script.script.name,
                block=pair.block,
                pair=pair.number,
                phase=pair.phase,
                event_log=is_sampled(pair.number, self._options.record_events),
                variables_row=script.variables_row,
            )
            assigned.append(
                CallAssignment(
                    state,
                    compiled_script,
                    script,
                    pair,
                    seed,
                    labels,
                    users[number],
                    caller.is_leaving,
                )
            )
        return assigned

    # Calls.

    def _make_dispatcher(self, arrivals: Arrivals | None) -> CallDispatcher | None:
        """Return the dispatcher that gives arriving calls to the users of this process; None in
        a closed loop.
        """
        if arrivals is None:
            return None
        slot = self._slot
        return CallDispatcher(
            (
                slot.started_ns + after_ns
                for after_ns in arrivals.share_ns(slot.worker, slot.workers)
            ),
            self._left,
            arrived=self._call_arrived,
            ended=self._stop_if_done,
            ending=lambda: self.sessions.ending,
        )

    def _call_arrived(self, blocked: bool) -> None:
        self._waiting_calls += not blocked
        self.recorder.count_calls(self._labels, calls_offered=1, calls_blocked=blocked)

    def expect_users(self, count: int) -> None:
        if self._dispatcher is not None:
            self._dispatcher.expect_users(count)

    # Results.

    def progress_report(self) -> ProgressReport:
        """Return the next progress report of this process."""
        now_ns = monotonic_ns()
        calls = self.recorder.calls
        held_s = {
            state.label: round(state.pacer.held_ns(now_ns) / NS_PER_S, 1)
            for state in self.target_states
        }
        return self._progress.report(
            self.recorder.histograms,
            self.recorder.traffic,
            calls_offered=calls["calls_offered"],
            calls_blocked=calls["calls_blocked"],
            calls_backed_off=calls["calls_backed_off"],
            callers_backing_off=calls["callers_backing_off"],
            held_s={label: seconds for label, seconds in held_s.items() if seconds},
            waiting_s=self._starts.waiting_s,
            tokenless=self._keyring.waiter_count,
            own_delays=sum(state.pacer.own_delays for state in self.target_states),
            simulated=self.recorder.simulated,
        )

    # The end.

    @property
    def active(self) -> int:
        return len(self.sessions.active)

    def drain(self, longest_s: float, outcome: str = "unfinished") -> int:
        """Wait up to `longest_s` until no session is open. Then abort the rest with `outcome`;
        return their number.

        If the lifecycle is hurried, do not wait, and return 0.
        """
        lifecycle = self._callbacks.lifecycle
        until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
        while self.active and not lifecycle.is_hurried and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)
        late = list(self.sessions.active)
        run_end = (
            ()
            if lifecycle.is_hurried
            else (outcome, f"the session was still open {longest_s:g} s after the end of the run")
        )
        # this continues their greenlets, so that their users live on
        for session in late:  # after gevent.kill, Locust would treat the user as dead
            gevent.get_hub().loop.run_callback(greenlet.throw, session, RunEnded(*run_end))
        until_ns = monotonic_ns() + int(ABORT_WAIT_S * NS_PER_S)
        while self.active and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)
        return 0 if lifecycle.is_hurried else len(late)

    def close(self) -> None:
        """Write the last rows and counts to disk."""
        if self._dispatcher is not None:
            self._dispatcher.close()
            self.recorder.count_calls(self._labels, calls_not_started=self._waiting_calls)
        self._keyring.close()
        self.flusher.close()


def raise_all(errors: Sequence[Exception]) -> None:
    """Raise one of the errors, if any, with the others as notes; preferably no exception for
    Locust.
    """
    if not errors:
        return
    first = next((error for error in errors if not is_locust_word(error)), errors[0])
    for other in errors:
        if other is not first:
            first.add_note(f"On another target of the pair: {type(other).__name__}: {other}")
    raise first


def warm_up(plan: RunPlan) -> None:
    """Do work before the start of a run that would otherwise delay its sessions."""
    start_first_thread()
    for link in {target.link for target in plan.targets}:
        opener_of(link)  # imports its modules
    proxies = (target.network_path.proxy for target in plan.targets)
    if any(proxy is not None and proxy.scheme != "http" for proxy in proxies):
        load_socks()
    # the first array asks for the types of pandas, which no row has
    sys.meta_path.insert(0, no_pandas := NoPandas())
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(no_pandas)
    if any(script.compares_words for script in plan.scripts):
        load_scorer()
    # Locust calls it when a run stops; the first call reads every module's source and takes 30 ms
    inspect.stack()


class NoPandas:
    """A finder that refuses the import of pandas, which takes 0.2 s and 40 MB or more."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ImportError


def _tune_interpreter() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, LOOKS)
    gevent.setswitchinterval(MAX_PAUSE_S)


def unwritable(error: OSError) -> str:
    """Return a line about an error of the disk: what failed, and what to do about it."""
    if isinstance(error, FileNotFoundError):
        return (
            "the run folder and the recorded data no longer exist: the folder was removed or moved"
            " during the run"
        )
    return (
        f"cannot write the run folder: {error.strerror}; free disk space, or set another folder"
        " with --runs-dir"
    )


class Flusher:
    """The greenlets that write a recorder's data to disk. If that fails, `apply` gets a request
    to end the run.
    """

    def __init__(self, recorder: Recorder, apply: Callable[[RunEvent], None]) -> None:
        self._recorder = recorder
        self._apply = apply
        self.error: str | None = None
        self._greenlets = [gevent.spawn(work) for work in (self._tick, self._store_histograms)]
        self._beat_ns = next_slot_ns(monotonic_ns()) + HEARTBEAT_NS
        self._heartbeat = CallbackScheduler.of_hub().at(self._beat_ns, self._beat)

    def _beat(self) -> int:
        """Record the delay of each beat that is due, also of those during a stall. Return the
        instant of the next one.

        Beats are due every 10 ms, together with the chunks of microphones.
        """
        now_ns = monotonic_ns()
        while self._beat_ns <= now_ns:
            self._recorder.event_loop_delay(now_ns - self._beat_ns)
            self._beat_ns += HEARTBEAT_NS
        return self._beat_ns

    def _tick(self) -> None:
        """Write rows to disk twice per second. At the end of each second of UTC, make a row of
        the table `seconds`.
        """
        tick_ns = int(TICK_S * NS_PER_S)
        second = utc_ns() // NS_PER_S
        shortages = Shortages()
        while True:
            gevent.sleep((tick_ns - utc_ns() % tick_ns) / NS_PER_S)
            if utc_ns() // NS_PER_S != second:
                second = utc_ns() // NS_PER_S
                if shortage := shortages.new():
                    self._recorder.incident("reader_shortage", shortage)
                self._recorder.end_second()
            self._guarded(self._recorder.flush)

    def _store_histograms(self) -> None:
        """Write histograms to disk every eight seconds, in slices between which other greenlets
        can run.
        """

        def write() -> None:
            for _ in self._recorder.histogram_slices():
                gevent.sleep(0)

        while True:
            gevent.sleep(HISTOGRAMS_EVERY_S)
            self._guarded(write)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Call `write`. If it fails, request the normal end of the run, and leave the rows to a
        later attempt.
        """
        try:
            write()
            return
        except OSError as error:
            problem = unwritable(error)
        except Exception as error:
            # An unexpected value must not end the greenlet that saves all the others. No data is
            # lost yet: rows stay in memory, the run ends in order with the reason, and `close`
            # tries once more.
            problem = f"cannot record the run: {type(error).__name__}: {error}"
        if self.error is None:
            self.error = problem
            self._apply(StopRequested(problem))

    def close(self) -> None:
        """Write the last rows and counts. If this fails, print the number of rows that were not
        written.
        """
        self._heartbeat.cancel()
        gevent.killall(self._greenlets)
        try:
            self._recorder.close()
        # as in _guarded, but there is no later attempt, so lost data is counted and reported
        except Exception as error:
            if isinstance(error, FileNotFoundError) and self.error is not None:
                return  # an earlier message already reported that the folder is gone
            rows = self._recorder.unwritten_rows
            reason = (isinstance(error, OSError) and error.strerror) or error
            self.error = f"cannot write the run folder: {reason}; {rows} rows were not written"
            print(f"rtbench: {self.error}", file=sys.stderr)
