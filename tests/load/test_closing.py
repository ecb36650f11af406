"""What is left of a run that could not be reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.closing import holds_rows
from tests.load.live_run import Stand


@pytest.mark.parametrize("pairs", [0, 1])
def test_a_run_holds_rows_as_soon_as_one_has_reached_the_disk(pairs: int, tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    for _ in range(pairs):
        stand.play()
    stand.live.close()

    assert holds_rows(stand.folder) is (pairs > 0)


def test_a_run_that_was_closed_holds_its_rows(tmp_path: Path) -> None:
    assert holds_rows(tmp_path)
