"""What asks for sessions, by options and by the scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.load.planning.load_model import CLOSED_LOOP, Arrivals, LoadModel, Pattern, asked, load_model_of
from bench.load.planning.run_options import Options
from bench.load.planning.stages import LoadCourse, LoadStage
from tests.load.test_run_options import parsed


class Caller:
    """A class of users."""


class Busy:
    """One whose scenario says what load it is made for."""

    arrival_rate = "30/min"
    max_concurrent = 40


class Recorded(Busy):
    arrival_rate = None  # type: ignore[assignment]
    arrival_pattern = "calls.txt"


def load_model(
    *given: str, users: int | None = None, run_time: int | None = None, headless: bool = True, classes: Any = (Caller,)
) -> LoadModel:
    options = parsed(*given)
    options.num_users, options.run_time, options.headless = users, run_time, headless
    completed = asked(options, classes)
    return load_model_of(Options.of(completed), completed, classes)


@pytest.fixture
def stages(tmp_path: Path) -> tuple[str, str]:
    """Files with stages of rates, and of sessions."""
    (tmp_path / "rates.yaml").write_text("stages: {duration: 1m, target: 60/min}")
    (tmp_path / "sessions.yaml").write_text("stages: {duration: 1m, target: 30}")
    return str(tmp_path / "rates.yaml"), str(tmp_path / "sessions.yaml")


def test_users_call_again_and_again_unless_something_else_is_said() -> None:
    assert load_model("--sessions", "9") == CLOSED_LOOP
    assert (CLOSED_LOOP.users, CLOSED_LOOP.length_s, CLOSED_LOOP.changes) == (None, None, False)


def test_calls_arrive_at_a_rate_for_as_many_users_as_there_are_slots() -> None:
    arriving = load_model(
        "--arrival-rate", "30/min", "--max-concurrent", "40", "--seed", "5", "--arrival-pattern", "gamma:2"
    )

    assert arriving == LoadModel(Arrivals(5, 40, Pattern("gamma", 2.0), 0.5))
    assert (arriving.users, arriving.length_s, arriving.changes) == (40, None, False)


def test_calls_arrive_by_stages_or_by_a_file(stages: tuple[str, str], tmp_path: Path) -> None:
    staged = load_model("--stages", stages[0], "--max-concurrent", "4")
    (tmp_path / "calls.txt").write_text("1\n3\n")
    recorded = load_model("--arrival-pattern", str(tmp_path / "calls.txt"), "--max-concurrent", "4")

    assert (staged.length_s, staged.changes, staged.users) == (60.0, True, 4)
    assert (recorded.length_s, recorded.changes, recorded.users) == (3.0, False, 4)


def test_stages_of_sessions_say_how_many_users_there_are(stages: tuple[str, str]) -> None:
    staged = load_model("--stages", stages[1])

    assert staged == LoadModel(course=LoadCourse("sessions", 0.0, (LoadStage(60.0, 30),)))
    assert (staged.users, staged.length_s, staged.changes) == (30, 60.0, True)


def test_a_scenario_says_what_load_it_is_made_for_and_the_command_line_wins(stages: tuple[str, str]) -> None:
    said = load_model(classes=(Busy,)).arrivals
    overruled = load_model("--arrival-rate", "2/s", "--max-concurrent", "5", classes=(Busy,)).arrivals
    staged = load_model("--stages", stages[0], classes=(Busy,)).arrivals

    assert said is not None
    assert (said.per_s, said.slots) == (0.5, 40)
    assert overruled is not None
    assert (overruled.per_s, overruled.slots) == (2.0, 5)
    assert staged is not None
    assert (staged.per_s, staged.slots) == (None, 40)


def test_in_the_web_ui_the_number_of_users_is_that_of_slots() -> None:
    arriving = load_model("--arrival-rate", "1/s", users=12, headless=False)

    assert arriving.users == 12


SLOTS = ("--arrival-rate", "1/s", "--max-concurrent", "3")
REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    # (options, in which RATES, SESSIONS and CALLS are files; what else is known; what is said)
    (["--arrival-rate", "fast"], {},
     "--arrival-rate must be calls in a time, such as 30/min, 2/s or 100/h, up to 10,000/s"),
    (["--arrival-rate", "0/s"], {}, "--arrival-rate must be calls in a time"),
    (["--arrival-rate", "1/s"], {}, "need --max-concurrent N"),
    (["--max-concurrent", "3"], {}, "--max-concurrent needs an arrival rate: add --arrival-rate"),
    (["--arrival-pattern", "constant"], {}, "--arrival-pattern needs an arrival rate: add --arrival-rate"),
    (["--arrival-pattern", "nowhere.txt"], {}, "must be poisson, constant, gamma:SHAPE, or a file of instants, and"),
    (["--arrival-rate", "1/s", "--stages", "x.yaml"], {}, "--arrival-rate and --stages both set the rate"),
    (["--stages", "nowhere.yaml"], {}, "nowhere.yaml"),
    (["--arrival-pattern", "CALLS", *SLOTS], {}, "says when each call arrives: leave --arrival-rate out"),
    (["--arrival-pattern", "CALLS", *SLOTS[2:], "--stages", "RATES"], {},
     "says when each call arrives: leave --stages out"),
    (["--stages", "SESSIONS"], {"run_time": 30}, "says how long the run lasts, 60 s: leave --run-time out"),
    (["--stages", "SESSIONS"], {"users": 7}, "--users 7 contradicts --stages"),
    ([*SLOTS], {"users": 7}, "--users 7 contradicts --max-concurrent 3"),
    ([*SLOTS], {"classes": (Busy, Caller)}, "need one class of users, and these are Busy, Caller"),
    ([], {"classes": (Busy, type("Slow", (Caller,), {"arrival_rate": "1/min"}))},
     "classes of users have different `arrival"),
    ([], {"classes": (Recorded,)}, f"there is no file {Path(__file__).parent / 'calls.txt'}"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "known", "problem"), REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(
    stages: tuple[str, str], tmp_path: Path, given: list[str], known: dict[str, Any], problem: str
) -> None:
    (tmp_path / "calls.txt").write_text("1\n")
    files = {"RATES": stages[0], "SESSIONS": stages[1], "CALLS": str(tmp_path / "calls.txt")}
    with pytest.raises(UsageError) as refused:
        load_model(*(files.get(one, one) for one in given), **known)

    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
