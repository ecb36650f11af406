"""A call with the simulated agent: how the delay of the agent's speech depends on the load of
the server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.services.openai.dialect import RATED_FORMATS
from bench.wire.audio import AudioFormatName
from rtbench_simulator.profile import AgentSettings, Slowdown, quiet_profile
from rtbench_simulator.quota import ResponseSlots
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.agents import FRAME_MS, SILENCE_MS, AgentBehaviour, PcmWire
from tests.simulator.builders import (
    AT_NS,
    LATER_NS,
    MS,
    build_profile,
    constant,
    session_parts,
    sound,
)

SPEECH_MS = 600
FORMAT: AudioFormatName = "pcm16@16000"
SPOKEN_NS = AT_NS + (SPEECH_MS + SILENCE_MS) * MS
"""The instant at which the caller's silence is long enough to end the turn."""
DELAY_NS = 300 * MS


def build_agent(servers: ResponseSlots | None = None, **changes: Any) -> AgentBehaviour:
    """Return an agent that does not greet, and that answers 300 ms after it detected the end of
    speech.
    """
    delays = replace(quiet_profile().delays, first_audio=constant(300))
    profile = build_profile(delays=delays, agent=AgentSettings(greets=False), **changes)
    agent = AgentBehaviour(PcmWire(FORMAT), session_parts(profile, servers=servers))
    agent.open(AT_NS)
    return agent


def answer_of(agent: AgentBehaviour) -> list[OutgoingEvent]:
    """Return the output of the agent after the caller has spoken once."""
    audio = sound(SPEECH_MS, SILENCE_MS, name=FORMAT)
    size = RATED_FORMATS[FORMAT].bytes_per_s * FRAME_MS // 1000
    for place, begin in enumerate(range(0, len(audio), size), 1):
        agent.receive_binary(audio[begin : begin + size], AT_NS + place * FRAME_MS * MS)
    return list(agent.due(LATER_NS))


def test_the_agent_answers_one_delay_after_it_detects_silence() -> None:
    first, *rest = answer_of(build_agent())

    assert first.due_ns == SPOKEN_NS + DELAY_NS
    assert first.facts is not None
    assert first.facts["utterance"] == "answer"
    assert [later.due_ns - first.due_ns for later in rest[:2]] == [FRAME_MS * MS, 2 * FRAME_MS * MS]


def test_concurrent_calls_above_the_limit_slow_down_answers() -> None:
    servers, slowdown = ResponseSlots(), Slowdown(sessions=2, per_session=0.5)
    others = [build_agent(servers) for _ in range(2)]
    slow = build_agent(servers, slowdown=slowdown)

    assert servers.sessions == 3
    assert answer_of(slow)[0].due_ns == pytest.approx(SPOKEN_NS + 1.5 * DELAY_NS, abs=1)
    for agent in (slow, *others):
        agent.end()
    assert servers.sessions == 0
    assert answer_of(build_agent(servers, slowdown=slowdown))[0].due_ns == SPOKEN_NS + DELAY_NS


def test_with_one_response_slot_an_answer_waits_for_the_one_before() -> None:
    servers = ResponseSlots(1)
    first, second = (answer_of(build_agent(servers)) for _ in range(2))

    assert first[0].due_ns == SPOKEN_NS + DELAY_NS
    assert second[0].due_ns == first[-1].due_ns + FRAME_MS * MS + DELAY_NS
    assert servers.responses == 2
