"""The stages of a load, and the level of the load at any instant."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.load.planning.load_model import (
    CONSTANT,
    GAMMA,
    ArrivalPattern,
    Arrivals,
    LoadModel,
    head_start,
    load_model_of,
    load_recorded,
    pattern_of,
    with_scenario_defaults,
)
from bench.load.planning.run_options import Options
from bench.load.planning.stages import LoadSchedule, LoadStage, rate_per_s
from tests.load.options import parsed

LEVELS = st.floats(0, 1_000)
COURSES = st.builds(
    LoadSchedule,
    st.just("arrivals"),
    LEVELS,
    st.lists(st.builds(LoadStage, st.floats(0, 100), LEVELS), min_size=1, max_size=6).map(tuple),
)


@pytest.mark.parametrize(
    ("text", "per_s"),
    [
        ("30/min", 0.5),
        ("2/s", 2.0),
        ("90/h", 0.025),
        ("0/s", 0.0),
        ("-1/s", None),
        ("1e3/s", None),
        ("99999/s", None),
        ("٣/s", None),
    ],
)
def test_a_rate_is_parsed_as_calls_per_time(text: str, per_s: float | None) -> None:
    assert rate_per_s(text) == per_s


@given(COURSES, st.floats(0, 700))
def test_the_level_within_a_stage_is_between_its_ends(schedule: LoadSchedule, at_s: float) -> None:
    level = schedule.level(at_s)

    assert 0 <= level <= schedule.peak * (1 + 1e-9)
    for begin_s, duration_s, first, last in schedule.parts():
        if begin_s < at_s < begin_s + duration_s:
            assert min(first, last) * (1 - 1e-9) <= level <= max(first, last) * (1 + 1e-9)


@given(COURSES)
def test_the_level_is_constant_after_the_last_stage(schedule: LoadSchedule) -> None:
    assert schedule.level(schedule.duration_s + 1) == schedule.stages[-1].target


# The load model, from options and from the scenario.


class Caller:
    """A class of users that declares no load."""


class Busy:
    """A class of users that declares its load."""

    arrival_rate = "30/min"
    max_concurrent = 40


class Recorded(Busy):
    arrival_rate = None  # type: ignore[assignment]
    arrival_pattern = "calls.txt"


def load_model(
    *given: str,
    users: int | None = None,
    run_time: int | None = None,
    headless: bool = True,
    classes: Any = (Caller,),
) -> LoadModel:
    options = parsed(*given)
    options.num_users, options.run_time, options.headless = users, run_time, headless
    completed = with_scenario_defaults(options, classes)
    return load_model_of(Options.of(completed), completed, classes)


@pytest.fixture
def stages(tmp_path: Path) -> tuple[str, str]:
    """Write a file with stages of arrival rates, and a file with stages of sessions. Return
    their paths.
    """
    (tmp_path / "rates.yaml").write_text("stages: {duration: 1m, target: 60/min}")
    (tmp_path / "sessions.yaml").write_text("stages: {duration: 1m, target: 30}")
    return str(tmp_path / "rates.yaml"), str(tmp_path / "sessions.yaml")


def test_calls_at_an_arrival_rate_have_one_user_per_slot() -> None:
    arriving = load_model(
        "--arrival-rate",
        "30/min",
        "--max-concurrent",
        "40",
        "--seed",
        "5",
        "--arrival-pattern",
        "gamma:2",
    )

    assert arriving == LoadModel(Arrivals(5, 40, ArrivalPattern("gamma", 2.0), 0.5))
    assert (arriving.users, arriving.duration_s, arriving.changes) == (40, None, False)


def test_calls_arrive_by_stages_or_by_a_file(stages: tuple[str, str], tmp_path: Path) -> None:
    staged = load_model("--stages", stages[0], "--max-concurrent", "4")
    (tmp_path / "calls.txt").write_text("1\n3\n")
    recorded = load_model("--arrival-pattern", str(tmp_path / "calls.txt"), "--max-concurrent", "4")

    assert (staged.duration_s, staged.changes, staged.users) == (60.0, True, 4)
    assert (recorded.duration_s, recorded.changes, recorded.users) == (3.0, False, 4)


def test_stages_of_sessions_set_the_number_of_users(stages: tuple[str, str]) -> None:
    staged = load_model("--stages", stages[1])

    assert staged == LoadModel(schedule=LoadSchedule("sessions", 0.0, (LoadStage(60.0, 30),)))
    assert (staged.users, staged.duration_s, staged.changes) == (30, 60.0, True)


def test_the_option_that_sets_the_concurrency_is_that_of_the_load_model(
    stages: tuple[str, str],
) -> None:
    calls, sessions = stages

    assert load_model().concurrency_option == "--users"
    assert (
        load_model("--arrival-rate", "30/min", "--max-concurrent", "8").concurrency_option
        == "--max-concurrent"
    )
    assert (
        load_model("--stages", calls, "--max-concurrent", "8").concurrency_option
        == "--max-concurrent"
    )
    assert load_model("--stages", sessions).concurrency_option == "--stages"


def test_the_command_line_overrides_the_load_of_a_scenario(stages: tuple[str, str]) -> None:
    from_scenario = load_model(classes=(Busy,)).arrivals
    overruled = load_model(
        "--arrival-rate", "2/s", "--max-concurrent", "5", classes=(Busy,)
    ).arrivals
    staged = load_model("--stages", stages[0], classes=(Busy,)).arrivals

    assert from_scenario is not None
    assert (from_scenario.per_s, from_scenario.slots) == (0.5, 40)
    assert overruled is not None
    assert (overruled.per_s, overruled.slots) == (2.0, 5)
    assert staged is not None
    assert (staged.per_s, staged.slots) == (None, 40)


def test_the_number_of_users_of_the_web_ui_is_the_number_of_slots() -> None:
    arriving = load_model("--arrival-rate", "1/s", users=12, headless=False)

    assert arriving.users == 12


SLOTS = ("--arrival-rate", "1/s", "--max-concurrent", "3")
REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    # (options, in which RATES, SESSIONS and CALLS are files; further arguments; the message)
    (
        ["--arrival-rate", "fast"],
        {},
        "--arrival-rate must be an arrival rate, such as 30/min, 2/s or 100/h, up to 10,000/s",
    ),
    (["--arrival-rate", "0/s"], {}, "--arrival-rate must be an arrival rate"),
    (["--arrival-rate", "1/s"], {}, "need --max-concurrent N"),
    (["--max-concurrent", "3"], {}, "--max-concurrent needs an arrival rate: add --arrival-rate"),
    (
        ["--arrival-pattern", "constant"],
        {},
        "--arrival-pattern needs an arrival rate: add --arrival-rate",
    ),
    (
        ["--arrival-pattern", "nowhere.txt"],
        {},
        "must be poisson, constant, gamma:SHAPE, or a file of instants, but",
    ),
    (
        ["--arrival-rate", "1/s", "--stages", "x.yaml"],
        {},
        "--arrival-rate and --stages both set the rate",
    ),
    (["--stages", "nowhere.yaml"], {}, "nowhere.yaml"),
    (
        ["--arrival-pattern", "CALLS", *SLOTS],
        {},
        "sets the instant of each call: omit --arrival-rate",
    ),
    (
        ["--arrival-pattern", "CALLS", *SLOTS[2:], "--stages", "RATES"],
        {},
        "sets the instant of each call: omit --stages",
    ),
    (
        ["--stages", "SESSIONS"],
        {"run_time": 30},
        "sets the duration of the run, 60 s: omit --run-time",
    ),
    (["--stages", "SESSIONS"], {"users": 7}, "--users 7 contradicts --stages"),
    ([*SLOTS], {"users": 7}, "--users 7 contradicts --max-concurrent 3"),
    ([*SLOTS], {"classes": (Busy, Caller)}, "needs one user class, but there are Busy, Caller"),
    (
        [],
        {"classes": (Busy, type("Slow", (Caller,), {"arrival_rate": "1/min"}))},
        "the user classes have different values of `arrival",
    ),
    ([], {"classes": (Recorded,)}, f"there is no file {Path(__file__).parent / 'calls.txt'}"),
]


@pytest.mark.parametrize(("given", "known", "problem"), REFUSED)
def test_incompatible_options_are_refused_in_one_line(
    stages: tuple[str, str], tmp_path: Path, given: list[str], known: dict[str, Any], problem: str
) -> None:
    (tmp_path / "calls.txt").write_text("1\n")
    files = {"RATES": stages[0], "SESSIONS": stages[1], "CALLS": str(tmp_path / "calls.txt")}
    with pytest.raises(UsageError) as refused:
        load_model(*(files.get(one, one) for one in given), **known)

    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


# The arrival times of calls.


PATTERNS = st.sampled_from(
    [
        ArrivalPattern("poisson"),
        ArrivalPattern(CONSTANT),
        ArrivalPattern(GAMMA, 0.3),
        ArrivalPattern(GAMMA, 7.0),
    ]
)
SHORT = COURSES.filter(lambda schedule: schedule.peak * schedule.duration_s < 5_000)


def arrivals_of(pattern: ArrivalPattern, schedule: LoadSchedule, seed: int = 1) -> list[float]:
    return list(Arrivals(seed, 1, pattern, schedule=schedule).instants_s())


def integral_of_rate(schedule: LoadSchedule, until_s: float) -> float:
    """Return the mean number of calls that arrive from the start of a schedule until an instant."""
    total = 0.0
    for begin_s, duration_s, first, last in schedule.parts():
        passed_s = min(max(0.0, until_s - begin_s), duration_s)
        if passed_s:
            total += passed_s * (first + (last - first) * passed_s / duration_s / 2)
    return total


def test_calls_at_a_constant_rate_are_equally_spaced() -> None:
    arrivals = Arrivals(1, 1, ArrivalPattern(CONSTANT), per_s=0.5)

    assert list(islice(arrivals.instants_s(), 4)) == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("pattern", "variation"),
    [
        (ArrivalPattern("poisson"), 1.0),
        (ArrivalPattern(GAMMA, 4.0), 0.5),
        (ArrivalPattern(GAMMA, 0.25), 2.0),
    ],
)
def test_interarrival_times_have_the_mean_and_variation_of_their_pattern(
    pattern: ArrivalPattern, variation: float
) -> None:
    calls = 40_000
    gaps = np.diff(list(islice(Arrivals(3, 1, pattern, per_s=5.0).instants_s(), calls)))

    assert gaps.mean() == pytest.approx(0.2, rel=4 * variation / math.sqrt(calls))
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first, same, other = (
        list(islice(Arrivals(seed, 9, per_s=1.0).instants_s(), 50)) for seed in (7, 7, 8)
    )

    assert first == same
    assert first != other


@given(PATTERNS, SHORT, st.integers(0, 5))
@example(
    ArrivalPattern("gamma", 0.3),
    LoadSchedule("arrivals", 383.6037414272054, (LoadStage(1.5, 787.2142823092596),)),
    1,
)
def test_arrivals_of_a_schedule_are_ordered_and_within_it(
    pattern: ArrivalPattern, schedule: LoadSchedule, seed: int
) -> None:
    instants = arrivals_of(pattern, schedule, seed)

    assert all(earlier <= later for earlier, later in pairwise(instants))
    assert all(0 <= at_s <= schedule.duration_s for at_s in instants)


@given(SHORT)
def test_a_constant_pattern_follows_the_integral_of_the_rate(schedule: LoadSchedule) -> None:
    """Call n arrives at an instant at which the integral of the rate is n.

    If the rate is zero at this instant, the integral stays n, so the call may arrive at any time
    until the rate rises.
    """
    for number, at_s in enumerate(arrivals_of(ArrivalPattern(CONSTANT), schedule)):
        assert integral_of_rate(schedule, at_s) == pytest.approx(number, abs=1e-3 + 1e-6 * number)


@given(PATTERNS, SHORT, st.integers(1, 7))
def test_processes_share_the_arrivals_evenly(
    pattern: ArrivalPattern, schedule: LoadSchedule, workers: int
) -> None:
    arrivals = Arrivals(1, 1, pattern, schedule=schedule)
    shares = [list(arrivals.share_ns(worker, workers)) for worker in range(workers)]
    whole = [round((head_start(workers) + at_s) * NS_PER_S) for at_s in arrivals.instants_s()]

    assert sorted(at_ns for share in shares for at_ns in share) == whole
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["poisson", "constant", "gamma:0.5"])
def test_the_text_of_a_pattern_is_its_option(text: str) -> None:
    assert str(pattern_of(text)) == text


@pytest.mark.parametrize("text", ["gamma", "gamma:0", "gamma:nan", "gamma:1e9", "gamma:much"])
def test_an_invalid_gamma_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must have a shape from"):
        pattern_of(text)


def test_seconds_in_an_arrivals_file_are_used_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("# calls of a Monday\n\n0.5\n 2\n2\n1e1\n")
    recorded = load_recorded(path)

    assert recorded.instants_s == (0.5, 2.0, 2.0, 10.0)
    assert Arrivals(1, 1, recorded=recorded).duration_s == 10.0
    assert list(Arrivals(1, 1, recorded=recorded).instants_s()) == [0.5, 2.0, 2.0, 10.0]


def test_timestamps_in_an_arrivals_file_count_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "calls.txt"
    path.write_text("2026-11-01T09:00:00.250Z\n2026-11-01T10:00:01+01:00\n2026-11-01 09:01:00\n")

    assert load_recorded(path).instants_s == pytest.approx((0.0, 0.75, 59.75))


@given(st.text(max_size=60))
def test_any_arrivals_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("calls") / "calls.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        instants = load_recorded(path).instants_s
    except UsageError:
        return
    assert all(earlier <= later for earlier, later in pairwise(instants))
    assert instants[0] >= 0


def test_an_unreadable_or_too_large_arrivals_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"calls\.txt cannot be read: No such file"):
        load_recorded(tmp_path / "calls.txt")
    monkeypatch.setattr("bench.load.planning.load_model.MAX_BYTES", 3)
    (tmp_path / "calls.txt").write_text("0\n1\n2\n")
    with pytest.raises(UsageError, match="is larger than"):
        load_recorded(tmp_path / "calls.txt")
