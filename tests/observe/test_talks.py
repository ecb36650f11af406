"""The conversations of `talks`: their turns have the outcomes, instants and values of the logs."""

from __future__ import annotations

import pytest

from tests.observe.talk_log import FOLDER, Case, Player, cases

CASES = {
    f"{path.stem}: {name}": case
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_conversation_has_the_outcomes_instants_and_values_of_its_log(case: Case) -> None:
    Player(case)
