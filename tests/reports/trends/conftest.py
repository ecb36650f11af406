"""Settings of the tests of histories."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quickly(few_draws: None) -> None:
    """No test asks how exact intervals are."""
