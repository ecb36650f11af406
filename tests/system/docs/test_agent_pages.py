"""The commands of the pages about agents and GPT-Live run unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator_process import Ready
from tests.system.docs.reader import ABOUT_AGENTS, blocks, run_block


@pytest.mark.parametrize("lines", blocks(ABOUT_AGENTS))
def test_a_block_of_commands_runs(
    lines: list[tuple[str, ...]], place: Path, simulator: Ready
) -> None:
    run_block(lines, place, simulator)
