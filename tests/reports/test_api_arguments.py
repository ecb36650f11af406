"""What users give to the functions of `rtbench`, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rtbench
from bench.errors import UsageError
from tests.reports import synthetic
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two targets in pairs."""
    plan = Plan(sessions=80, turns=4, targets=("a", "b"), paired=True, failed=0.03)
    return synthetic.write(tmp_path_factory.mktemp("pair") / "run", plan, interleaved=True)


def small_sample() -> rtbench.Sample:
    return rtbench.Sample(np.arange(400.0), np.arange(400) % 40)


@pytest.mark.parametrize("confidence", [0.05, 0.5, 1.0, float("nan"), 95])
def test_a_comparison_refuses_a_confidence_that_a_verdict_cannot_have(pair: Path, confidence: float) -> None:
    with pytest.raises(UsageError, match=r"^confidence lies between 0\.5 and 1, such as 0\.95, not "):
        rtbench.compare(pair, confidence=confidence)


@pytest.mark.parametrize(("ps", "confidence"), [([0.95], 95), ([0.95], 0.0), ([95], 0.9), ([0.5, 1.0], 0.9)])
def test_estimates_refuse_what_is_no_share(ps: list[float], confidence: float) -> None:
    sample = small_sample()
    with pytest.raises(UsageError, match=r"^quantiles and their confidence lie between 0 and 1, such as 0\.95, not "):
        rtbench.estimates(sample, ps, confidence=confidence)


def test_a_higher_confidence_makes_wider_intervals_everywhere(pair: Path) -> None:
    narrow, wide = (rtbench.estimates(small_sample(), [0.5], confidence=one)[0] for one in (0.9, 0.99))
    less, more = (rtbench.compare(pair, confidence=one).to_frame().set_index(["figure", "step"]) for one in (0.9, 0.99))

    assert wide.low < narrow.low <= narrow.value <= narrow.high < wide.high
    both = less["low"].notna() & more["low"].notna()
    assert both.any()
    assert (more["low"][both] <= less["low"][both]).all()
    assert (more["high"][both] >= less["high"][both]).all()
