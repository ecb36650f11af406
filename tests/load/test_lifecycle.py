"""Every way in which a run can end: the events and the actions that result. Locust is not
needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import INTERRUPTED_STATUS, USAGE_STATUS
from bench.load.lifecycle import (
    ALL_DONE,
    MASTER_IS_MISSING,
    SEARCH_ENDED,
    AskMaster,
    CloseRun,
    DrainSessions,
    MasterLost,
    ProcessQuitting,
    RunAction,
    RunClosed,
    RunEvent,
    RunLifecycle,
    RunRefused,
    RunStarted,
    RunState,
    Say,
    SetExitStatus,
    SignalReceived,
    SignInStarted,
    StopRequested,
    StopTest,
    UsersStopped,
    UsersStopping,
    not_started_text,
)
from bench.record.document import GIVEN_UP, INTERRUPTED

STARTED: tuple[RunEvent, ...] = (SignInStarted(), RunStarted())
HANG_UP = SignalReceived(is_hang_up=True)
LOCUST_STOPS: tuple[RunEvent, ...] = (UsersStopping(), UsersStopped(), RunClosed())
"""The events that Locust sends when a test ends for any reason."""
QUITS: tuple[RunEvent, ...] = (ProcessQuitting(), *LOCUST_STOPS)
"""The events of a process that ends together with its run.

They contain the events of Locust once more, because some ends of a run do not send them earlier.
"""
END: tuple[RunAction, ...] = (DrainSessions(), CloseRun())
SPENT = "the budget of 1.00 USD is spent: 1.01 USD"
HOPELESS = "10 sessions failed to open and none succeeded; the last: connect_failed:tcp"
DECIDED = "decided: east is slower"
OVERLOADED = f"{GIVEN_UP}the load generator was overloaded for 40 pairs in a row (send_delay)"
DISK_FULL = "cannot write the run folder: No space left on device"
LAST_IS_MISSING = "the last worker went missing"


def early(reason: str) -> Say:
    return Say(f"the run ends early: {reason}")


def stop_requested_by_run(reason: str, *, spent: bool = False) -> End:
    """Return an end that the run itself requests. Its reason is displayed."""
    events = [*STARTED, StopRequested(reason, spent), *LOCUST_STOPS, *QUITS]
    return End(events, [early(reason), DrainSessions(), StopTest(), CloseRun()], reason)


@dataclass(frozen=True)
class End:
    """An end of a run: the events, all actions that result from them, and the reason and state
    after the last event.
    """

    events: Sequence[RunEvent]
    actions: Sequence[RunAction]
    reason: str
    state: RunState = RunState.REPORTED
    leads: bool = True


ENDS = {
    "the run time is over": End([*STARTED, *LOCUST_STOPS, *QUITS], END, ""),
    "all sessions are done": End(
        [*STARTED, StopRequested(ALL_DONE), StopRequested(ALL_DONE), *LOCUST_STOPS, *QUITS],
        [DrainSessions(), StopTest(), CloseRun()],
        ALL_DONE,
    ),
    "the budget is spent": stop_requested_by_run(SPENT, spent=True),
    "sequential analysis has decided": stop_requested_by_run(DECIDED),
    "no session can be opened": stop_requested_by_run(HOPELESS),
    "the load generator is overloaded": stop_requested_by_run(OVERLOADED),
    "the disk is full": stop_requested_by_run(DISK_FULL),
    "the disk is full once the run time is over": End(
        [
            *STARTED,
            UsersStopping(),
            StopRequested(DISK_FULL),
            StopRequested(DISK_FULL),
            *LOCUST_STOPS,
        ],
        [DrainSessions(), early(DISK_FULL), CloseRun()],
        DISK_FULL,
    ),
    "a user asks for what cannot be done": End(
        [*STARTED, RunRefused("no such file"), RunRefused("no such file"), *LOCUST_STOPS],
        [
            SetExitStatus(USAGE_STATUS),
            early("no such file"),
            DrainSessions(),
            StopTest(),
            CloseRun(),
        ],
        "no such file",
    ),
    "a user asks for what cannot be done while the run drains": End(
        [*STARTED, UsersStopping(), RunRefused("on_stop fails"), *LOCUST_STOPS],
        [DrainSessions(), SetExitStatus(USAGE_STATUS), Say("on_stop fails"), CloseRun()],
        "",
    ),
    "what a response costs is unknown": End(
        [*STARTED, RunRefused("no price", spent=True), *LOCUST_STOPS],
        [SetExitStatus(USAGE_STATUS), early("no price"), DrainSessions(), StopTest(), CloseRun()],
        "no price",
    ),
    "the options are refused": End(
        [RunRefused("no target"), *LOCUST_STOPS, *QUITS],
        [SetExitStatus(USAGE_STATUS), Say("no target"), StopTest()],
        "no target",
    ),
    "the sign-in fails": End(
        [SignInStarted(), RunRefused("no token"), *LOCUST_STOPS, *QUITS],
        [SetExitStatus(USAGE_STATUS), Say("no token"), StopTest()],
        "no token",
    ),
    "the run time is over during the sign-in": End(
        [SignInStarted(), *LOCUST_STOPS, RunStarted(), *QUITS],
        [Say(not_started_text("")), SetExitStatus(USAGE_STATUS)],
        "",
    ),
    "a signal during the sign-in": End(
        [SignInStarted(), SignalReceived(), SignalReceived(), RunStarted(), *QUITS],
        [Say(not_started_text(INTERRUPTED)), SetExitStatus(INTERRUPTED_STATUS), StopTest()],
        INTERRUPTED,
    ),
    "the process quits during the sign-in, as Locust's master does without users": End(
        [SignInStarted(), *QUITS], [Say(not_started_text("")), SetExitStatus(USAGE_STATUS)], ""
    ),
    "a signal before the sign-in": End(
        [SignalReceived(), *STARTED, *QUITS], [StopTest()], INTERRUPTED
    ),
    "SIGINT, or SIGTERM": End(
        [*STARTED, SignalReceived(), *LOCUST_STOPS, *QUITS],
        [DrainSessions(), StopTest(), CloseRun()],
        INTERRUPTED,
    ),
    "the search that started the run ends it, and then abandons open turns": End(
        [*STARTED, StopRequested(SEARCH_ENDED), SignalReceived(), *LOCUST_STOPS, *QUITS],
        [DrainSessions(), StopTest(), CloseRun()],
        SEARCH_ENDED,
    ),
    "SIGINT twice": End(
        [
            *STARTED,
            SignalReceived(),
            UsersStopping(),
            SignalReceived(),
            UsersStopped(),
            RunClosed(),
        ],
        [DrainSessions(), StopTest(), CloseRun()],
        INTERRUPTED,
    ),
    "SIGHUP": End(
        [*STARTED, HANG_UP, *LOCUST_STOPS, *QUITS],
        [DrainSessions(), StopTest(), CloseRun()],
        INTERRUPTED,
    ),
    "SIGINT, and then all sessions are done": End(
        [*STARTED, SignalReceived(), StopRequested(ALL_DONE), *LOCUST_STOPS],
        [DrainSessions(), StopTest(), CloseRun()],
        INTERRUPTED,
    ),
    "SIGINT with a web UI, where Locust quits": End([*STARTED, *QUITS], END, INTERRUPTED),
    "a stop in the web UI": End([*STARTED, *LOCUST_STOPS], END, ""),
    "a stop in the web UI of a run that is to be decided": End(
        [*STARTED, UsersStopping(INTERRUPTED), *LOCUST_STOPS], END, INTERRUPTED
    ),
    "a stop in the web UI, and a start after that, which is another life": End(
        [*STARTED, *LOCUST_STOPS, *STARTED], END, ""
    ),
    "a worker is lost, and then its master sees that no other plays": End(
        [*STARTED, StopRequested(ALL_DONE), *LOCUST_STOPS],
        [DrainSessions(), StopTest(), CloseRun()],
        ALL_DONE,
    ),
    "Locust finds the last worker lost": End(
        [*STARTED, UsersStopping(LAST_IS_MISSING), StopRequested(LAST_IS_MISSING), *LOCUST_STOPS],
        [early(LAST_IS_MISSING), *END],
        LAST_IS_MISSING,
    ),
    "a crash while the run is closed": End(
        [*STARTED, UsersStopping(), UsersStopped(), RunClosed(failed=True), *QUITS],
        [*END, SetExitStatus(USAGE_STATUS)],
        "",
    ),
    "users are stopped without a word before": End(
        [*STARTED, UsersStopped(), RunClosed()], END, ""
    ),
    "a message of a worker of an earlier run": End(
        [StopRequested(ALL_DONE)], [], "", RunState.IDLE
    ),
}
"""The ends of a run, in a process that leads the run."""

WORKERS_ENDS = {
    "its master tells it to drain": End(
        [*STARTED, *LOCUST_STOPS, *LOCUST_STOPS, *QUITS], END, "", leads=False
    ),
    "its share of the sessions is done": End(
        [*STARTED, StopRequested(ALL_DONE)],
        [AskMaster(StopRequested(ALL_DONE))],
        "",
        RunState.RUNNING,
        leads=False,
    ),
    "it has spent the budget": End(
        [*STARTED, StopRequested(SPENT, spent=True), UsersStopping(spent=True), *LOCUST_STOPS],
        [AskMaster(StopRequested(SPENT, spent=True)), *END],
        "",
        leads=False,
    ),
    "its disk is full": End(
        [*STARTED, StopRequested(ALL_DONE), StopRequested(DISK_FULL), *LOCUST_STOPS],
        [AskMaster(StopRequested(ALL_DONE)), AskMaster(StopRequested(DISK_FULL)), *END],
        "",
        leads=False,
    ),
    "a user asks for what cannot be done": End(
        [*STARTED, RunRefused("no such file"), RunRefused("no such file"), *LOCUST_STOPS],
        [AskMaster(RunRefused("no such file")), *END],
        "",
        leads=False,
    ),
    "it cannot take part": End(
        [RunRefused("other scripts"), *LOCUST_STOPS, *QUITS],
        [AskMaster(RunRefused("other scripts"))],
        "other scripts",
        leads=False,
    ),
    "it takes no part": End([*LOCUST_STOPS, *QUITS], [], "", RunState.IDLE, leads=False),
    "a signal": End(
        [*STARTED, SignalReceived(), *LOCUST_STOPS, *QUITS],
        [DrainSessions(), StopTest(), CloseRun()],
        INTERRUPTED,
        leads=False,
    ),
    "its master is lost": End(
        [*STARTED, MasterLost(), *LOCUST_STOPS, *QUITS],
        [SetExitStatus(USAGE_STATUS), *END],
        MASTER_IS_MISSING,
        leads=False,
    ),
    "its master is lost while it drains": End(
        [*STARTED, UsersStopping(), MasterLost(), *LOCUST_STOPS],
        [DrainSessions(), SetExitStatus(USAGE_STATUS), CloseRun()],
        "",
        leads=False,
    ),
    "its master is lost when its run is over, or before": End(
        [MasterLost(), *STARTED, *LOCUST_STOPS, MasterLost()], END, "", leads=False
    ),
}
"""The ends of a run, in a worker.

The state machine of a worker does not stop the process; the worker's adapter does.
"""


def feed_events(lifecycle: RunLifecycle, events: Sequence[RunEvent]) -> list[RunAction]:
    return [action for event in events for action in lifecycle.apply(event)]


@pytest.mark.parametrize(
    "end", [*ENDS.values(), *WORKERS_ENDS.values()], ids=[*ENDS, *WORKERS_ENDS]
)
def test_each_end_of_a_run_has_its_actions_reason_and_state(end: End) -> None:
    lifecycle = RunLifecycle(leads=end.leads)
    actions = feed_events(lifecycle, end.events)

    assert (actions, lifecycle.reason, lifecycle.state) == (
        list(end.actions),
        end.reason,
        end.state,
    )


def test_a_worker_without_its_master_hurries_its_end() -> None:
    lifecycle = RunLifecycle(leads=False)
    feed_events(lifecycle, [*STARTED, MasterLost()])

    assert lifecycle.is_hurried


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize(
    "event", [StopRequested(SPENT, spent=True), RunRefused("no price", spent=True)]
)
def test_once_the_budget_is_spent_no_session_and_no_response_starts(
    event: RunEvent, leads: bool
) -> None:
    lifecycle = RunLifecycle(leads=leads)
    feed_events(lifecycle, STARTED)
    might_start = lifecycle.may_start, lifecycle.is_spent
    lifecycle.apply(event)

    assert might_start == (True, False)
    assert (lifecycle.may_start, lifecycle.is_spent) == (False, True)


# Any order of events.

CAUSES = st.sampled_from(["one", "another", ALL_DONE])
EVENTS: st.SearchStrategy[RunEvent] = st.one_of(
    st.sampled_from(
        [
            SignInStarted(),
            RunStarted(),
            SignalReceived(),
            MasterLost(),
            UsersStopped(),
            ProcessQuitting(),
        ]
    ),
    st.builds(StopRequested, CAUSES, st.booleans()),
    st.builds(RunRefused, CAUSES, st.booleans()),
    st.builds(UsersStopping, CAUSES | st.just(""), st.booleans()),
    st.builds(RunClosed, st.booleans()),
)
ORDERS = st.lists(EVENTS, max_size=12)
AFTER_SIGN_IN = st.booleans().flatmap(
    lambda began: ORDERS.map(lambda order: [*STARTED * began, *order])
)


@given(leads=st.booleans(), events=AFTER_SIGN_IN)
def test_only_a_run_that_began_is_drained_and_closed_exactly_once(
    leads: bool, events: list[RunEvent]
) -> None:
    lifecycle, actions, began = RunLifecycle(leads=leads), list[RunAction](), False
    for event in (*events, *LOCUST_STOPS):
        actions += lifecycle.apply(event)
        began = began or lifecycle.state is RunState.RUNNING

    steps = [action for action in actions if isinstance(action, DrainSessions | CloseRun)]
    assert steps == (list(END) if began else [])
    assert lifecycle.state is RunState.REPORTED or (lifecycle.state is RunState.IDLE and not began)


@given(leads=st.booleans(), events=AFTER_SIGN_IN)
def test_the_states_of_a_run_are_ordered_and_no_session_starts_after_running(
    leads: bool, events: list[RunEvent]
) -> None:
    lifecycle, states, places = RunLifecycle(leads=leads), list(RunState), [0]
    for event in events:
        lifecycle.apply(event)
        places.append(states.index(lifecycle.state))
        assert not lifecycle.may_start or lifecycle.state is RunState.RUNNING

    assert places == sorted(places)


@given(leads=st.booleans(), events=AFTER_SIGN_IN, later=ORDERS)
def test_after_the_end_of_a_run_only_a_signal_has_an_effect_and_only_in_a_worker(
    leads: bool, events: list[RunEvent], later: list[RunEvent]
) -> None:
    lifecycle = RunLifecycle(leads=leads)
    feed_events(lifecycle, [*STARTED, *events, *LOCUST_STOPS])
    before = dict(vars(lifecycle))

    signals = 0 if leads else later.count(SignalReceived())
    assert feed_events(lifecycle, later) == [StopTest()] * signals
    assert vars(lifecycle) == before


@given(leads=st.booleans(), events=AFTER_SIGN_IN, later=ORDERS)
def test_the_first_reason_for_the_end_of_a_run_wins(
    leads: bool, events: list[RunEvent], later: list[RunEvent]
) -> None:
    lifecycle = RunLifecycle(leads=leads)
    feed_events(lifecycle, events)
    first = lifecycle.reason
    feed_events(lifecycle, later)

    assert lifecycle.reason == first or not first


@given(leads=st.booleans(), events=AFTER_SIGN_IN)
def test_a_run_is_hurried_only_by_a_second_cause_or_a_lost_master_and_stays_so(
    leads: bool, events: list[RunEvent]
) -> None:
    lifecycle = RunLifecycle(leads=leads)
    for event in events:
        before, was_hurried = lifecycle.state, lifecycle.is_hurried
        lifecycle.apply(event)
        hurries = {
            SignalReceived(): before in (RunState.DRAINING, RunState.CLOSING),
            MasterLost(): before in (RunState.RUNNING, RunState.DRAINING, RunState.CLOSING),
        }
        assert lifecycle.is_hurried == (was_hurried or hurries.get(event, False))


@pytest.mark.parametrize("first", [SignalReceived(), HANG_UP])
def test_a_hang_up_of_a_run_that_ends_does_not_hurry_it(first: SignalReceived) -> None:
    lifecycle = RunLifecycle()
    assert feed_events(lifecycle, [*STARTED, first, HANG_UP, HANG_UP]) == [
        DrainSessions(),
        StopTest(),
    ]

    assert not lifecycle.is_hurried
    lifecycle.apply(SignalReceived())
    assert lifecycle.is_hurried


@given(events=AFTER_SIGN_IN)
def test_a_worker_prints_no_reason_and_stops_its_test_only_on_a_signal(
    events: list[RunEvent],
) -> None:
    lifecycle = RunLifecycle(leads=False)
    for event in events:
        actions = lifecycle.apply(event)
        assert isinstance(event, SignalReceived) or StopTest() not in actions
        assert not [
            action for action in actions if isinstance(action, Say) and "ends early" in action.text
        ]
