"""The simulated telephone: its addresses, and its line, which needs the extra `calls`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from rtbench_simulator.services.agents import TITLE
from rtbench_simulator.serving.service import (
    ServerAddress,
    ServerState,
    ServiceSockets,
    SimulatedService,
)

SCHEMES = ("sip", "sips")
IS_INSTALLED = find_spec("pylibsrtp") is not None
"""Whether the packages of calls are installed. Without them the simulator has no telephone."""


def _urls(address: ServerAddress) -> Mapping[str, str]:
    if address.workers > 1 or not IS_INSTALLED:
        return {}
    schemes = SCHEMES if address.has_tls else SCHEMES[:1]
    return {f"agent_{scheme}": f"{scheme}:agent@{address.authority}" for scheme in schemes}


def _listen(shared: ServerState, address: tuple[str, int], workers: int) -> ServiceSockets:
    from rtbench_simulator.services.telephone.line import TelephoneLine

    return TelephoneLine(shared, address, workers)


SERVICE = SimulatedService(
    urls=_urls,
    listen=_listen if IS_INSTALLED else None,
    titles={f"agent_{scheme}": TITLE for scheme in SCHEMES},
)
