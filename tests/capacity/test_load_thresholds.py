"""The thresholds of a search, and the evaluation of a level against them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from reports.results.value import Reason
from reports.statistics.rates import PerCluster
from rtbench.capacity.load_thresholds import (
    ShareBounds,
    allowed_share,
    analysis_result,
    is_futile,
    too_few,
    violation_share,
)
from tests.capacity.built import threshold_of
from tests.examples import some, trials


@pytest.mark.parametrize(
    ("text", "metric", "allowed"),
    [
        ("ttfa: p(95)<800", "ttfa", 0.05),
        ("ttfa{step:greeting}: p(99) < 1.2s", "ttfa", 0.01),
        ("voice_to_voice: med<900ms", "voice_to_voice", 0.5),
        ("audio_speed: p(5)>1.2", "audio_speed", 0.05),
        ("connect_total: p(95)<500", "connect_total", 0.05),
        ("failure_rate: rate<1%", "failure_rate", 0.01),
        ("failure_rate: rate<0.02", "failure_rate", 0.02),
        ("throttle_rate: rate<0.5%", "throttle_rate", 0.005),
        ("yield_rate: rate>90%", "yield_rate", 0.1),
        ("cut_off_rate: rate<2%", "cut_off_rate", 0.02),
        ("ttfa{turn_type:function_calls}: p(95)<4000", "ttfa", 0.05),
    ],
)
def test_a_threshold_allows_a_share_of_violations(text: str, metric: str, allowed: float) -> None:
    threshold = threshold_of(text)

    assert threshold.metric == metric
    assert allowed_share(threshold) == pytest.approx(allowed)
    assert threshold.source_text == text


ERROR = 0.02
BOUNDS = ShareBounds(ERROR, callers=10)
SEARCHES = trials(500, 1500)


def sessions(missed: list[int], turns: int = 5) -> PerCluster:
    return np.array(missed, dtype=float), np.full(len(missed), float(turns))


def random_sessions(
    rng: np.random.Generator, p: float, count: int, alike: float = 0.2, turns: int = 5
) -> PerCluster:
    """Return sessions of correlated turns. Each turn violates the threshold with probability
    `p`.
    """
    weight = 1 / alike - 1
    return sessions(list(rng.binomial(turns, rng.beta(p * weight, (1 - p) * weight, count))), turns)


@pytest.mark.parametrize(
    ("missed", "answer"),
    [
        ([0] * 200, "pass"),
        ([5] * 20, "fail"),
        ([0] * 30, "inconclusive"),
        ([5] * 19, "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_the_result_of_a_level_follows_from_its_sessions(missed: list[int], answer: str) -> None:
    seen = sessions(missed)

    assert analysis_result([seen], [seen], [0.05], BOUNDS) == answer


def test_the_upper_bound_is_1_if_all_sessions_violate_the_threshold() -> None:
    seen = sessions([5] * 30)
    share = violation_share("west", seen, BOUNDS)

    assert (share.low, share.high) == (pytest.approx(ERROR ** (1 / 30)), 1.0)
    assert analysis_result([seen], [seen], [0.9], BOUNDS) == "inconclusive"


@pytest.mark.parametrize("count", [2, 7, 21])
def test_a_share_of_few_sessions_has_bounds_and_is_inconclusive(count: int) -> None:
    lengths = np.array([1.0] * (count // 2) + [5.0] * (count - count // 2))
    none, all_ = (np.zeros(count), lengths), (lengths, lengths)
    clean, missed = (
        violation_share("west", none, BOUNDS),
        violation_share("west", all_, BOUNDS),
    )

    assert 0 == clean.low < clean.high < 1
    assert clean.high == pytest.approx(1 - ERROR ** (lengths.max() / lengths.sum()))
    assert 0 < missed.low < missed.high == 1
    assert analysis_result([none], [none], [0.999], BOUNDS) == "inconclusive"
    assert analysis_result([all_], [all_], [1e-9], BOUNDS) == "inconclusive"


def test_a_level_of_too_few_calls_has_a_reason_with_their_effective_number() -> None:
    unequal = np.zeros(21), np.array([1.0] * 10 + [5.0] * 11)

    reason = too_few(unequal)
    assert too_few(sessions([0] * 12)) == Reason(
        "too_few", {"unit": "session", "needed": 20, "there": [12]}
    )
    assert reason is not None
    assert (reason.code, reason.there, round(reason.numbers["effective_sessions"])) == (
        "unequal",
        21,
        15,
    )
    assert too_few(sessions([0] * 20)) is None


def test_a_level_passes_only_if_all_thresholds_pass_and_fails_if_one_fails() -> None:
    good, bad, few = sessions([0] * 300), sessions([5] * 300), sessions([0] * 10)
    both = BOUNDS._replace(thresholds=2)
    cases = {"pass": [good, good], "inconclusive": [good, few], "fail": [few, bad]}

    for answer, seen in cases.items():
        assert analysis_result(seen, seen, [0.05, 0.05], both) == answer


def test_turns_of_incomplete_sessions_can_fail_a_level_but_not_pass_it() -> None:
    good, few, bad = sessions([0] * 300), sessions([0] * 3), sessions([5] * 30)

    assert analysis_result([few], [good], [0.05], BOUNDS) == "inconclusive"
    assert analysis_result([few], [bad], [0.05], BOUNDS) == "fail"


@pytest.mark.parametrize(
    ("p", "count"), some(list(itertools.product((0.01, 0.05, 0.5), (20, 80, 300))), 5)
)
def test_the_error_rate_of_either_bound_at_the_true_share_is_at_most_the_error(
    p: float, count: int
) -> None:
    rng = np.random.default_rng(7)
    shares = [
        violation_share("west", random_sessions(rng, p, count), BOUNDS) for _ in range(SEARCHES)
    ]
    tolerated = ERROR + 3 * np.sqrt(ERROR * (1 - ERROR) / SEARCHES)

    assert np.mean([share.high < p for share in shares]) <= tolerated
    assert np.mean([share.low > p for share in shares]) <= tolerated


FUTILE: dict[str, tuple[list[int], float, bool]] = {
    # (violations in each session, callers, whether the level is given up after a quarter of its
    # time)
    "a level that can still pass continues": ([0] * 60, 1, False),
    "a level that can hardly pass ends": ([0] * 6, 1, True),
    "a level that may still fail continues": ([5, 0, 5, 5, 0, 0] * 2, 1, False),
    "a level without sessions continues": ([], 1, False),
    "a level ends after one session per caller": ([0] * 6, 6, True),
    "a level does not end before one session per caller": ([0] * 6, 7, False),
}


@pytest.mark.parametrize(("missed", "callers", "given_up"), FUTILE.values(), ids=FUTILE)
def test_a_level_is_futile_if_more_time_cannot_decide_it(
    missed: list[int], callers: float, given_up: bool
) -> None:
    """All sessions in this test are complete."""
    seen = sessions(missed)

    assert is_futile([seen], [seen], [0.05], 0.25, ShareBounds(ERROR, callers)) is given_up


def test_the_interval_covers_the_true_share_if_violations_come_in_bursts() -> None:
    """Near saturation, violations come in bursts.

    Neighbouring sessions are then correlated, but the turns of a session are not.
    """
    rng, callers, bursts = np.random.default_rng(3), 10, 60
    wrong = 0
    for _ in range(SEARCHES // 5):
        bad = np.repeat(rng.random(bursts) < 0.3, callers)
        seen = sessions(list(rng.binomial(5, np.where(bad, 0.6, 0.02))))
        share = violation_share("west", seen, ShareBounds(ERROR, callers))
        wrong += not share.low <= 0.3 * 0.6 + 0.7 * 0.02 <= share.high

    assert wrong / (SEARCHES // 5) <= 4 * ERROR
