"""The lifecycle of a run in one process: when sessions may start, when they drain, and when the run
is closed.

This module is pure: it reads no clock and has no side effects. `runners/role.py` passes it events,
and executes the actions that it returns, in this order. Four rules hold:

* The first cause that ends a run is its reason. If the first stop has no reason, the first later
  cause with a reason is the reason.
* After the run begins to drain, no session and no turn starts.
* A run that has started is drained once and then closed once, in all cases. After that, it ignores
  all events, except that a signal ends a worker.
* The process that leads a run ends it. A worker asks its master to end the run, and continues until
  the master lets it drain.

    IDLE ──► SIGNING_IN ──► RUNNING ──► DRAINING ──► CLOSING ──► REPORTED
      └───────────┴── ended before it started ─────────────────────┘
"""

import signal
from dataclasses import dataclass
from enum import Enum, auto

from bench.base.errors import INTERRUPTED_STATUS, USAGE_STATUS
from bench.record.document import INTERRUPTED

ALL_DONE = "all sessions are done"
SEARCH_SIGNAL = signal.SIGUSR1
"""The signal by which a search ends the run of a level; the user's signals interrupt it."""
SEARCH_ENDED = "the capacity search that started it needed no more calls"
MASTER_IS_MISSING = "its master is missing"
SIGNING_IN = "signing in through Microsoft Entra ID"


class RunState(Enum):
    """The states of a run in one process, in the order in which they follow each other."""

    IDLE = auto()
    """The run has not started. A process that takes no part in the run stays in this state."""
    SIGNING_IN = auto()
    """Tokens are being fetched. There is no run folder yet."""
    RUNNING = auto()
    """Sessions may start. The run folder exists."""
    DRAINING = auto()
    """Open turns may end. No session and no turn starts."""
    CLOSING = auto()
    """All sessions have ended. The run's files are being closed and reported."""
    REPORTED = auto()
    """The run has ended."""


NOT_STARTED = frozenset({RunState.IDLE, RunState.SIGNING_IN})
ENDING = frozenset({RunState.DRAINING, RunState.CLOSING})

# Events.


@dataclass(frozen=True)
class SignInStarted:
    """The process fetches tokens."""


@dataclass(frozen=True)
class RunStarted:
    """The run folder exists, or a worker is about to take part in the run."""


@dataclass(frozen=True)
class StopRequested:
    """A component requests the end of the run. `spent` is True if open turns get no further
    response (the budget).
    """

    reason: str
    spent: bool = False


@dataclass(frozen=True)
class RunRefused:
    """The run cannot start or continue, because the user must fix a problem. `spent` is as in
    `StopRequested`.
    """

    problem: str
    spent: bool = False


@dataclass(frozen=True)
class SignalReceived:
    """The process received SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    `is_hang_up` is True for SIGHUP: the terminal is gone. Systems send it more than once, or right
    after SIGTERM, so it never means that a user has lost patience.
    """

    is_hang_up: bool = False


@dataclass(frozen=True)
class MasterLost:
    """The master of this worker is missing."""


@dataclass(frozen=True)
class UsersStopping:
    """Locust stops the users, or a master lets its worker drain. `reason` is "" if it is unknown.

    `spent` is as in `StopRequested`.
    """

    reason: str = ""
    spent: bool = False


@dataclass(frozen=True)
class UsersStopped:
    """Locust has stopped the users, or omits this step."""


@dataclass(frozen=True)
class ProcessQuitting:
    """Locust ends the process. If the run has not ended before, the cause is a signal that
    Locust handles itself.
    """


@dataclass(frozen=True)
class RunClosed:
    """The action `CloseRun` was executed. `failed` is True if it raised an exception."""

    failed: bool = False


EndCause = (
    StopRequested | RunRefused | SignalReceived | MasterLost | UsersStopping | ProcessQuitting
)
RunEvent = SignInStarted | RunStarted | EndCause | UsersStopped | RunClosed


# Actions.


@dataclass(frozen=True)
class Say:
    """Print a line."""

    text: str


@dataclass(frozen=True)
class SetExitStatus:
    """Set the exit status of the process."""

    status: int


@dataclass(frozen=True)
class AskMaster:
    """Send a worker's request to its master."""

    request: StopRequested | RunRefused


@dataclass(frozen=True)
class StopTest:
    """Make Locust stop the test. If the process ends with its run, also make Locust end the
    process.
    """


@dataclass(frozen=True)
class DrainSessions:
    """Wait until the open turns have ended."""


@dataclass(frozen=True)
class CloseRun:
    """Close the recorded data and report it, when the sessions have ended. Then `RunClosed`
    follows.
    """


RunAction = Say | SetExitStatus | AskMaster | StopTest | DrainSessions | CloseRun
RunActions = tuple[RunAction, ...]


class RunLifecycle:
    """The lifecycle of one run in one process. `leads` is False in a worker: its master decides
    when the run ends.
    """

    def __init__(self, *, leads: bool = True) -> None:
        self._leads = leads
        self.state = RunState.IDLE
        self.reason = ""
        """The reason why the run ends; "" if unknown."""
        self.problem = ""
        """The first problem that the user must fix; "" if there is none."""
        self.is_spent = False
        """True if the budget is used up, so that open turns get no further response."""
        self.is_hurried = False
        """True if open turns are aborted and not awaited."""

    @property
    def may_start(self) -> bool:
        return self.state is RunState.RUNNING and not self.is_spent

    def apply(self, event: RunEvent) -> RunActions:
        """Process an event. Return the actions that must be executed, in this order."""
        match event:
            case SignalReceived() if self.state is RunState.REPORTED and not self._leads:
                return (StopTest(),)  # the worker only waits for another run
            case _ if self.state is RunState.REPORTED:
                return ()
            case SignInStarted() if self.state is RunState.IDLE:
                self.state = RunState.SIGNING_IN
            case RunStarted() if self.state is RunState.SIGNING_IN:
                self.state = RunState.RUNNING
            case StopRequested():
                return self._stop_requested(event)
            case RunRefused():
                return self._refused(event)
            case SignalReceived(is_hang_up) if self.state in ENDING:
                self.is_hurried = self.is_hurried or not is_hang_up
            case SignalReceived():
                return (*self._end(INTERRUPTED), StopTest())
            case MasterLost() if self.state not in NOT_STARTED:
                self.is_hurried = True  # open turns cost money that no master counts any more
                ended = self._end(MASTER_IS_MISSING) if self.state is RunState.RUNNING else ()
                return (SetExitStatus(USAGE_STATUS), *ended)
            case UsersStopping(reason, spent):
                self.is_spent = self.is_spent or spent
                return self._end_if_on(reason)
            case ProcessQuitting():
                return self._end_if_on(INTERRUPTED if self.state is RunState.RUNNING else "")
            case UsersStopped():
                ended = self._end_if_on("")
                if self.state is not RunState.DRAINING:
                    return ended
                self.state = RunState.CLOSING
                return (*ended, CloseRun())
            case RunClosed(failed) if self.state is RunState.CLOSING:
                self.state = RunState.REPORTED
                return (SetExitStatus(USAGE_STATUS),) if failed else ()
        return ()

    def _stop_requested(self, request: StopRequested) -> RunActions:
        if self.state in NOT_STARTED:  # such an event comes from an earlier run
            return ()
        self.is_spent = self.is_spent or request.spent
        if not self._leads:
            return (AskMaster(request),)
        if self.state is RunState.RUNNING:
            return (*self._end(request.reason), StopTest())
        if self.state is RunState.DRAINING and not self.reason:
            self.reason = request.reason
            return self._say_once()
        return ()

    def _refused(self, refused: RunRefused) -> RunActions:
        if self.problem:
            return ()
        before = self.state
        self.problem = refused.problem
        self.is_spent = self.is_spent or refused.spent
        if before in NOT_STARTED:
            self.state = RunState.REPORTED
            self.reason = refused.problem
        if not self._leads:
            return (AskMaster(refused),)
        actions = (
            self._end(refused.problem) if before is RunState.RUNNING else (Say(refused.problem),)
        )
        stops = () if before in ENDING else (StopTest(),)
        return (SetExitStatus(USAGE_STATUS), *actions, *stops)

    def _end_if_on(self, reason: str) -> RunActions:
        return self._end(reason) if self.state in (RunState.SIGNING_IN, RunState.RUNNING) else ()

    def _end(self, reason: str) -> RunActions:
        """End the run for this reason: drain it if it has started."""
        before = self.state
        self.reason = reason
        if before is RunState.RUNNING:
            self.state = RunState.DRAINING
            return (*self._say_once(), DrainSessions())
        self.state = RunState.REPORTED
        if before is RunState.IDLE:
            return ()
        status = INTERRUPTED_STATUS if reason == INTERRUPTED else USAGE_STATUS
        return (Say(not_started_text(reason)), SetExitStatus(status))

    def _say_once(self) -> RunActions:
        """Return the action that prints the reason of the end, unless it is a reason that users
        expect.
        """
        if not self._leads or self.reason in ("", ALL_DONE, INTERRUPTED, SEARCH_ENDED):
            return ()
        return (Say(f"the run ends early: {self.reason}"),)


def not_started_text(reason: str) -> str:
    """Return a line about a run that ended before it had a folder. `reason` is "" if its time was
    over, or it was stopped.
    """
    cause = reason or "its time was over, or it was stopped"
    return f"the run did not start: {cause}; no session was opened"
