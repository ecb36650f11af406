"""The messages of `messages`: what each dialect sends, refuses and reads."""

from __future__ import annotations

import pytest

from tests.observe.talk_log import Case, cases
from tests.services.message_log import FOLDER, Exchange

CASES = {
    f"{path.stem}: {name}": (path.stem, case)
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize(("dialect", "case"), CASES.values(), ids=CASES)
def test_messages_are_written_refused_and_read_as_in_their_log(dialect: str, case: Case) -> None:
    Exchange(dialect, case)
