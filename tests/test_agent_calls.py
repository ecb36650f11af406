"""Calls with the simulated agent, without a network. The measured instants equal those at which the
agent spoke.

Time is virtual, so the ground truth is exact: it consists of the instants that the agent records.
The only uncertainty is that of the detection of sounds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_S
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedScript
from bench.plan.script import load_script
from bench.services.registry import DIALECTS
from bench.transport.fast.reader import COMPILED
from bench.wire.audio import resolve_format
from bench.wire.connection import ConnectionClosed
from rtbench_simulator.profile import AgentSettings, Profile
from rtbench_simulator.services.agents import FILLER_MS
from rtbench_simulator.services.described_agents import DESCRIBED
from tests.agent_transport import Agent, MatchingTransport, Transport, build_profile
from tests.examples import some
from tests.helpers import MS, seated
from tests.memory_transport import MemoryTransport
from tests.simulator.builders import constant
from tests.simulator_process import AUDIO

WAYS = ("pcm", "twilio", "acs", *DESCRIBED)
CONFIRMED = ("elevenlabs", "genesys")
"""The ways in which the agent confirms the session before it speaks."""
NUMBERED = ("elevenlabs",)
"""The ways in which each piece of audio has a number, which is read."""
JITTER_NS, FRAME_NS = 50 * MS, 20 * MS
PAUSE_S = 3
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
timeouts: {{first_delta: 60, next_delta: 60, response: 120, turn: 120}}
steps:
  - wait_for: greeting
  - audio: {AUDIO}/late_parcel.wav
  - interrupt: {{audio: {AUDIO}/not_today.wav, after: 1.2}}
"""


@dataclass(frozen=True)
class Call:
    agent: Agent
    turns: list[TurnObservation]
    greeted_ns: int

    def utterance_starts(self, what: str) -> list[int]:
        """Return the positions in `said` at which the utterances of one type begin. `what` is
        this type.
        """
        return [
            place
            for place, sent in enumerate(self.agent.said)
            if sent.facts and sent.facts["utterance"] == what
        ]

    def audible_ns(self, place: int, bytes_per_s: int) -> int:
        """Return the instant at which the utterance at a position of `said` becomes audible.

        An utterance is played in real time from its first frame on, even if its frames arrive
        faster than real time.
        """
        ahead = 0
        for sent in self.agent.said[place:]:
            if sent.audible_byte is not None:
                ahead += sent.audible_byte
                break
            ahead += sent.audio_bytes
        return self.agent.said[place].due_ns + JITTER_NS + ahead * NS_PER_S // bytes_per_s


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedScript]:
    """Return the script of the caller, prepared for each dialect."""
    path = tmp_path_factory.mktemp("scripts") / "call.yaml"
    path.write_text(SCRIPT)
    script = load_script(path)
    return {way: CompiledScript(script, DIALECTS[way]).prepare_session(0, 0) for way in WAYS}


def play_call(
    way: str, profile: Profile, script: PreparedScript, *, keeps_texts: bool = False
) -> Call:
    return play(Transport(way, profile), script, keeps_texts=keeps_texts)


def play(transport: Transport, script: PreparedScript, *, keeps_texts: bool = False) -> Call:
    transport.keeps_texts = keeps_texts
    session, timeline, listening = seated(script, transport)
    timeline.apply(inputs.Connected({"opened": transport.now_ns()}, {}))
    session.run()
    assert timeline.session().outcome == "ok"
    return Call(transport.agent, listening.turns, timeline.session().instants["greeting_audible"])


BYTES_PER_S = {way: resolve_format(DIALECTS[way].output_formats, None).bytes_per_s for way in WAYS}
MANNERS = {
    "plain": AgentSettings(),
    "fillers": AgentSettings(filler=1.0),
    "faint noise": AgentSettings(noise_dbfs=-65.0),
    "noise": AgentSettings(noise_dbfs=-50.0),
}


@pytest.mark.parametrize("way", CONFIRMED)
def test_a_greeting_that_is_read_with_the_confirmation_of_the_session_is_heard(
    scripts: dict[str, PreparedScript], way: str
) -> None:
    profile = build_profile()
    at_once = replace(profile, delays=replace(profile.delays, first_audio=constant(0)))
    transport = Transport(way, at_once)
    transport.stalled_ns = 400 * MS

    call = play(transport, scripts[way])

    assert [turn.outcome for turn in call.turns] == ["ok", "interrupted", "ok"]
    (begin,) = call.utterance_starts("greeting")
    assert abs(call.greeted_ns - call.audible_ns(begin, BYTES_PER_S[way])) <= 1


def test_all_that_is_read_with_the_close_of_a_call_is_handled_before_its_end(
    scripts: dict[str, PreparedScript],
) -> None:
    told = [json.dumps({"type": "ping", "ping_event": {"event_id": n}}).encode() for n in range(4)]
    transport = MemoryTransport(lambda _: (), [(0, data) for data in told])
    transport.schedule([(0, ConnectionClosed(1011, 0))])
    transport.stalled_ns = 1
    session, timeline, _ = seated(scripts["elevenlabs"], transport)
    timeline.apply(inputs.Connected({"opened": transport.now_ns()}, {}))

    session.run()

    assert (timeline.session().outcome, timeline.facts.events) == ("closed:1011", len(told))


@pytest.mark.parametrize(("way", "manners"), some([*product(WAYS, MANNERS)], 15))
def test_the_first_sound_of_an_agent_is_measured_when_the_agent_sends_it(
    scripts: dict[str, PreparedScript], way: str, manners: str
) -> None:
    """If the agent sends fillers, its first sound is a filler. A caller cannot know that the
    answer follows later.
    """
    call = play_call(way, build_profile(MANNERS[manners]), scripts[way])

    _, question, objection = call.turns
    assert [turn.outcome for turn in call.turns] == ["ok", "interrupted", "ok"]
    first = call.utterance_starts("filler" if manners == "fillers" else "answer")
    heard_ns = [
        call.greeted_ns,
        question.instants["first_audible"],
        objection.instants["first_audible"],
    ]
    for begin, at_ns in zip(
        (*call.utterance_starts("greeting"), *first[:2]), heard_ns, strict=True
    ):
        off_ns = abs(at_ns - call.audible_ns(begin, BYTES_PER_S[way]))
        assert (
            off_ns <= (question.uncertainties_ns["first_audible"] if "noise" in manners else 0) + 1
        )
    assert question.uncertainties_ns["first_audible"] > 0 or "noise" not in manners
    assert question.metrics_ns().get("barge_in_late_audio", 0) == 0
    if manners == "fillers":
        assert (
            call.agent.said[call.utterance_starts("answer")[0]].due_ns
            - call.agent.said[first[0]].due_ns
            > FILLER_MS * MS
        )


@pytest.mark.parametrize(
    ("manners", "way"),
    some([*product(["plain", "noise"], ["pcm", "twilio", "acs", "genesys", *NUMBERED])], 5),
)
def test_sound_that_is_deferred_gives_the_same_turns_as_sound_that_a_log_gets_at_once(
    scripts: dict[str, PreparedScript], way: str, manners: str
) -> None:
    profile = build_profile(MANNERS[manners])
    deferred, logged = (
        play_call(way, profile, scripts[way], keeps_texts=keeps) for keeps in (False, True)
    )
    transport = MatchingTransport(way, profile)
    matched = play(transport, scripts[way])

    assert matched.turns == deferred.turns == logged.turns
    assert matched.greeted_ns == deferred.greeted_ns == logged.greeted_ns
    received = [sent for sent in transport.agent.said if sent.audio_bytes]
    if COMPILED and way not in NUMBERED:
        assert 0.8 * len(received) < transport.matched < len(received)


class CountingTransport(MatchingTransport):
    waits = 0

    def receive_until(self, *args: Any) -> None:
        self.waits += 1
        super().receive_until(*args)


@pytest.mark.parametrize("way", ["plivo", "vonage"])
def test_what_clears_the_queue_is_answered_at_once(
    scripts: dict[str, PreparedScript], way: str
) -> None:
    """Marks are answered after the audio before them, so the agent gets as many answers as it has
    sent marks, and one for the clearing.
    """
    agent = play_call(way, build_profile(), scripts[way]).agent
    clear = "clearAudio" if way == "plivo" else "clear"
    cleared_ns = [sent.due_ns for sent in agent.said if sent.type == clear]
    marks = [sent for sent in agent.said if sent.type in ("checkpoint", "notify")]
    answered_ns = [at_ns for name, at_ns in agent.heard if name == "answer"]

    assert len(cleared_ns) == 1
    assert cleared_ns[0] in answered_ns
    assert len(answered_ns) == len(marks) + 1


@pytest.mark.parametrize("way", some(WAYS, 4))
def test_a_script_that_pauses_is_not_woken_by_every_frame(tmp_path: Path, way: str) -> None:
    waits = []
    for pause in ("", f"  - pause: {PAUSE_S}\n"):
        path = tmp_path / "call.yaml"
        path.write_text(SCRIPT + pause)
        script = CompiledScript(load_script(path), DIALECTS[way]).prepare_session(0, 0)
        transport = CountingTransport(way, build_profile(MANNERS["noise"]))
        play(transport, script)
        waits.append(transport.waits)
    frames = PAUSE_S * NS_PER_S // FRAME_NS
    assert waits[1] - waits[0] < frames / 2


@pytest.mark.parametrize("way", some(WAYS, 4, 1))
def test_an_agent_that_ignores_an_interruption_goes_silent_at_the_end_of_its_speech(
    scripts: dict[str, PreparedScript], way: str
) -> None:
    call = play_call(way, build_profile(ignores=1.0), scripts[way])

    _, question, objection = call.turns
    answer, second = call.utterance_starts("answer")[:2]
    last = max(
        place for place in range(answer, second) if call.agent.said[place].audible_byte is not None
    )
    said_bytes = sum(sent.audio_bytes for sent in call.agent.said[answer:second])
    heard_bytes = sum(sent.audio_bytes for sent in call.agent.said[answer : last + 1])
    begun_ns = call.agent.said[answer].due_ns + JITTER_NS
    heard_ns = [
        begun_ns + size * NS_PER_S // BYTES_PER_S[way] for size in (heard_bytes, said_bytes)
    ]
    assert heard_ns[0] - FRAME_NS <= question.instants["barge_in_silent"] <= heard_ns[1]
    yielded = question.instants["barge_in_silent"] - question.instants["barge_in"] <= 2 * NS_PER_S
    assert (question.outcome, question.yielded, objection.outcome) == ("interrupted", yielded, "ok")
    assert "barge_in_detected" not in question.instants
    assert {"barge_in_detection", "unplayed_audio"}.isdisjoint(question.metrics_ns())
