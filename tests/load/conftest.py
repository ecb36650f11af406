"""Settings of all tests of `bench.load`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

POLLS = (
    "start_scheduler.IDLE_SLEEP_S",
    "start_scheduler.MAX_SLEEP_S",
    "start_scheduler.PROBE_POLL_S",
    "live_run.POLL_S",
    "call.POLL_S",
)


@pytest.fixture(autouse=True, scope="package")
def _frequent_analyses() -> Iterator[None]:
    """Make all loops of `bench.load.execution` poll every 5 ms. The result of no test depends on
    this interval.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in POLLS:
            patch.setattr(f"bench.load.execution.{name}", 0.005)
        yield
