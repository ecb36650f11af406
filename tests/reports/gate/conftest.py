"""Settings of the tests of the gate."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spreads of stored runs are resampled seldom: no test asks how exact they are."""
    monkeypatch.setattr("reports.gate.baselines.DRAWS", 200)
