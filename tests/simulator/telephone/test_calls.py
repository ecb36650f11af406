"""The calls of `calls`: what the simulator sends to its callers, and when."""

from __future__ import annotations

import pytest

from tests.observe.talk_log import Case, cases
from tests.simulator.telephone.call_log import FOLDER, play

CASES = {
    f"{path.stem}: {name}": case
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_simulator_answers_a_call_as_its_log_has(case: Case) -> None:
    play(case)
