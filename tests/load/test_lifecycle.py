"""Every way in which a run can end: the events and the actions that result. Locust is not
needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.lifecycle import (
    ALL_DONE,
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
    SignalReceived,
    SignInStarted,
    StopRequested,
    StopTest,
    UsersStopped,
    UsersStopping,
)

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
GROUPS: dict[str, Sequence[RunEvent]] = {
    "Started": STARTED,
    "LocustStops": LOCUST_STOPS,
    "Quits": QUITS,
}
KINDS: dict[str, Any] = {each.__name__: each for each in get_args(RunEvent)}


@dataclass
class End:
    """An end of a run: its lines in the table, and True if the process leads the run."""

    leads: bool
    lines: list[str] = field(default_factory=list)


def ends() -> dict[str, End]:
    """Return the ends of the table by name."""
    found, section, name = dict[str, End](), "", ""
    for line in Path(__file__).with_name("ends.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("  "):
            found[name].lines.append(line)
        elif line and not line.startswith("#"):
            name = f"{section}: {line}"
            found[name] = End(section == "leader")
    return found


def events_of(line: str) -> Sequence[RunEvent]:
    """Return the events that a line names. A word in quotes is a text, any other is a flag."""
    kind, *words = re.findall(r'"[^"]*"|\S+', line)
    texts = [word.strip('"') for word in words if word.startswith('"')]
    flags = {word: True for word in words if not word.startswith('"')}
    return GROUPS.get(kind) or [KINDS[kind](*texts, **flags)]


def described(value: Any) -> str:
    """Return an action as the table has it."""
    if not is_dataclass(value):
        return f'"{value}"' if isinstance(value, str) else str(value)
    words = [type(value).__name__]
    for each in fields(value):
        found = getattr(value, each.name)
        if found is True:
            words.append(each.name)
        elif found not in (False, ""):
            words.append(described(found))
    return " ".join(words)


def feed_events(lifecycle: RunLifecycle, events: Sequence[RunEvent]) -> list[RunAction]:
    return [action for event in events for action in lifecycle.apply(event)]


ENDS = ends()


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_each_end_of_a_run_has_its_actions_reason_and_state(end: End) -> None:
    lifecycle, found = RunLifecycle(leads=end.leads), list[str]()
    for line in end.lines:
        if line.startswith("    = "):
            found.append(f'    = {lifecycle.state.name} "{lifecycle.reason}"')
        elif not line.startswith("     "):
            actions = feed_events(lifecycle, events_of(line))
            found += [line, *(f"        {described(action)}" for action in actions)]

    assert found == end.lines


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
