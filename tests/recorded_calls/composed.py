"""Recordings composed of calls with known instants."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.base.units import NS_PER_S
from bench.plan.script import load_script
from bench.recorded_calls.channels import RecordedCall
from bench.recorded_calls.conversation import without_greeting
from bench.recorded_calls.playback import MeasuredCall, compiled_for_call, measure
from bench.recorded_calls.script_files import write_script
from bench.wire.audio import Samples
from tests.recorded_calls.constructed import ConstructedCall, find_speech, voice
from tests.recorded_calls.imports import found_utterances

RATE_HZ = 8_000
START_NS = 7 * NS_PER_S


def measured(call: RecordedCall, folder: Path, turn_detection: str = "full_duplex") -> MeasuredCall:
    talk, utterances = found_utterances(call)
    if turn_detection != "full_duplex":
        talk = without_greeting(talk)
    script = write_script(
        call, talk, utterances, folder / "out", {"turn_detection": turn_detection}, {}
    )
    compiled = compiled_for_call(load_script(script), call)
    return measure(call, utterances, compiled.prepare_session(0, 0), START_NS)


def composed(
    caller: dict[float, Samples], agent: dict[float, Samples], seconds: float
) -> ConstructedCall:
    """Return a call with these sounds, each at its second."""
    length = round(seconds * RATE_HZ)
    call = ConstructedCall(RATE_HZ, np.zeros(length, np.int16), np.zeros(length, np.int16))
    for channel, placed in ((call.caller, caller), (call.agent, agent)):
        for at_s, samples in placed.items():
            start = round(at_s * RATE_HZ)
            channel[start : start + len(samples)] += samples
    return call


def words(name: str) -> Samples:
    """Return only the speech of a voice."""
    samples = voice(name, RATE_HZ)
    span = find_speech(samples, RATE_HZ)
    return samples[span.begin : span.end]
