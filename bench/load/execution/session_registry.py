"""The sessions of one process: their records, and the decision after each result whether the run
continues.
"""

# A session reports what happened to its `RunListener`, which passes it on: first to the recorder,
# so that a row exists even if a later step fails; then to the state of the target, which may delay
# further starts; to Locust's dashboard; to the counts of the progress; and to the budget, which may
# end the run. Of these, only the recorder's rows become results.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import gevent

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S, duration_text
from bench.catalogue.causes import ConnectError
from bench.catalogue.metrics import CATALOGUE, awaited
from bench.catalogue.outcomes import (
    detail_text,
    is_own_limit,
    is_permanent,
    outcome_class,
    remedy_of,
)
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.files.sanitize import escape_control
from bench.load.execution.progress import ProgressCounter, over_budget, unknown_price
from bench.load.execution.target_state import (
    MAX_INITIAL_FAILURES,
    RefusedCall,
    TargetState,
    refusal_of,
    was_opened,
)
from bench.load.lifecycle import RunEvent, RunLifecycle, RunRefused, StopRequested
from bench.load.planning.locust_entries import NOT_STARTED, metric_entry
from bench.load.planning.run_options import Options
from bench.observe.inputs import session_start
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript, PreparedTurn
from bench.record.event_log import EventLog, LoggedTimeline, about
from bench.record.histograms import MEASURED
from bench.record.recorder import Recorder, RowContext, SessionRecorder
from bench.record.spool import Spool
from bench.session.meetings import Meeting, Meetings
from bench.wire.events import TokenUsage

Fire = Callable[..., None]
"""Locust's `events.request.fire`."""


@dataclass(frozen=True)
class LocustCallbacks:
    """The part of a run's machinery that its sessions use.

    `lifecycle` is the state of the run; sessions only read it. `apply` passes an event to the
    lifecycle and executes the actions that follow. `fire` adds an entry to Locust's dashboard.
    """

    lifecycle: RunLifecycle
    apply: Callable[[RunEvent], None]
    fire: Fire


class SessionRegistry:
    """The sessions of one process.

    `target_count` is the number of targets, and so of sessions in a pair. `hide` is a function that
    removes secrets from a text. The run ends at `ends_ns`, if not before. `active` are the
    greenlets of open calls.
    """

    def __init__(
        self,
        spool: Spool,
        recorder: Recorder,
        progress: ProgressCounter,
        options: Options,
        callbacks: LocustCallbacks,
        *,
        target_count: int,
        hide: Callable[[str], str],
        ends_ns: float = math.inf,
    ) -> None:
        self.locust_metrics = options.locust_metrics
        self._spool = spool
        self._recorder = recorder
        self._options = options
        self._target_count = target_count
        self._ends_ns = ends_ns
        self.progress = progress
        self.callbacks = callbacks
        self.redact = hide
        self.active: set[gevent.Greenlet] = set()
        self.meetings = Meetings()
        self.has_log_failed = False
        """True if an event log could not be written. After that, sessions have no event log."""

    @property
    def ending(self) -> bool:
        """True if no further session and no further turn may start."""
        return not self.callbacks.lifecycle.may_start

    def start(
        self,
        state: TargetState,
        script: PreparedScript,
        labels: RowContext,
        turns_planned: int,
        **planned: int | None,
    ) -> RunListener:
        """Start the record of a session, with an event log if `labels` require one.

        `planned` are the instants of the planned start.
        """
        log = None
        if self.has_log_failed:
            labels = replace(labels, event_log=False)
        if labels.event_log:
            path = self._spool.events / f"{labels.session_id}.jsonl"
            log = EventLog(path, hide=self.redact, record_audio=self._options.record_audio)
        record = self._recorder.session(labels)
        run_facts = {"renewable": script.renewable, **planned}
        start = session_start(script, monotonic_ns(), turns_planned, **run_facts)
        if log is None:
            timeline = Timeline(start, script.dialect, reply_format=script.output_format.name)
        else:
            timeline = LoggedTimeline(
                start, script.dialect, log=log, about=about(self._spool.run_id, labels, script)
            )
        self._recorder.open[record] = timeline.open_turns
        state.connecting += 1
        return RunListener(record, timeline, state, self, log)

    def enforce_budget(self) -> None:
        """End the run if its budget is spent, or if there is a budget and the cost is unknown."""
        budget_usd = self._options.budget_usd
        spending = self.progress.spending
        if budget_usd is None or self.callbacks.lifecycle.is_spent:
            return
        if spending.unpriced:
            self.callbacks.apply(RunRefused(unknown_price(spending), spent=True))
        elif reason := over_budget(
            budget_usd, spending.usd_at(monotonic_ns()), spending.kindless_usd
        ):
            self.callbacks.apply(StopRequested(reason, spent=True))

    def on_session_ended(
        self, target_state: TargetState, session: SessionObservation
    ) -> ConnectError | None:
        """Count a session that has ended. If all of the target's first sessions failed, end the
        run.

        Return the error if the service refused the session; otherwise None.
        """
        hopeless = target_state.is_hopeless
        failed = target_state.count_session(session, monotonic_ns())
        self.end_if_refused(target_state, session)
        if not failed:
            return None
        error = self._error_of(session)
        where = f" to {target_state.label}" if self._target_count > 1 else ""
        if target_state.is_hopeless and not hopeless:
            text = (
                f"{MAX_INITIAL_FAILURES} sessions{where} failed to open and none succeeded; the"
                f" last: {error}"
            )
            self.callbacks.apply(StopRequested(text))
        elif self._waits_too_long(target_state, session):
            wait_s = (session.retry_after_ns or 0) / NS_PER_S
            text = (
                f"no session{where} has opened, and the service takes calls again in"
                f" {duration_text(wait_s)}, which is too late for this run: start it again"
                f" then; the last: {error}"
            )
            self.callbacks.apply(StopRequested(text))
        return None if is_own_limit(session.outcome) else error

    def _error_of(self, ended: SessionObservation | TurnObservation) -> ConnectError:
        """Return the error of a session or turn, without secrets: a service chooses both texts."""
        hide = self.redact
        return ConnectError(
            hide(ended.outcome), escape_control(hide(detail_text(ended.outcome, ended.detail)))
        )

    def _waits_too_long(self, state: TargetState, session: SessionObservation) -> bool:
        """Return whether no session with a target can open in this run, by the wait that the
        service requests.
        """
        wait_ns = session.retry_after_ns
        may_open = state.opened or state.connecting
        if wait_ns is None or may_open or is_permanent(session.outcome, session.causes):
            return False
        return wait_ns > min(MAX_HOLD_NS, self._ends_ns - monotonic_ns())

    def end_if_refused(
        self, state: TargetState, last: SessionObservation | TurnObservation
    ) -> None:
        """End the run if the service refuses for a reason that no further call mends. The user
        must fix it.
        """
        if (kind := state.refused_for_good) is None:
            return
        where = f" of {state.label}" if self._target_count > 1 else ""
        error = str(self._error_of(last)).rstrip(".")
        remedy = remedy_of(last.outcome, last.causes, state.dialer.target.dialect.remedies)
        self.callbacks.apply(
            RunRefused(
                f"the service refused {MAX_INITIAL_FAILURES} {kind}s{where} in a row for a reason"
                f" that no further call mends: {error}; {remedy}"
            )
        )


class RunListener:
    """A `bench.session.session_io.SessionListener` that records the events of a session, and
    then passes them on.
    """

    def __init__(
        self,
        record: SessionRecorder,
        timeline: Timeline,
        target_state: TargetState,
        sessions: SessionRegistry,
        log: EventLog | None = None,
    ) -> None:
        self.timeline = timeline
        self.log = log
        self._record = record
        self._target_state = target_state
        self._sessions = sessions
        self.connected = record.connected
        self.sent = record.sent
        self.turn_started = record.turn_started
        self.received = record.received
        self.received_deltas = record.received_deltas
        self.on_turn: Callable[[TurnObservation], None] | None = None
        """A function that receives each turn before all other receivers. The session's call sets
        it."""
        self.refusal: RefusedCall | None = None
        """The refusal of the session; None before its end, or if it was not refused."""
        self._opened = self._ended = False

    def on_opened(self) -> None:
        """If the service has accepted the session's settings, report this once."""
        if not self._opened and self.timeline.facts.is_ready:
            self._opened = True
            session = self.timeline.session()
            self._sessions.progress.session_opened(self._target_state.label, session)
            self._target_state.session_opened(session.start_ns)

    def turn_ended(self, turn: TurnObservation) -> None:
        """Pass a turn that has ended to its record, the pacer of starts, Locust's dashboard and
        the progress.
        """
        self.on_opened()  # unknown before, if the start is pipelined
        if self.on_turn is not None:
            self.on_turn(turn)
        sessions = self._sessions
        labels = self._record.labels
        self._record.turn_ended(turn)  # first, so that it is recorded even if something below fails
        self._target_state.turn_ended(turn)
        sessions.end_if_refused(self._target_state, turn)
        show_turn(
            sessions.callbacks.fire, labels.script, turn, sessions.redact, sessions.locust_metrics
        )
        measured = self._record.phase == MEASURED
        sessions.progress.turn_ended(
            self._target_state.label, labels.script, turn, measured=measured
        )
        facts = self.timeline.facts
        if not facts.is_answered:
            sessions.progress.spending.add_audio(
                self._target_state.label, facts.model, turn.input_audio_ns
            )
            sessions.enforce_budget()

    def meet(self, turn: PreparedTurn, now_ns: int) -> Meeting:
        key = (self._target_state.label, self._record.labels.script, turn.plan.number)
        return self._sessions.meetings.join(key, turn, now_ns)

    def usage_reported(self, usage: TokenUsage) -> None:
        facts = self.timeline.facts
        self._sessions.progress.spending.add(
            self._target_state.label, facts.model, usage, facts.backend_model
        )
        self._sessions.enforce_budget()

    def may_request(self) -> bool:
        return not self._sessions.callbacks.lifecycle.is_spent

    def session_ended(self) -> None:
        """Pass the ended session to its record, the progress, and the dashboard. A second call
        has no effect.
        """
        if self._ended:
            return
        self._ended = True
        self.on_opened()
        self._target_state.connecting -= not self._opened
        session = self.timeline.session()
        sessions = self._sessions
        self._record.session_ended(session)
        sessions.progress.session_ended(
            self._target_state.label, session, opened=was_opened(session)
        )
        problem = sessions.on_session_ended(self._target_state, session)
        self.refusal = refusal_of(session, monotonic_ns(), any_opened=self._target_state.opened > 0)
        labels = self._record.labels
        fire = sessions.callbacks.fire
        show_session(fire, labels.target, labels.script, session, problem, sessions.redact)
        if self.log is not None:
            self.log.close()
            sessions.has_log_failed |= self.log.error is not None
        self.on_turn = None  # a reference cycle would wait for the garbage collector


# Locust's statistics are only a dashboard, because results come from the run folder. They have an
# entry per turn, per metric of a turn (--locust-metrics), per connect, and per session with turns
# that did not start.


class TurnError(Exception):
    """A turn that did not succeed, as an error in Locust's statistics. Its text is the outcome
    of the turn.
    """


def show_turn(
    fire: Fire,
    script: str,
    turn: TurnObservation,
    hide: Callable[[str], str],
    metrics: Sequence[str] = (),
) -> None:
    """Add a turn to Locust's dashboard, with the time to its first delta; to its end if it received
    no delta.

    Also add an entry for each of the `metrics` that the turn has. If the turn failed, the entry of
    a metric that had begun is a failure, too. A turn is not added if it is unfinished because the
    run ended.
    """
    kind = outcome_class(turn.outcome)
    if kind == "unfinished":
        return
    first = awaited(turn.instants)
    first_ns = turn.value(CATALOGUE[first[1]]) if first else None
    waited_ns = first_ns or (turn.instants["ended"] - turn.start_ns)
    # separately: a code or a message that is truncated within a secret ends there
    message = f"{hide(turn.outcome)} {hide(detail_text(turn.outcome, turn.detail))}".strip()
    error = None if kind == "success" else TurnError(escape_control(message))
    _fire(fire, script, turn.step, waited_ns / NS_PER_MS, error, turn.audio_bytes_received)
    for name in metrics:
        metric = CATALOGUE[name]
        value_ns = turn.value(metric)
        if error is not None and any(begin in turn.instants for begin in metric.begins):
            value_ns = waited_ns if value_ns is None else value_ns
        elif value_ns is None:
            continue
        _fire(fire, script, metric_entry(turn.step, name), value_ns / NS_PER_MS, error)


def show_session(
    fire: Fire,
    target: str,
    script: str,
    session: SessionObservation,
    error: ConnectError | None,
    hide: Callable[[str], str],
) -> None:
    """Add a session to Locust's dashboard: its connection, and its turns that were not started.

    Turns that were not started count as failed. Therefore, if no turn of a run started, the run
    ends like a run in which turns failed.
    """
    waited_ns = session.value(CATALOGUE["connect_total"])
    if waited_ns is not None or error is not None:
        ended_ns = session.instants.get("ended", session.start_ns)
        waited_ns = ended_ns - session.start_ns if waited_ns is None else waited_ns
        _fire(fire, "connect", target, waited_ns / NS_PER_MS, error)
    if session.turns_not_started and error is None:
        outcome = hide(session.outcome)
        message = f"{outcome} before {session.turns_not_started} of {session.turns_planned} turns"
        _fire(fire, script, NOT_STARTED, 0.0, TurnError(message))


def _fire(
    fire: Fire,
    kind: str,
    name: str,
    waited_ms: float,
    error: Exception | None,
    response_bytes: int = 0,
) -> None:
    fire(
        request_type=kind,
        name=name,
        response_time=waited_ms,
        response_length=response_bytes,
        exception=error,
        context={},
    )
