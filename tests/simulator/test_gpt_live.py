"""Sessions with the simulated GPT-Live, without a network: its answers and its delegations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from openai.types.live import DelegationCreatedEvent

from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.protocol.gpt_live import DELEGATED, GPT_LIVE
from bench.remedies import remedy_of
from bench.simulator.gpt_live_behaviour import GptLiveBehaviour
from bench.simulator.profile import default_profile
from bench.simulator.recorded_replies import load_replies
from bench.simulator.server_events import Ids, OutgoingEvent
from tests.helpers import seated
from tests.memory_transport import LiveTransport, PeerAnswer

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav"
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
steps: [audio: {AUDIO}, audio: {AUDIO}]
"""
replies = cache(load_replies)


class Service:
    """A `tests.memory_transport.LivePeer` with one simulated session. The session delegates a share of its answers."""

    def __init__(self, delegates: float) -> None:
        profile = replace(default_profile(), delegates=delegates)
        rng, ids = np.random.default_rng(1), Ids("a" * 12)
        self.behaviour = GptLiveBehaviour("gpt-live-1", 4_000_000_000, profile, replies(), rng, ids)
        self.said: list[OutgoingEvent] = []

    def hear(self, message: bytes, at_ns: int) -> None:
        self.behaviour.receive_text(message, at_ns)

    def next_due_ns(self) -> int | None:
        return self.behaviour.next_due_ns()

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        for sent in self.behaviour.due(now_ns):
            self.said.append(sent)
            yield sent.due_ns, sent.body


def play_call(folder: Path, delegates: float) -> tuple[list[TurnObservation], SessionObservation, list[OutgoingEvent]]:
    path, service = folder / "call.yaml", Service(delegates)
    path.write_text(SCRIPT)
    session, timeline, listening = seated(
        CompiledScript(load_script(path), GPT_LIVE).prepare_session(0, 0), LiveTransport(service)
    )
    session.run()
    return listening.turns, timeline.session(), service.said


def test_gpt_live_answers_turns_without_delegation(tmp_path: Path) -> None:
    turns, session, sent_events = play_call(tmp_path, 0)

    assert ([turn.outcome for turn in turns], session.outcome) == (["ok", "ok"], "ok")
    assert all(sent.type != DELEGATED for sent in sent_events)


def test_a_delegated_turn_fails_and_interim_speech_is_not_measured(tmp_path: Path) -> None:
    (turn,), session, sent_events = play_call(tmp_path, 1)

    assert (turn.outcome, session.outcome, session.turns_succeeded) == ("failed:delegation", "failed:delegation", 0)
    assert "delegated a task (to: client), and this tool does not do tasks" in turn.detail
    assert "delegates nothing" in remedy_of(turn.outcome, turn.detail)
    (event,) = [msgspec.json.decode(sent.body) for sent in sent_events if sent.type == DELEGATED]
    assert DelegationCreatedEvent.model_validate(event, strict=True).to_dict() == event
