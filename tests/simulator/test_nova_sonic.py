"""The listener of the simulated Amazon Nova Sonic."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bench.wire.addresses import HostPort
from rtbench_simulator.services.nova_sonic import line
from rtbench_simulator.services.nova_sonic.line import PREFACE, NovaLine


def test_a_simulator_that_started_without_its_packages_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, f"{line.__package__}.connection", None)
    server: Any = SimpleNamespace(config=SimpleNamespace(tls=None))
    sent = list[bytes]()
    stream: Any = SimpleNamespace(write=sent.append)
    NovaLine(server, ("127.0.0.1", 0), 1).connect(PREFACE, HostPort("127.0.0.1", 1), stream)

    assert b"".join(sent).endswith(b"install rtbench[aws], and restart the simulator")
