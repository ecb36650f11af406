"""The configuration of the tests of reports."""

from __future__ import annotations

import os

import pytest

from reports.comparisons.comparison import compare_targets, inference
from reports.statistics.baselines import stored_quantile
from reports.statistics.differences import LEVEL

DRAWS = 400
"""The number of resamples of a comparison or check. No test depends on the precision of intervals from resamples."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the number of resamples of comparisons and checks, unless EXAMPLES=all."""
    if os.environ.get("EXAMPLES") == "all":
        return
    monkeypatch.setattr(compare_targets, "__kwdefaults__", {**(compare_targets.__kwdefaults__ or {}), "draws": DRAWS})
    monkeypatch.setattr(inference, "__defaults__", (LEVEL, DRAWS, None))
    monkeypatch.setattr(stored_quantile, "__defaults__", (DRAWS,))
    monkeypatch.setattr("reports.check.baselines.RESAMPLES", DRAWS)
    monkeypatch.setattr("reports.comparisons.measurements.DRAWS", DRAWS)


@pytest.fixture
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables of the CI system in which these tests may run."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
