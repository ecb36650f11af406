"""The dialogs of `dialogs`: what a call sends to its peer, and how it ends (RFC 3261, RFC 4028)."""

from __future__ import annotations

import pytest

from tests.observe.talk_log import Case, cases
from tests.transport.sip.dialog_log import FOLDER, Player

CASES = {
    f"{path.stem}: {name}": case
    for path in sorted(FOLDER.glob("*.log"))
    for name, case in cases(path).items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_call_sends_what_its_log_has(case: Case) -> None:
    Player(case)
