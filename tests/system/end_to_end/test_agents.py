"""Agents that are called: four calls at a time each way, interruptions among them, held against the agents' own log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.plan.repertoire import Repertoire
from bench.plan.script import load_script
from bench.probe import probe_target
from bench.run.replay import Replayed, replay_log
from bench.simulator.truth import read_truth
from tests.helpers import resolve_target
from tests.played_session import GUARD_S, hang_guard
from tests.simulator_process import ROOT, running_simulator

WAYS = ("pcm", "twilio", "acs")
CALLS = 4
OF_HELD_UP = {"interrupted", "ok", "timeout:first_delta", "cancelled:turn_detected"}
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
    """On a busy machine a reply may be over before it is interrupted, or be cut by speech that comes in two pieces."""
    for call in calls:
        turns = call.told.turns
        assert {turn.outcome for turn in turns} <= OF_HELD_UP, call.way
        if [turn.outcome for turn in turns] == ["interrupted", "ok"]:
            assert call.told.session.outcome == "ok"
            assert (turns[0].interruption, turns[0].yielded) == ("speech", True)


def test_calls_have_names_of_their_own(calls: list[Call]) -> None:
    names = [line["event_id"] for call in calls for line in call.lines("in", *OPENERS)]

    assert len(set(names)) == len(names) == CALLS * len(WAYS)
