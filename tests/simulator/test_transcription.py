"""Transcripts of the caller's audio: their errors, and their padding."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import word_errors
from rtbench_simulator.behaviour import Behaviour
from rtbench_simulator.caller_turns import SimulatedAsr
from rtbench_simulator.profile import TranscriptSettings
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    all_of,
    append,
    drain,
    listening,
)


def test_the_share_of_failed_transcriptions_is_that_of_the_profile() -> None:
    profile = TranscriptSettings(failure_rate=0.5)
    behaviour = listening(None, model="whisper-1", transcripts=profile)
    failed = sum(len(all_of(transcribed(behaviour), ".failed")) for _ in range(40))

    assert 8 < failed < 32


def transcribed(behaviour: Behaviour) -> list[dict[str, Any]]:
    """Append and commit 2.3 s of audio; return the events of its transcription."""
    behaviour.receive(append(2300), AT_NS)
    behaviour.receive(COMMIT, AT_NS)
    return [event for event in drain(behaviour) if "transcription" in event["type"]]


@given(st.integers(1, 12), st.integers(0, 100), st.sampled_from(["word ", "किताब ", "字"]))
def test_the_word_error_rate_is_that_of_the_profile(words: int, percent: int, word: str) -> None:
    text = word * words
    asr = SimulatedAsr(TranscriptSettings((text,), percent / 100))
    transcripts = [asr.transcribe(1_000) for _ in range(100)]

    assert sum(word_errors(text, each)[1] for each in transcripts) == words * percent
    assert max(word_errors(text, each)[1] for each in transcripts) <= words * percent / 100 + 1


def test_transcription_deltas_are_padded_if_obfuscation_is_on() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-transcribe", obfuscation=True))

    assert all(11 <= len(event["obfuscation"]) <= 15 for event in deltas)
    assert "obfuscation" not in completed
