"""The load at which a share of turns crosses its limit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reports.statistics.counting import Flags, Floats
from reports.statistics.crossing import (
    TurnsByLoad,
    crossing_of,
    design_effect,
    is_rarer_at_low_loads,
    joined,
    surely_fails,
)

ALLOWED = 0.05
TURNS_PER_SESSION = 4


def build_turns(load: Floats, violated: Floats | Flags) -> TurnsByLoad:
    session = np.arange(load.size) // TURNS_PER_SESSION
    return TurnsByLoad(
        load, violated.astype(np.float64), np.ones(load.size), session, np.full(load.size, np.nan)
    )


def drawn(share: Callable[[Floats], Floats], top: int, seed: int, turns: int = 400) -> TurnsByLoad:
    """Return turns of a ramp up to `top`, with more turns at higher loads."""
    rng = np.random.default_rng(seed)
    load = np.ceil(top * np.sqrt(rng.random(turns)))
    return build_turns(load, rng.random(turns) < share(load))


SERVICES = {
    "slow": lambda crossing: lambda load: np.minimum(0.9, ALLOWED * (load / crossing) ** 4),
    "very slow": lambda crossing: lambda load: np.minimum(0.9, ALLOWED * (load / crossing) ** 2),
    "abrupt": lambda crossing: lambda load: (load > crossing) * 1.0,
    "abrupt for a third of the turns": lambda crossing: (
        lambda load: np.where(load > crossing, 0.33, 0.01)
    ),
}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("passes", [6, 20])
def test_the_interval_contains_the_crossing_of_slow_and_abrupt_services(
    name: str, passes: int
) -> None:
    """`tools/benchmarks/capacity.py` measures the share of intervals that do."""
    found = crossing_of(drawn(SERVICES[name](passes + 0.5), 2 * passes, 1, 250), ALLOWED)

    assert np.floor(found.low) <= passes <= np.ceil(found.high)


def test_the_crossing_of_an_abrupt_service_is_known_to_a_few_calls() -> None:
    found = crossing_of(drawn(SERVICES["abrupt"](40.5), 80, 1), ALLOWED)

    assert found.low > 37
    assert found.high < 43


def test_without_a_violation_the_crossing_is_above_the_largest_load() -> None:
    found = crossing_of(drawn(np.zeros_like, 50, 1), ALLOWED)

    assert found.below < 0.5
    assert found.high > 50


def test_few_turns_give_a_wide_interval() -> None:
    few, many = (
        crossing_of(drawn(SERVICES["slow"](20.5), 40, 1, turns), ALLOWED) for turns in (40, 800)
    )

    assert few.high / few.low > 1.5 * many.high / many.low


def test_sessions_that_fail_as_a_whole_widen_the_interval() -> None:
    """All turns of every tenth session are slow, at any load: they are one observation, not
    four.
    """
    load = np.repeat(np.arange(1.0, 101.0), TURNS_PER_SESSION)
    whole = np.repeat(np.arange(100) % 10 == 0, TURNS_PER_SESSION)
    spread = np.arange(load.size) % 10 == 0

    assert design_effect(build_turns(load, whole), np.full(load.size, 0.1)) > 2.5
    assert design_effect(build_turns(load, spread), np.full(load.size, 0.1)) == 1


def test_turns_above_any_crossing_count_if_there_are_few_below() -> None:
    load = np.array([1.0, *np.arange(2.0, 40.0)])

    assert crossing_of(build_turns(load, np.ones(load.size)), ALLOWED).high < 2


def test_two_turns_above_the_limit_show_that_p95_fails() -> None:
    assert surely_fails(2, 2, 1, ALLOWED)
    assert not surely_fails(2, 3, 1, ALLOWED)
    assert not surely_fails(1, 1, 1, ALLOWED / 100), "one turn is too few"
    assert not surely_fails(3, 3, 1, 0.5), "three of three turns may be above a median by chance"
    assert surely_fails(8, 8, 8, ALLOWED)
    assert not surely_fails(7, 8, 8, ALLOWED), "eight calls at once count as two turns"


@pytest.mark.parametrize("calls", [1, 2, 8])
@pytest.mark.parametrize(("correlation", "most"), [(0.001, 0.01), (0.3, 0.05)])
def test_a_load_at_its_limit_is_seldom_rejected_even_if_turns_are_alike(
    calls: int, correlation: float, most: float
) -> None:
    """A test after each of 24 turns. Turns that are alike are three of one call, or those of all
    calls at one time.
    """
    rng = np.random.default_rng(1)
    searches, turns = 10_000, 24
    alike = 3 if calls == 1 else calls
    strength = 1 / correlation - 1
    share = rng.beta(
        ALLOWED * strength, (1 - ALLOWED) * strength, (searches, turns // alike)
    ).repeat(alike, 1)
    violated = (rng.random((searches, turns)) < share).cumsum(axis=1)
    rejects = np.array(
        [
            [surely_fails(bad, count, calls, ALLOWED) for bad in range(turns + 1)]
            for count in range(1, turns + 1)
        ]
    )

    assert rejects[np.arange(turns), violated].any(axis=1).mean() < most


@pytest.mark.parametrize("endless", [0.0, 0.5])
def test_turns_in_progress_do_not_make_a_load_at_its_limit_fail_more_often(endless: float) -> None:
    """Two calls, analysed twice a second. Until a turn has waited for longer than the limit, its
    result is unknown; some of the turns that violate the limit fail at once. The order of the
    results is not that of the turns, but all turns that started count.
    """
    rng = np.random.default_rng(1)
    searches, turns, limit_s, rejected = 2_000, 24, 3.0, 0
    for _ in range(searches):
        start_s = np.sort(rng.uniform(0, 5 * turns, turns))
        violates = rng.random(turns) < ALLOWED
        known_s = start_s + np.where(violates, limit_s, rng.uniform(0, limit_s, turns))
        known_s[violates & (rng.random(turns) < endless)] -= limit_s
        rejected += any(
            surely_fails((violates & (known_s <= at_s)).sum(), (start_s <= at_s).sum(), 2, ALLOWED)
            for at_s in np.unique(np.concatenate([start_s, known_s]))
        )

    assert rejected / searches < 0.01


def test_sessions_of_two_runs_stay_apart() -> None:
    one = build_turns(np.ones(8), np.zeros(8))

    assert joined([one, one]).session.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert joined([]).n == 0


def test_failures_at_all_loads_are_told_from_those_that_the_load_causes() -> None:
    """Failures that do not depend on the load look as if they did in 5 % of ramps."""
    of_load = SERVICES["slow"](12.0)
    steady = [drawn(lambda load: 0.12 + 0 * load, 24, seed, 80) for seed in range(400)]
    caused = [drawn(of_load, 24, seed, 80) for seed in range(400)]

    def shown(runs: list[TurnsByLoad]) -> float:
        return float(np.mean([is_rarer_at_low_loads(turns, turns.violated) for turns in runs]))

    assert shown(steady) < 0.08
    assert shown(caused) > 0.95
