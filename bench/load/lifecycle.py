"""Decides how one process goes through a run: when sessions may start, when they drain, and when the run is closed.

Pure: it reads no clock, and does nothing by itself. `runners/role.py` tells it what happened and executes the actions
that it returns, in their order. Four rules hold it together:

* The first cause that ends a run wins. A stop that names no reason leaves that to the first cause that names one.
* No session and no turn starts once the run drains.
* A run that began is drained, then closed once, whatever happens. After that nothing happens.
* The process that leads a run ends it. A worker asks its master to end it, and goes on until the master has it drain.

    IDLE ──► SIGNING_IN ──► RUNNING ──► DRAINING ──► CLOSING ──► REPORTED
      └───────────┴── ended before it began ───────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from bench.errors import INTERRUPTED_STATUS, USAGE_STATUS
from bench.run.document import INTERRUPTED

ALL_DONE = "all sessions are done"
MASTER_IS_MISSING = "its master is missing"
SIGNING_IN = "signing in through Microsoft Entra ID"


class RunState(Enum):
    """The states of a run in one process, in the order in which it goes through them."""

    IDLE = auto()
    """Before it begins, and in a process that takes no part in it."""
    SIGNING_IN = auto()
    """While tokens are fetched. There is no run folder yet."""
    RUNNING = auto()
    """While sessions may start. The run folder is there."""
    DRAINING = auto()
    """While turns in flight end. No session and no turn starts."""
    CLOSING = auto()
    """While its files are closed and reported, once it is drained."""
    REPORTED = auto()
    """After its end."""


NOT_BEGUN = frozenset({RunState.IDLE, RunState.SIGNING_IN})
ENDING = frozenset({RunState.DRAINING, RunState.CLOSING})

# Events: what happened.


@dataclass(frozen=True)
class SignInStarted:
    """The process fetches tokens."""


@dataclass(frozen=True)
class RunBegan:
    """The folder of the run is there, or a worker is about to take part in it."""


@dataclass(frozen=True)
class StopRequested:
    """A part of the run asks for its end. `spent`: turns in flight take no further response."""

    reason: str
    spent: bool = False


@dataclass(frozen=True)
class RunRefused:
    """The user must fix a problem first. `spent`: as in `StopRequested`."""

    problem: str
    spent: bool = False


@dataclass(frozen=True)
class SignalReceived:
    """SIGINT (Ctrl-C) or SIGTERM."""


@dataclass(frozen=True)
class MasterLost:
    """The master of this worker is missing."""


@dataclass(frozen=True)
class UsersStopping:
    """Locust stops the users, or a master has its worker drain. `reason`: empty if unknown; `spent`: as above."""

    reason: str = ""
    spent: bool = False


@dataclass(frozen=True)
class UsersStopped:
    """Locust has stopped the users, or skips that."""


@dataclass(frozen=True)
class ProcessQuitting:
    """Locust ends the process. If the run goes on, a signal that Locust handles is the cause."""


@dataclass(frozen=True)
class RunClosed:
    """`CloseRun` was executed. `failed`: it raised an exception."""

    failed: bool = False


EndCause: TypeAlias = StopRequested | RunRefused | SignalReceived | MasterLost | UsersStopping | ProcessQuitting
RunEvent: TypeAlias = SignInStarted | RunBegan | EndCause | UsersStopped | RunClosed


# Actions: what is to be done.


@dataclass(frozen=True)
class Say:
    """Show a line."""

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
    """Have Locust stop the test, and the process if it ends with its run."""


@dataclass(frozen=True)
class DrainSessions:
    """Wait for the turns in flight."""


@dataclass(frozen=True)
class CloseRun:
    """Close and report what was recorded, once the sessions are drained. Answered by `RunClosed`."""


RunAction: TypeAlias = Say | SetExitStatus | AskMaster | StopTest | DrainSessions | CloseRun
RunActions: TypeAlias = tuple[RunAction, ...]


class RunLifecycle:
    """The life of one run in one process. `leads`: whether this process decides when it ends; a worker does not."""

    def __init__(self, *, leads: bool = True) -> None:
        self._leads = leads
        self.state = RunState.IDLE
        self.reason = ""
        """Why the run ends; empty if unknown."""
        self.problem = ""
        """The first problem that the user must fix."""
        self.is_spent = False
        """Whether turns in flight take no further response."""
        self.is_hurried = False
        """Whether turns in flight are abandoned."""

    @property
    def may_start(self) -> bool:
        return self.state is RunState.RUNNING and not self.is_spent

    def tell(self, event: RunEvent) -> RunActions:
        """Take an event, and return what is to be done, in this order."""
        match event:
            case _ if self.state is RunState.REPORTED:
                return ()
            case SignInStarted() if self.state is RunState.IDLE:
                self.state = RunState.SIGNING_IN
            case RunBegan() if self.state is RunState.SIGNING_IN:
                self.state = RunState.RUNNING
            case StopRequested():
                return self._stop_requested(event)
            case RunRefused():
                return self._refused(event)
            case SignalReceived() if self.state in ENDING:
                self.is_hurried = True
            case SignalReceived():
                return (*self._end(INTERRUPTED), StopTest())
            case MasterLost() if self.state not in NOT_BEGUN:
                self.is_hurried = True  # turns in flight cost money that no master counts
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
        if self.state in NOT_BEGUN:  # of an earlier run
            return ()
        self.is_spent = self.is_spent or request.spent
        if not self._leads:
            return (AskMaster(request),)
        if self.state is RunState.RUNNING:
            return (*self._end(request.reason), StopTest())
        if self.state is RunState.DRAINING and not self.reason:
            self.reason = request.reason
            return self._announced()
        return ()

    def _refused(self, refused: RunRefused) -> RunActions:
        if self.problem:
            return ()
        before, self.problem, self.is_spent = self.state, refused.problem, self.is_spent or refused.spent
        if before in NOT_BEGUN:
            self.state, self.reason = RunState.REPORTED, refused.problem
        if not self._leads:
            return (AskMaster(refused),)
        shown = self._end(refused.problem) if before is RunState.RUNNING else (Say(refused.problem),)
        stops = () if before in ENDING else (StopTest(),)
        return (SetExitStatus(USAGE_STATUS), *shown, *stops)

    def _end_if_on(self, reason: str) -> RunActions:
        return self._end(reason) if self.state in (RunState.SIGNING_IN, RunState.RUNNING) else ()

    def _end(self, reason: str) -> RunActions:
        """Drain the run, if it began."""
        before, self.reason = self.state, reason
        if before is RunState.RUNNING:
            self.state = RunState.DRAINING
            return (*self._announced(), DrainSessions())
        self.state = RunState.REPORTED
        if before is RunState.IDLE:
            return ()
        status = INTERRUPTED_STATUS if reason == INTERRUPTED else USAGE_STATUS
        return (Say(not_started_text(reason)), SetExitStatus(status))

    def _announced(self) -> RunActions:
        """Show the reason, if it is none that everybody expects."""
        if not self._leads or self.reason in ("", ALL_DONE, INTERRUPTED):
            return ()
        return (Say(f"the run ends early: {self.reason}"),)


def not_started_text(reason: str) -> str:
    """Describe a run that ended before all was signed in. `reason`: empty if its time was over."""
    why = reason or "its time was over, or it was stopped,"
    return f"the run never began: {why} while it was still {SIGNING_IN}; no session was opened"
