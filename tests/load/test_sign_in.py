"""Signing in before a run."""

from __future__ import annotations

from typing import cast

import gevent
import pytest
from gevent.event import Event

from bench.errors import UsageError
from bench.load.leading.role import never_begun, sign_in
from bench.target.tokens import Keyring


class Door:
    """As a keyring that opens when it is let, or not at all."""

    def __init__(self, refuses: bool = False) -> None:
        self.may_open, self.refuses = Event(), refuses

    def open(self) -> None:
        self.may_open.wait()
        if self.refuses:
            raise UsageError("no token")


def test_a_sign_in_that_takes_long_says_what_it_waits_for() -> None:
    door, said = Door(), list[str]()
    signing = gevent.spawn(sign_in, cast(Keyring, door), said.append, 0.001)
    while not said:
        gevent.sleep(0.001)

    assert said == ["signing in through Microsoft Entra ID …"]
    door.may_open.set()
    signing.get()
    assert len(said) == 1


@pytest.mark.parametrize("refuses", [False, True])
def test_a_sign_in_that_is_soon_over_says_nothing_then_or_later(refuses: bool) -> None:
    door, said = Door(refuses), list[str]()
    door.may_open.set()
    signing = gevent.spawn(sign_in, cast(Keyring, door), said.append, 0.05)
    signing.join()
    gevent.sleep(0.1)

    assert isinstance(signing.exception, UsageError) is refuses
    assert said == []


@pytest.mark.parametrize(("stopped", "why"), [("", "its time was over"), ("interrupted", "interrupted")])
def test_a_run_that_never_began_says_what_it_waited_for(stopped: str, why: str) -> None:
    assert never_begun(stopped).startswith(f"the run never began: {why}")
    assert "still signing in through Microsoft Entra ID" in never_begun(stopped)
