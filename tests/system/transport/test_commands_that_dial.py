"""The command that lets an agent dial."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalogue.timeouts import Timeouts
from tests.simulator_process import GUARD_S
from tests.transport.sip.phone_line import LOOPBACK
from tests.transport.sip.waiting_line import free_port, result


@pytest.mark.parametrize(
    ("command", "outcome"),
    [("exit 3", "connect_failed:dial"), ("true", "timeout:upgrade")],
)
def test_a_command_that_fails_ends_the_wait(command: str, outcome: str) -> None:
    limit_s = GUARD_S if outcome.endswith("dial") else 0.3

    assert result(free_port(), Timeouts(upgrade=limit_s), dial=command) == outcome


def test_the_command_gets_the_address_of_the_line(tmp_path: Path) -> None:
    port = free_port()
    found = tmp_path / "callee"
    result(port, dial=f"echo {{callee}} > {found}; exit 3")

    assert found.read_text() == f"sip:callee@{LOOPBACK}:{port}\n"
