"""The configuration of all tests of reports."""

from __future__ import annotations

import os

import pytest

from reports.analysis.comparisons.comparison import compare_targets, inference
from reports.statistics.baselines import stored_quantile

DRAWS = 400
"""The number of resamples of a comparison or a check. No test depends on how precise the
resampled intervals are."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons and checks use fewer resamples, unless EXAMPLES=all."""
    if os.environ.get("EXAMPLES") == "all":
        return
    monkeypatch.setattr(
        compare_targets,
        "__kwdefaults__",
        {**(compare_targets.__kwdefaults__ or {}), "draws": DRAWS},
    )
    monkeypatch.setattr(inference, "__defaults__", (DRAWS,))
    monkeypatch.setattr(stored_quantile, "__defaults__", (DRAWS,))
    monkeypatch.setattr("reports.analysis.check.baselines.RESAMPLES", DRAWS)
    monkeypatch.setattr("reports.analysis.comparisons.measurements.DRAWS", DRAWS)
    monkeypatch.setattr("reports.analysis.events.DRAWS", DRAWS)
    monkeypatch.setattr("reports.analysis.overload.DRAWS", DRAWS)


@pytest.fixture
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables of a CI system, because these tests may run in one."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
