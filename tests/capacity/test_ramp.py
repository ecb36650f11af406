"""The ramps of a search, and its answer."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.planning.stages import load_schedule
from reports.statistics.crossing import Crossing, TurnsByLoad
from rtbench.capacity.ramp import (
    Estimate,
    Ramp,
    bands,
    estimate_of,
    fails_at_first,
    first_ramp,
    is_crossed,
    lowest,
    ramps_s,
    second_ramp,
)
from tests.capacity.built import build_plan

ALLOWED = 0.05


def build_turns(loads: list[int], first_bad: float) -> TurnsByLoad:
    """Return five turns at each load. Those at `first_bad` or above violate the threshold."""
    load = np.repeat(np.array(loads, dtype=np.float64), 5)
    bad = (load >= first_bad).astype(np.float64)
    return TurnsByLoad(
        load, bad, np.ones(load.size), np.arange(load.size), np.full(load.size, 100.0)
    )


@pytest.mark.parametrize(
    ("verify", "time_s", "of_ramps_s"),
    [(False, 600.0, 600.0), (True, 1800.0, 180.0), (True, 300.0, 150.0)],
)
def test_the_ramps_have_the_time_that_the_levels_leave(
    verify: bool, time_s: float, of_ramps_s: float
) -> None:
    assert ramps_s(build_plan(time_s=time_s, verify=verify)) == of_ramps_s


def test_the_first_ramp_stays_at_the_first_load_for_a_call() -> None:
    assert [first_ramp(1, 256, 180, call_s).stages[0] for call_s in (1, 16, 600)] == [
        (10, 1),
        (24, 1),
        (30, 1),
    ]


@pytest.mark.parametrize(("first", "top"), [(1, 256), (1, 1), (8, 50)])
def test_the_first_ramp_is_a_schedule_up_to_the_largest_load_in_half_of_the_time(
    first: int, top: int, tmp_path: object
) -> None:
    ramp = first_ramp(first, top, 180, 12)

    assert ramp.stages[0][1] == first, "it stays at the first load"
    assert (ramp.top, ramp.duration_s <= 90.1) == (top, True)


def test_a_ramp_is_read_as_the_stages_of_a_run(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "ramp.yaml"
    file.write_text(Ramp(3, ((10.0, 3), (20.5, 9))).yaml)
    schedule = load_schedule(file)

    assert (schedule.kind, schedule.start, schedule.peak, schedule.duration_s) == (
        "sessions",
        3,
        9,
        30.5,
    )


def test_the_second_ramp_goes_through_the_interval_in_the_time_that_is_left() -> None:
    ramp = second_ramp(Crossing(18, 14, 23, 1.0), 256, 60)

    assert ramp == Ramp(12, ((3.0, 12), (57.0, 27)))
    assert second_ramp(Crossing(18, 14, 23, 1.0), 20, 60) == Ramp(12, ((3.0, 12), (57.0, 20)))
    assert second_ramp(Crossing(18, 14, 23, 1.0), 256, 10) is None


def test_the_second_ramp_goes_below_the_first_load_if_the_interval_does() -> None:
    assert second_ramp(Crossing(1.8, 0.6, 3.0, 1.0), 256, 60) == Ramp(1, ((3.0, 1), (57.0, 4)))


def test_the_first_ramp_ends_when_the_threshold_is_surely_crossed() -> None:
    assert not is_crossed(build_turns(list(range(1, 30)), 99), 1, ALLOWED)
    assert not is_crossed(build_turns(list(range(1, 21)), 20), 1, ALLOWED), "it is just reached"
    assert is_crossed(build_turns(list(range(1, 30)), 20), 1, ALLOWED)
    assert not is_crossed(build_turns([1, 2], 1), 2, ALLOWED), "the first load has its own rule"


@pytest.mark.parametrize("first", [1, 2, 8])
def test_callers_at_the_first_load_who_wait_too_long_show_that_no_load_above_passes(
    first: int,
) -> None:
    found = estimate_of("", [build_turns([first] * 2, 1)], first, ALLOWED)

    assert found is not None
    assert (found.fails_at_first, found.low, found.high) == (True, 0, first)
    assert not fails_at_first(build_turns([first, first + 1], first + 1), first, ALLOWED)


def test_the_answer_is_the_threshold_that_is_crossed_first() -> None:
    slow, quick = (
        estimate_of(str(at), [build_turns(list(range(1, 40)), at)], 1, ALLOWED) for at in (20, 10)
    )
    assert slow is not None
    assert quick is not None
    assert lowest([slow, quick]) == quick
    assert (quick.low <= 9 <= (quick.high or 0), quick.is_crossed) == (True, True)


def test_uncertain_timestamps_widen_the_interval() -> None:
    measured, better, worse = (build_turns(list(range(1, 40)), at) for at in (20, 24, 16))
    narrow, wide = (
        estimate_of("", turns, 1, ALLOWED) for turns in ([measured], [measured, better, worse])
    )
    assert narrow is not None
    assert wide is not None
    assert (wide.low <= 16 < narrow.low, (narrow.high or 0) < 24 <= (wide.high or 0)) == (
        True,
        True,
    )


def test_an_upper_end_above_the_largest_load_is_unknown() -> None:
    assert Estimate("", Crossing(18, 14, 23, 0.6), 20).high is None
    assert Estimate("", Crossing(18, 14, 19.2, 1), 20).high == 20


def test_bands_of_loads_are_two_in_each_doubling() -> None:
    names = [band.name for band in bands(build_turns(list(range(1, 25)), 99))]

    assert names == ["1", "2", "3", "4", "5–6", "7–8", "9–12", "13–16", "17–24"]
