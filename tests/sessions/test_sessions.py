"""The sessions of this folder: what a session sends to a service, and its turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.observe.talk_log import Case, cases
from tests.sessions.session_log import FOLDER, play

CASES = {
    f"{path.stem}: {name}": case
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_session_sends_the_messages_and_has_the_turns_of_its_log(
    case: Case, tmp_path: Path
) -> None:
    play(case, tmp_path)
