"""The texts of a search: its opening, its curve, and its answer."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest

from bench.base.standard_streams import StatusLine
from reports.formatting import NBSP
from reports.statistics.crossing import Crossing, TurnsByLoad
from rtbench.capacity.ramp import Estimate, answer
from rtbench.capacity.terminal import AGAIN, Curve, opening
from rtbench.capacity.text import reason_text
from tests.capacity.built import build_plan, threshold_of

THRESHOLD = "ttfa: p(95)<800"
LIMITED = {"title": "p95 of ttfa", "limit": "800 ms"}
VAD = {"name": "end-of-turn detection (VAD)", "mean_ms": 573.0, "silence_ms": 500}


def text_of(crossing: Crossing, top: int, **about: Any) -> str:
    return reason_text(answer(Estimate(THRESHOLD, crossing, top), LIMITED | about)).replace(
        NBSP, " "
    )


def test_the_answer_has_its_range_and_the_largest_part_of_the_latency() -> None:
    assert (
        text_of(Crossing(18.2, 14.4, 22.6, 1.0), 40, part=VAD)
        == "p95 of ttfa crosses 800 ms at about 18 concurrent calls (95 % interval 14 to 23); 573"
        " ms of it are end-of-turn detection (VAD) (silence_duration_ms: 500)"
    )
    assert text_of(Crossing(18.2, 14.4, 52.6, 0.8), 40).endswith(
        "at about 18 concurrent calls (95 % interval 14 to more than 40)"
    )


def test_a_threshold_that_holds_has_no_breaking_point() -> None:
    assert (
        text_of(Crossing(70.0, 44.0, 80.0, 0.1), 40)
        == "p95 of ttfa did not cross 800 ms up to 40 concurrent calls"
    )
    assert text_of(Crossing(50.0, 31.0, 80.0, 0.3), 40).endswith(
        "; with so few turns it is known to hold up to 31 only: a longer --max-time shows more"
    )
    assert text_of(Crossing(6.0, 0.7, 10.0, 0.3), 5).endswith(
        "up to 5 concurrent calls; with so few turns it is not known to hold for even 1: a longer"
        " --max-time shows more"
    )


@pytest.mark.parametrize(
    ("first", "about", "text"),
    [
        (
            1,
            {"part": VAD},
            "1 concurrent call: all 3 turns (1.08 s or more) violate ttfa: p(95)<800; 573 ms of it"
            " are end-of-turn detection (VAD) (silence_duration_ms: 500); no load can pass: choose"
            " another limit, or a script without VAD",
        ),
        (
            2,
            {"failed": "timeout:first_delta"},
            "2 concurrent calls: all 3 turns (1.08 s or more) violate ttfa: p(95)<800; calls fail:"
            " timeout:first_delta; no load of 2 or more can pass: choose another limit; `--from 1`"
            " tries one call alone",
        ),
    ],
)
def test_a_first_load_that_is_too_slow_ends_the_search_with_a_cause_and_a_remedy(
    first: int, about: dict[str, Any], text: str
) -> None:
    at_first = {"turns": 3, "violated": 3, "fastest_ms": 1080.0}

    assert text_of(Crossing(0.0, 0.0, first, 1.0), first, at_first=at_first, **about) == text


def test_refused_calls_are_the_cause_in_the_words_of_the_service() -> None:
    assert text_of(Crossing(6.1, 5.2, 6.9, 1.0), 12, failed="connect_failed:503: full").endswith(
        "(95 % interval 5 to 7); above it, calls fail: connect_failed:503: full"
    )


def test_turns_that_fail_at_low_loads_too_are_not_the_effect_of_the_load() -> None:
    always = {"failed": 9, "turns": 73, "p": 0.83}
    about = {"failed": "cancelled:turn_detected", "at_all_loads": always}

    assert text_of(Crossing(1.4, 0.3, 8.0, 1.0), 6, **about).endswith(
        "; 9 of 73 turns fail, as often at low loads: cancelled:turn_detected; p(83) permits them"
    )


def curve_of(threshold: str) -> tuple[Curve, list[str]]:
    """Return a curve, and the lines that it prints."""
    lines = list[str]()
    return Curve(threshold_of(threshold), StatusLine(io.StringIO(), {}), lines.append), lines


def build_turns(loads: list[float], each: int, ms_per_call: float = 400.0) -> TurnsByLoad:
    """Return `each` turns at each load, with a value that is proportional to the load."""
    load = np.repeat(np.array(loads), each)
    value = ms_per_call * load
    ones = np.ones(load.size)
    return TurnsByLoad(load, np.where(value >= 800, 1.0, 0.0), ones, np.arange(load.size), value)


def test_a_line_of_the_curve_is_printed_when_its_loads_are_passed() -> None:
    curve, lines = curve_of(THRESHOLD)
    turns = build_turns([1.0, 2.0, 3.0], 12)

    curve.show([turns], [0.05], 3.0)
    assert [line.split()[:5] for line in lines[1:]] == [
        ["1", "12", "400", "–", "0"],
        ["2", "12", "800", "–", "12"],
    ]
    curve.show([turns], [0.05], math.inf)
    assert lines[-1].split()[:2] == ["3", "12"]
    assert len(lines) == 4, "a line is printed once"


def test_the_curve_prints_a_percentile_only_if_a_report_would() -> None:
    curve, lines = curve_of(THRESHOLD)
    curve.show([build_turns([1.0], 1)], [0.05], math.inf)
    curve.show([build_turns([1.0], 200)], [0.05], math.inf)

    assert [line.split()[1:4] for line in lines if "0 of" in line] == [
        ["1", "–", "–"],
        ["200", "400", "400"],
    ]


def test_each_turn_is_a_dot_before_or_after_the_limit() -> None:
    curve, lines = curve_of(THRESHOLD)
    turns = build_turns([1.0], 4)
    turns.value[:] = [200.0, 400.0, 800.0, math.inf]
    curve.show([turns], [0.05], math.inf)

    assert lines[-1].endswith("         ●     ●           │●          ●")
    curve, lines = curve_of("failure_rate: rate<5%")
    turns.value[:] = math.nan
    curve.show([turns], [0.05], math.inf)
    assert lines[-1].endswith("0 of 4"), "a rate has no values"
    curve, lines = curve_of("ttfa: within(800)>95%")
    turns.value[:] = 200.0
    curve.show([turns], [0.05], math.inf)
    assert lines[-1].endswith("0 of 4"), "its limit is no latency"


def test_the_second_ramp_is_announced_and_printed_from_its_first_load_on() -> None:
    curve, lines = curve_of(THRESHOLD)
    curve.show([build_turns([1.0, 2.0, 3.0], 4)], [0.05], math.inf)
    curve.show([build_turns([1.0, 2.0, 3.0], 5)], [0.05], 2.0)
    curve.show([build_turns([1.0, 2.0, 3.0], 6)], [0.05], math.inf)

    assert lines[4] == AGAIN
    assert [line.split()[:2] for line in lines[1:] if line != AGAIN] == [
        ["1", "4"],
        ["2", "4"],
        ["3", "4"],
        ["2", "6"],
        ["3", "6"],
    ]


def test_the_opening_states_the_largest_load_and_the_time() -> None:
    first, *_, last = opening(build_plan(time_s=180.0), "runs/found", ["a session costs 0.10 USD"])

    assert first.startswith("ramps up from 1 to at most 256 concurrent calls, in at most 3 min")
    assert last == "the report will be runs/found/capacity.html"


@pytest.mark.parametrize(
    ("required", "levels"), [(None, "up to 3 levels at its ends"), (300, "a level of 300")]
)
def test_the_opening_states_the_levels_with_their_time_and_their_error(
    required: int | None, levels: str
) -> None:
    plan = build_plan(verify=True, required=required)
    lines = opening(plan, "runs/found", [])[:-1]

    assert " ".join(" ".join(lines).split()).endswith(
        f"then verifies it by {levels}, of 27 s or more, in at most 30 min altogether; any of their"
        " results is wrong in at most 5% of searches"
    )
    assert max(map(len, lines)) <= 100
