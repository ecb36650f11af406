"""The telephone: SIP on the server's port."""

from __future__ import annotations

from collections.abc import Mapping

from bench.simulator.services.telephone.line import TelephoneLine
from bench.simulator.serving.service import ServerAddress, SimulatedService


def _urls(address: ServerAddress) -> Mapping[str, str]:
    if address.workers > 1:
        return {}
    schemes = ("sip", "sips") if address.has_tls else ("sip",)
    return {f"agent_{scheme}": f"{scheme}:agent@{address.authority}" for scheme in schemes}


SERVICE = SimulatedService(urls=_urls, listen=TelephoneLine)
