"""Calls with a track of audio to each service of the simulator: the same claims hold over each
link, and the values equal the ground truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.played_calls import (
    BARGE_IN,
    DIGIT,
    GREETING,
    NUMBER,
    THANKS,
    Calls,
    play,
    script,
)
from tests.system.end_to_end.spoken_calls import WAV

LOSSY = "rtp: {loss: 0.03, jitter_ms: 20, reorder: 0.02, duplicate: 0.02}\n"
TRACKS = {"calls": "transport: webrtc", "narrow": "transport: webrtc, codec: PCMU"}
OVER_BOTH = {"messages": ""} | TRACKS
AGENT = {"opus": "dialect: webrtc", "narrow": "dialect: webrtc, codec: PCMA"}
LIVE = "turn_detection: full_duplex, voice: cedar"


@dataclass(frozen=True)
class Link:
    """A service, its targets, and the steps of its calls. `profile` has the keys of its path."""

    service: str
    calls: int
    steps: tuple[str, ...]
    targets: Mapping[str, str] = field(default_factory=lambda: {"calls": ""})
    profile: str = ""
    session: str = "turn_detection: full_duplex"

    @property
    def tracks(self) -> list[str]:
        return [name for name in self.targets if name != "messages"]

    @property
    def turns(self) -> int:
        """The number of turns of a target."""
        return self.calls * sum(step != DIGIT for step in self.steps)


BY_TELEPHONE = (GREETING, DIGIT, NUMBER, BARGE_IN)
VAD, SPOKEN = "turn_detection: server_vad", (NUMBER, THANKS, NUMBER)
LINKS = {
    "telephone": Link("agent_sip", 4, BY_TELEPHONE),
    "telephone with G.722": Link("agent_sip", 3, BY_TELEPHONE, {"calls": "codec: 'g722,PCMU'"}),
    "telephone with Opus": Link("agent_sip", 3, BY_TELEPHONE, {"calls": "codec: 'opus,g722'"}),
    "lossy telephone": Link("agent_sip", 2, BY_TELEPHONE, profile=LOSSY),
    "WebRTC": Link("openai", 4, SPOKEN, OVER_BOTH, session=VAD),
    "lossy WebRTC": Link("openai", 4, SPOKEN, {"calls": TRACKS["calls"]}, LOSSY, VAD),
    "agent over WebRTC": Link("agent_webrtc", 3, (GREETING, NUMBER, BARGE_IN), AGENT),
    "GPT-Live": Link("gpt_live", 2, (f"audio: {WAV}",) * 2, OVER_BOTH, session=LIVE),
}
Runs = Callable[[str], Calls]
every_link = pytest.mark.parametrize("link", LINKS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return a function that returns the run over a link."""

    @cache
    def played(name: str) -> Calls:
        link, folder = LINKS[name], tmp_path_factory.mktemp("calls")
        truth = str(folder / "truth.jsonl")
        with quick_simulator(folder, "--ground-truth", truth, more=link.profile) as ready:
            steps = script(*link.steps, session=link.session)
            return play(folder, steps, ready.urls[link.service], link.calls, link.targets)

    return played


@every_link
def test_each_turn_is_heard_and_its_packets_are_counted(runs: Runs, link: str) -> None:
    run, expected = runs(link), LINKS[link]
    by_target = run.turns.set_index("target")
    sessions = run.sessions.set_index("target").loc[expected.tracks]

    assert by_target.groupby("target").size().to_dict() == dict.fromkeys(
        expected.targets, expected.turns
    )
    assert set(by_target["outcome"]) == {"ok"} | (
        {"interrupted"} if BARGE_IN in expected.steps else set()
    )
    assert by_target["first_audible_at_ns"].notna().all()
    # packets of silence come first
    assert by_target.loc[expected.tracks, "first_audio_at_ns"].isna().all()
    assert set(run.sessions["outcome"]) == {"ok"}
    assert (sessions["rtp_expected"] > 100).all()
    assert (sessions["rtp_lost"] + sessions["rtp_late"] < sessions["rtp_expected"]).all()
    assert (sessions["rtp_lost"].sum() > 0) == bool(expected.profile)
    assert sessions["rtp_jitter_ns"].notna().all()


@every_link
def test_the_start_of_each_reply_is_that_of_the_ground_truth(runs: Runs, link: str) -> None:
    replies, expected = runs(link).replies(), LINKS[link]

    assert len(replies) == expected.turns * len(expected.tracks)
    assert not [reply for reply in replies if reply.is_beyond_bound]
    if not expected.profile:
        errors_ns = [abs(reply.error_ns) for reply in replies if reply.has_truth]
        assert np.median(errors_ns) <= NS_PER_MS


@pytest.mark.parametrize("link", ["WebRTC", "GPT-Live"])
def test_one_run_compares_both_transports(runs: Runs, link: str) -> None:
    turns, sessions = runs(link).turns.set_index("target"), runs(link).sessions

    if link == "WebRTC":
        assert turns.loc["messages", "first_audio_at_ns"].notna().all()
        assert (turns["response_id"] != "").all()
        assert (turns["output_audio_tokens"] > 0).all()
    else:
        assert (sessions["session_updated_at_ns"] > sessions["update_sent_at_ns"]).all()
        # a service on a busy machine may report it too late
        billed_ns = sessions["billed_ns"].dropna()
        assert len(billed_ns)
        assert (billed_ns > 0).all()


def test_an_event_of_the_data_channel_has_the_timestamp_of_its_packet(runs: Runs) -> None:
    run = runs("lossy WebRTC")
    created = {
        line["response"]: line["send_start_ns"]
        for line in run.truth
        if line.get("type") == "response.created"
    }
    turns = run.turns
    at_ns = turns["start_ns"] + turns["response_created_at_ns"]
    delays_ns = at_ns - turns["response_id"].map(created)

    assert len(delays_ns) == LINKS["lossy WebRTC"].turns
    assert delays_ns.min() >= 0
    assert delays_ns.median() < NS_PER_MS


def test_a_lossy_path_drops_and_delays_packets_as_its_ground_truth_states(runs: Runs) -> None:
    run = runs("lossy telephone")
    sent = run.sent
    dropped = [line for line in sent if line.get("dropped")]
    delays_ns = [line.get("delay_ns", 0) for line in sent]

    assert 0 < len(dropped) < len(sent) // 5
    in_order_ns = [delay_ns for delay_ns in delays_ns if delay_ns <= 20 * NS_PER_MS]
    assert max(in_order_ns) > 15 * NS_PER_MS
    assert 50 * NS_PER_MS in delays_ns
    # A packet keeps its order behind one that left later, if a stopped simulator answers in the past.
    left_ns = Counter(
        (line["session"], line["due_ns"] + delay_ns)
        for line, delay_ns in zip(sent, delays_ns, strict=True)
    )
    for line, delay_ns in zip(sent, delays_ns, strict=True):
        if delay_ns > 20 * NS_PER_MS and delay_ns != 50 * NS_PER_MS:
            assert left_ns[line["session"], line["due_ns"] + delay_ns] > 1
        ends_ns = line["send_end_ns"]
        assert (ends_ns is None) == bool(line.get("dropped"))
        assert ends_ns is None or ends_ns >= line["due_ns"] + delay_ns


def test_the_packets_that_a_lossy_path_drops_are_counted_on_both_sides(runs: Runs) -> None:
    run = runs("lossy telephone")
    dropped = sum(bool(line.get("dropped")) for line in run.truth)
    of_callers = run.truth[-1]["rtp_dropped"] - dropped

    # a packet is not counted if no later one arrives
    unknown = len(run.sent) - run.sessions["rtp_expected"].sum()
    assert dropped - unknown <= run.sessions["rtp_lost"].sum() <= dropped
    assert (run.sessions["rtp_jitter_ns"] > 2 * NS_PER_MS).all()
    assert 0 < run.sessions["peer_rtp_lost"].sum() <= of_callers


def test_a_telephone_call_rings_and_its_packets_are_counted_on_both_sides(runs: Runs) -> None:
    run = runs("telephone")
    sessions, of_simulator = run.sessions, Counter(line["session"] for line in run.sent)

    assert (sessions["ringing_at_ns"] <= sessions["opened_at_ns"]).all()
    assert sessions["request_id"].nunique() == LINKS["telephone"].calls
    assert (sessions["rtp_expected"] <= max(of_simulator.values())).all()
    assert (sessions["peer_rtp_lost"] == 0).all()
    assert sessions["peer_rtp_expected"].between(1, sessions["rtp_sent"]).all()
    assert sessions["peer_rtp_jitter_ns"].notna().all()
