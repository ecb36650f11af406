"""Contradictions between levels."""

from __future__ import annotations

import numpy as np
import pytest

from reports.formatting import NBSP
from reports.results.value import Result
from rtbench.capacity.conclusion import contradiction_of
from rtbench.capacity.search import LevelEntry
from rtbench.capacity.text import reason_text
from tests.capacity.models import (
    ModelService,
    PhasedService,
    build_level,
    build_plan,
    build_share,
    searched,
)
from tests.examples import trials

SEEDS = trials(20, 40)


def level(
    load: int, missed: float, turns: int = 1000, answer: Result = "inconclusive"
) -> LevelEntry:
    return build_level(load, answer, violations=[build_share(missed, turns=turns)])


def square(load: int) -> float:
    return min(0.9, 0.05 * (load / 40.5) ** 2)


def test_levels_without_a_share_have_no_contradiction() -> None:
    for levels in ([], [build_level(4, "not_evaluated"), build_level(8, "inconclusive")]):
        assert contradiction_of(levels) is None


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([level(8, 0.01), level(16, 0.02), level(32, 0.3)], None),
        ([level(8, 0.03), level(16, 0.02)], None),
        (
            [level(8, 0.2), level(16, 0.02)],
            "20 % of 1,000 turns at 8 and 2 % of 1,000 turns at 16 violated",
        ),
        (
            [level(16, 0.02), level(8, 0.2)],
            "20 % of 1,000 turns at 8 and 2 % of 1,000 turns at 16 violated",
        ),
        (
            [level(16, 0.02), level(16, 0.2)],
            "20 % of 1,000 turns at 16 and 2 % of 1,000 turns at 16 violated",
        ),
        (
            [level(16, 0.2), level(16, 0.02)],
            "20 % of 1,000 turns at 16 and 2 % of 1,000 turns at 16 violated",
        ),
        ([level(8, 0.2, turns=10), level(16, 0.02, turns=20)], None),
        ([level(8, 0.2), level(16, 0.02, answer="not_evaluated")], None),
    ],
)
def test_levels_contradict_each_other_if_the_lower_load_missed_significantly_more(
    levels: list[LevelEntry], words: str | None
) -> None:
    found = contradiction_of(levels)

    assert (
        found is None if words is None else reason_text(found).replace(NBSP, " ").startswith(words)
    )


def test_correlated_turns_make_a_contradiction_less_likely() -> None:
    shares = [build_share(missed, turns=1000, deff=40.0) for missed in (0.06, 0.02)]

    assert contradiction_of([level(8, 0.06), level(16, 0.02)])
    assert not contradiction_of(
        [
            build_level(load, "fail", violations=[share])
            for load, share in zip((8, 16), shares, strict=True)
        ]
    )


def test_a_service_with_slow_minutes_gives_contradictions() -> None:
    plan = build_plan()
    found = [
        contradiction_of(searched(plan, PhasedService(square, 1.0, 300.0), seed))
        for seed in range(SEEDS)
    ]

    assert np.mean([words is not None for words in found]) > 0.6


def test_levels_of_a_constant_service_rarely_contradict_each_other() -> None:
    plan = build_plan()
    found = [
        contradiction_of(searched(plan, ModelService(square, alike=0.5), seed))
        for seed in range(SEEDS)
    ]

    assert np.mean([words is None for words in found]) > 0.9
