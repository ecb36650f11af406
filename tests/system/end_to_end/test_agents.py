"""Agents that are called: four calls at a time each way, interruptions among them, held against the agents' own log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.observe.reply_detector import GAP_NS
from bench.plan.repertoire import Repertoire
from bench.plan.script import load_script
from bench.probe import probe_target
from bench.run.replay import Passage, Replayed, replay_log
from bench.simulator.conversation.input_audio import FRAME_MS
from bench.simulator.truth import read_truth
from bench.units import NS_PER_MS, NS_PER_S
from tests.helpers import resolve_target
from tests.played_session import GUARD_S, hang_guard
from tests.simulator_process import ROOT, running_simulator

WAYS = ("pcm", "twilio", "acs")
CALLS = 4
CLEAR = {"twilio": "clear", "acs": "StopAudio"}
AUDIO = {"pcm": "audio", "twilio": "media", "acs": "AudioData"}
OF_HELD_UP = {"interrupted", "ok", "timeout:first_delta", "cancelled:turn_detected"}
EDGE_NS = 2 * FRAME_MS * NS_PER_MS
"""How far the end of speech that the agent hears may lie from the one that was found offline."""
JITTER_NS = 50 * NS_PER_MS
HELD_UP_NS = 400 * NS_PER_MS
EXTRA = {"pcm": "extra: {id: 'MZ{uuid}'}", "twilio": "extra: {from: '+15550100', call: '{uuid}'}", "acs": ""}
SCRIPT = """
session:
  turn_detection: full_duplex
  EXTRA
timeouts: {first_delta: 15, next_delta: 60, response: 600, turn: 600, session: 600, upgrade: 600}
steps:
  - pause: 4
  - audio: WAVS/late_parcel.wav
  - interrupt: {audio: WAVS/not_today.wav, after: 0.5}
"""


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


@dataclass(frozen=True)
class Call:
    """A call, and what the agent has sent and heard in it."""

    way: str
    told: Replayed
    truth: list[dict[str, Any]]

    def lines(self, way: str, *names: str) -> list[dict[str, Any]]:
        return [line for line in self.truth if line["direction"] == way and line["type"] in names]

    def passages(self, name: str, *, sent: bool) -> list[Passage]:
        return [p for p in self.told.passages if p.name == name and (p.event is None) is sent]

    def came(self, line: dict[str, Any]) -> Passage:
        """The arrival of a message with audio that the agent has sent."""
        place = self.lines("out", AUDIO[self.way]).index(line)
        return self.passages(AUDIO[self.way], sent=False)[place]

    @property
    def held_up(self) -> bool:
        """Whether a busy machine kept the agent, or its caller, from its work for so long that replies may be cut, and
        that two of an agent which is not heard to be silent between them may be taken for one, and the second awaited.
        """
        late_ns = [line["send_start_ns"] - line["due_ns"] for line in self.lines("out", AUDIO[self.way])]
        sent_ns = [passage.at_ns for passage in self.passages(AUDIO[self.way], sent=True)]
        return max(*late_ns, *(later - before for before, later in pairwise(sent_ns))) > HELD_UP_NS


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """Four calls each way, all at once; the simulator has ended, so its log is whole."""
    folder = tmp_path_factory.mktemp("agents")
    truth, profile = folder / "truth.jsonl", folder / "agent.yaml"
    profile.write_text(
        "delays_ms: {first_audio: {p50: 300, p95: 500}, speech_started: {p50: 60, p95: 90}}\ngeneration_speed: 4\n"
    )
    with running_simulator("--profile", str(profile), "--ground-truth", str(truth)) as simulator:
        talks = [
            (way, gevent.spawn(called, way, simulator.urls[f"agent_{way}"], folder / f"{way}-{number}"))
            for number in range(CALLS)
            for way in WAYS
        ]
        told = [(way, talk.get(timeout=GUARD_S)) for way, talk in talks]
    lines = list(read_truth(truth))
    sessions = {
        line["event_id"]: line["session"] for line in lines if line.get("direction") == "in" and line["type"] in OPENERS
    }
    of_session: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_session.setdefault(line.get("session", ""), []).append(line)
    names = [sessions[named(folder / log)] for log in logs()]
    return [Call(way, call, of_session[name]) for (way, call), name in zip(told, names, strict=True)]


OPENERS = ("start", "AudioMetadata", "text")
"""The messages in which a call says its name."""


def logs() -> Iterator[str]:
    for number in range(CALLS):
        for way in WAYS:
            yield f"{way}-{number}/call.jsonl"


def called(way: str, url: str, folder: Path) -> Replayed:
    folder.mkdir()
    script = folder / "call.yaml"
    wavs = str(ROOT / "scenarios" / "audio")
    script.write_text(SCRIPT.replace("EXTRA", EXTRA[way]).replace("WAVS", wavs))
    target = resolve_target({}, url=url, dialect=way)
    probe_target(
        target, Repertoire(load_script(script), target.dialect).session(0, 0), folder / "call.jsonl", record_audio=False
    )
    return replay_log(folder / "call.jsonl")


def named(log: Path) -> str:
    """How a call has called itself, by its own log."""
    sent = [line for line in map(json.loads, log.read_text().splitlines()) if line.get("name") in OPENERS]
    event = sent[0]["event"]
    name = event.get("streamSid") or event.get("id") or event["audioMetadata"]["subscriptionId"]
    return str(name)


def test_every_call_is_held_to_its_end_and_its_interruption_is_obeyed(calls: list[Call]) -> None:
    for call in calls:
        if call.held_up:  # a reply may be over before it is interrupted, or be cut by speech that comes in two pieces
            assert {turn.outcome for turn in call.told.turns} <= OF_HELD_UP
            continue
        first, second = call.told.turns
        assert call.told.session.outcome == "ok"
        assert (first.outcome, second.outcome) == ("interrupted", "ok"), (call.way, first.detail, second.detail)
        assert (first.interruption, first.yielded) == ("speech", True)


def test_calls_have_names_of_their_own(calls: list[Call]) -> None:
    names = [line["event_id"] for call in calls for line in call.lines("in", *OPENERS)]

    assert len(set(names)) == len(names) == CALLS * len(WAYS)


def test_what_is_audible_is_the_truth(calls: list[Call]) -> None:
    """From the end of speech that the agent heard to what it answered, within what the finder of sounds may be off."""
    for call in calls:
        if call.held_up:
            continue
        answers = [line for line in call.lines("out", AUDIO[call.way]) if line.get("utterance") == "answer"]
        for turn, answer in zip(call.told.turns, answers, strict=True):
            rate = bytes_per_s(call)
            edge = EDGE_NS * rate // NS_PER_S
            spoken_ns = [
                recorded_ns(call, byte)
                for byte in range(answer["speech_at_byte"] - edge, answer["speech_at_byte"] + edge, rate // 1000)
            ]
            first_ns, last_ns = min(first for first, _ in spoken_ns), max(last for _, last in spoken_ns)
            assert first_ns - NS_PER_MS <= turn.instants["speech_end"] <= last_ns + NS_PER_MS

            frames = call.lines("out", AUDIO[call.way])
            begin = frames.index(answer)
            end = next(place for place in range(begin, len(frames)) if frames[place]["audible_at_byte"] is not None)
            heard, ahead = (
                frames[end],
                sum(line["audio_bytes"] for line in frames[begin:end]) + frames[end]["audible_at_byte"],
            )
            heard_ns = call.came(answer).at_ns + JITTER_NS + ahead * NS_PER_S // rate  # it is played from its first on
            off_ns = turn.instants["first_audible"] - heard_ns
            assert abs(off_ns) <= turn.errors_ns["first_audible"] + hindrance_ns(call, heard), (call.way, off_ns)
            waited_ns = turn.instants["first_audible"] - turn.instants["speech_end"]
            assert turn.metrics_ns()["voice_to_voice"] == waited_ns


def recorded_ns(call: Call, end: int) -> tuple[int, int]:
    """When the caller's microphone had recorded everything before this byte, by when its chunk was handed over, and by
    when it had arrived: it was sent between the two.
    """
    chunks = zip(call.lines("in", AUDIO[call.way]), call.passages(AUDIO[call.way], sent=True), strict=True)
    line, sent = next((line, sent) for line, sent in chunks if line["from_byte"] < end <= line["to_byte"])
    rest_ns = (line["to_byte"] - end) * NS_PER_S // bytes_per_s(call)
    return sent.at_ns - rest_ns, line["at_ns"] - rest_ns


def hindrance_ns(call: Call, heard: dict[str, Any]) -> int:
    """How long a busy machine held up what came around a frame, where that is long enough to be taken for silence."""
    frames = call.lines("out", AUDIO[call.way])
    place = frames.index(heard)
    came = [call.came(line).at_ns for line in frames[max(0, place - 25) : place + 10]]
    longest_ns = max(later - before for before, later in pairwise(came))
    return longest_ns if longest_ns >= GAP_NS else 0


def bytes_per_s(call: Call) -> int:
    return {"pcm": 32_000, "twilio": 8_000, "acs": 32_000}[call.way]


def test_an_agent_that_says_that_it_notices_its_caller_is_silent_then(calls: list[Call]) -> None:
    for call in calls:
        if call.held_up:
            continue
        first, _ = call.told.turns
        if call.way not in CLEAR:
            assert "barge_in_detected" not in first.instants
            continue
        clears = call.passages(CLEAR[call.way], sent=False)
        after = [p.at_ns for p in clears if p.at_ns > first.instants["barge_in"]]
        assert first.instants["barge_in_detected"] == first.instants["barge_in_silent"] == after[0]
        assert first.metrics_ns()["barge_in_detection"] == after[0] - first.instants["barge_in"]


def test_an_agent_that_says_nothing_is_silent_once_what_came_was_played(calls: list[Call]) -> None:
    for call in calls:
        if call.way in CLEAR or call.held_up:
            continue
        first, _ = call.told.turns
        frames = call.lines("out", "audio")
        second = [number for number, line in enumerate(frames) if line.get("utterance") == "answer"][1]
        last_ns = call.came(frames[second - 1]).at_ns
        assert first.instants["barge_in"] < last_ns + 20 * NS_PER_MS <= first.instants["barge_in_silent"]
        assert first.instants["barge_in_silent"] < call.came(frames[second]).at_ns


def test_marks_come_back_once_what_was_before_them_was_played_or_dropped(calls: list[Call]) -> None:
    for call in calls:
        if call.way != "twilio":
            continue
        sent, came = call.passages("mark", sent=True), call.passages("mark", sent=False)
        assert len(sent) <= len(came) <= len(call.lines("out", "mark"))
        assert [line["event_id"] for line in call.lines("in", "mark")] == sorted(
            line["event_id"] for line in call.lines("in", "mark")
        )
        changes = sorted(
            [(p.at_ns, p) for p in call.told.passages if p.event is not None and p.name in ("media", "mark", "clear")],
            key=lambda pair: pair[0],
        )
        until_ns, due = 0, []
        for at_ns, passage in changes:
            if passage.name == "media":
                until_ns = max(until_ns, at_ns) + passage.audio_bytes * 125_000
            elif passage.name == "mark":
                due.append(max(at_ns, until_ns))
            else:
                until_ns, due = min(until_ns, at_ns), [min(one, at_ns) for one in due]
        over_ns = max(turn.instants["ended"] for turn in call.told.turns)
        assert len(sent) >= sum(due_ns <= over_ns for due_ns in due) > 0
        for due_ns, told in zip(due, sent, strict=False):
            assert due_ns <= told.at_ns


def test_the_line_says_goodbye(calls: list[Call]) -> None:
    assert all(len(call.lines("in", "stop")) == (call.way == "twilio") for call in calls)


def test_all_that_was_sent_and_came_is_counted(calls: list[Call]) -> None:
    for call in calls:
        session = call.told.session
        sent, heard = call.lines("out", AUDIO[call.way]), call.lines("in", AUDIO[call.way])
        assert session.audio_bytes_sent == heard[-1]["to_byte"]
        assert session.audio_bytes_received <= sum(line["audio_bytes"] for line in sent)
        assert session.unknown_events == {}
