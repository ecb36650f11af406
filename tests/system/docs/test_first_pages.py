"""The commands of the README and of the first page run unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator_process import Ready
from tests.system.docs.reader import FIRST, blocks, run_block


@pytest.mark.parametrize("lines", blocks(FIRST))
def test_a_block_of_commands_runs(
    lines: list[tuple[str, ...]], place: Path, simulator: Ready
) -> None:
    run_block(lines, place, simulator)
