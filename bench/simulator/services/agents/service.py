"""Agents: a path for each protocol."""

from __future__ import annotations

from typing import NamedTuple, cast

from bench.simulator.services.agents.behaviour import WIRES, AgentBehaviour, AgentWire, new_agent
from bench.simulator.serving.service import AcceptedUpgrade, SimulatedService, UpgradeRequest, websocket_urls
from bench.simulator.simulated_session import SessionParts
from bench.wire.audio import ALL_FORMATS, AudioFormatName

PATH = "/agent/"
"""The path prefix of agents. The name of the protocol follows it."""
DEFAULT_FORMAT = "pcm16@16000"
"""The audio format of an agent, if the address does not state it."""


class AgentProtocol(NamedTuple):
    """The protocol of an agent. The model is the format of the agent's audio, unless the protocol determines it."""

    wire: type[AgentWire]

    def new_session(self, model: str, parts: SessionParts) -> AgentBehaviour:
        return new_agent(self.wire(cast("AudioFormatName", model)), parts)


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    kind = request.path.removeprefix(PATH)
    if not request.path.startswith(PATH) or kind not in WIRES:
        return None
    format = request.query.get("format", DEFAULT_FORMAT)
    return AcceptedUpgrade(AgentProtocol(WIRES[kind]), format if format in ALL_FORMATS else DEFAULT_FORMAT)


SERVICE = SimulatedService(_answer, websocket_urls(**{f"agent_{kind}": f"{PATH}{kind}" for kind in WIRES}))
