"""Settings of the tests of reports."""

from __future__ import annotations

import os

import pytest

from reports.comparisons.comparison import compare_targets, inference
from reports.statistics.baselines import stored_quantile
from reports.statistics.differences import LEVEL

DRAWS = 400
"""Resamples of a comparison or check: no test asks how exact their intervals are."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons and checks resample seldom, unless EXAMPLES=all tries everything as it is."""
    if os.environ.get("EXAMPLES") == "all":
        return
    monkeypatch.setattr(compare_targets, "__kwdefaults__", {**(compare_targets.__kwdefaults__ or {}), "draws": DRAWS})
    monkeypatch.setattr(inference, "__defaults__", (LEVEL, DRAWS, None))
    monkeypatch.setattr(stored_quantile, "__defaults__", (DRAWS,))
    monkeypatch.setattr("reports.gate.baselines.DRAWS", DRAWS)
    monkeypatch.setattr("reports.comparisons.measurements.DRAWS", DRAWS)


@pytest.fixture
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the CI system that these tests may run in."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
