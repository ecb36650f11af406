"""A transport in memory that delivers the messages of an agent."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from bench.wire.audio import AudioFormatName
from rtbench_simulator.profile import AgentSettings, Profile, TurnTakingSettings, quiet_profile
from rtbench_simulator.recorded_replies import load_replies
from rtbench_simulator.services.agents import (
    WIRES,
    AgentBehaviour,
    AgentWire,
    TelephoneWire,
    Wires,
)
from rtbench_simulator.services.described_agents import DESCRIBED
from tests.memory_transport import LiveTransport, Matching, SimulatedPeer
from tests.simulator.builders import constant, session_parts

FORMAT: AudioFormatName = "pcm16@16000"


def wire_of(way: str) -> AgentWire:
    """Return the protocol of a way to call an agent. The audio of a telephone call is exchanged
    without packets.
    """
    wires: Wires = {**WIRES, **DESCRIBED, "sip": lambda _: TelephoneWire("g711_ulaw")}
    return wires[way](FORMAT)


def build_profile(manners: AgentSettings | None = None, *, ignores: float = 0.0) -> Profile:
    profile = quiet_profile()
    delays = replace(profile.delays, first_audio=constant(300), answer_pause=constant(350))
    return replace(
        profile,
        delays=delays,
        turn_taking=TurnTakingSettings(ignored_backchannel_share=ignores, backchannel_ms=60_000),
        agent=manners or AgentSettings(),
        generation_speed=3.0,
    )


class Agent(SimulatedPeer[AgentBehaviour]):
    """One simulated call."""

    def __init__(self, way: str, profile: Profile, at_ns: int) -> None:
        super().__init__(AgentBehaviour(wire_of(way), session_parts(profile, replies())))
        self.behaviour.open(at_ns)
        self.heard: list[tuple[str, int]] = []
        """The names of the caller's messages, and the instants at which they were sent."""

    def hear(self, message: bytes, at_ns: int) -> None:
        self.heard.append((self.receive(message, at_ns).type, at_ns))


class Transport(LiveTransport):
    """A transport whose peer is a simulated agent. The call opens when the clock starts."""

    def __init__(self, way: str, profile: Profile) -> None:
        self.agent = Agent(way, profile, 1_000_000_000_000)
        super().__init__(self.agent)


class MatchingTransport(Matching, Transport):
    """A transport that matches the sound of the agent, and passes it on 80 ms at a time."""

    most = 4


replies = cache(load_replies)
