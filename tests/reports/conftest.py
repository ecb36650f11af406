"""Settings of the tests of reports."""

from __future__ import annotations

import os

import pytest

from reports.comparisons.comparison import compared, resampling
from reports.gate.by_run import LEVEL
from reports.statistics.baselines import stored_quantile

DRAWS = 400
"""Resamples where a test does not ask how exact an interval is."""


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons and checks resample seldom, unless EXAMPLES=all tries everything as it is."""
    if os.environ.get("EXAMPLES") == "all":
        return
    monkeypatch.setitem(compared.__kwdefaults__, "draws", DRAWS)
    monkeypatch.setattr(resampling, "__defaults__", (LEVEL, DRAWS, None))
    monkeypatch.setattr(stored_quantile, "__defaults__", (DRAWS,))
    monkeypatch.setattr("reports.gate.baselines.DRAWS", DRAWS)
