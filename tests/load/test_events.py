"""`--event`: what is read, and what is refused."""

from __future__ import annotations

import pytest

from bench.base.errors import UsageError
from bench.load.events.planned import EventPlan, check_times, planned_events


def test_events_are_read_in_the_order_of_their_times() -> None:
    assert planned_events(["failover@2m: az x --slot a:b ", "deploy @ 90"]) == (
        EventPlan("deploy", 90.0),
        EventPlan("failover", 120.0, "az x --slot a:b"),
    )
    assert planned_events(None) == ()


def test_a_command_is_not_in_the_public_form_of_an_event() -> None:
    (event,) = planned_events(["deploy@1m30s: curl -H s3cr3t"])

    assert event.public_text == "deploy@90s: COMMAND"


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["deploy"], "must be NAME@TIME"),
        (["deploy@60s:"], "must be NAME@TIME"),
        (["@60s"], "needs a name"),
        (["before@60s"], "not before"),
        (["a b@60s"], "needs a name"),
        (["deploy@soon"], "is not at a time such as"),
        (["deploy@0"], "is not at a time such as"),
        (["a@60s", "b@1m"], "a and b are both at 60 s"),
        (["a@60s", "a@70s"], "two events are named a"),
    ],
)
def test_wrong_events_are_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        planned_events(texts)


@pytest.mark.parametrize(
    ("warmup_s", "run_time_s", "problem"),
    [(60.0, None, "is in the warm-up of 60 s"), (0.0, 60.0, "ends after 60 s")],
)
def test_an_event_outside_of_the_measured_time_is_refused(
    warmup_s: float, run_time_s: float | None, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        check_times([EventPlan("deploy", 60.0)], warmup_s, run_time_s)
