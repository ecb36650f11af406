"""Constructed calls, of which every instant is known.

The caller's voice is that of the scenarios' recordings, and the agent's voice is that of the
simulator. The truth of a turn is the wait from the last sample of the caller's speech
(`bench.plan.recordings.find_speech`, without noise) to the first audible sample of the reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import rtbench_simulator
from bench.catalogue.metrics import AUDIBLE
from bench.plan.recordings import (
    DEPTH,
    FULL_SCALE,
    find_speech,
    resampled,
    to_pcm16,
    window_energies,
)
from bench.wire.audio import G711_ULAW, Samples
from tests.recorded_calls.changing_noise import Change, add_beeps, changing_noise
from tests.simulator_process import AUDIO

Floats = NDArray[np.float64]
VOICES = Path(str(rtbench_simulator.__file__)).parent / "voices"
CALLERS = ("late_parcel", "not_today", "opening_hours", "order_number")
AGENTS = ("appointment", "order", "sure", "weather")


@dataclass(frozen=True)
class Conditions:
    """The properties of a constructed call. `snr_db` and `echo_db` are None if there is no noise or
    no echo.

    `change` is the noise that changes in both channels, if there is any.
    """

    rate_hz: int = 16_000
    snr_db: float | None = None
    echo_db: float | None = None
    overlaps: bool = False
    g711: bool = False
    greets: bool = True
    change: Change | None = None
    beeps: bool = False


@dataclass
class ConstructedCall:
    """The samples of both channels, and the truth.

    `kinds`, `starts_s` and `ends_s` are the kind, the start and the end of each utterance of the
    caller. `waits_ms` is the wait from its end to the reply.
    """

    rate_hz: int
    caller: Samples
    agent: Samples
    kinds: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)


@cache
def voice(name: str, rate_hz: int) -> Samples:
    folder, suffix = (VOICES, "flac") if name in AGENTS or name == "hello" else (AUDIO, "wav")
    samples, recorded_hz = soundfile.read(folder / f"{name}.{suffix}", dtype="int16")
    return resampled(samples, recorded_hz, rate_hz)


def audible(samples: Samples) -> tuple[int, int]:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= AUDIBLE)
    return int(loud[0]), int(loud[-1]) + 1


def constructed_call(seed: int, conditions: Conditions, turns: int = 5) -> ConstructedCall:
    """Return a call with this number of turns. The choices depend only on `seed`."""
    random, rate_hz = np.random.default_rng(seed), 8_000 if conditions.g711 else conditions.rate_hz
    length = (turns + 1) * 16 * rate_hz
    caller, agent = np.zeros(length), np.zeros(length)
    call = ConstructedCall(rate_hz, np.zeros(0, np.int16), np.zeros(0, np.int16))
    at = round(rate_hz * random.uniform(0.3, 1.5))
    spoken = list[tuple[int, int]]()
    if conditions.greets:
        greeting = voice("hello", rate_hz)
        spoken.append((at + audible(greeting)[0], at + audible(greeting)[1]))
        at = _put(agent, greeting, at)
    at += round(rate_hz * random.uniform(0.4, 2.5))
    interrupts = False
    for number in range(turns):
        words = voice(CALLERS[random.integers(len(CALLERS))], rate_hz)
        span = find_speech(words, rate_hz)
        if not interrupts:
            call.kinds.append("turn")
            call.starts_s.append((at + span.begin) / rate_hz)
        _put(caller, words, at)
        end = at + span.end
        call.ends_s.append(end / rate_hz)
        reply = voice(AGENTS[random.integers(len(AGENTS))], rate_hz)
        first, last = audible(reply)
        wait = round(rate_hz * random.uniform(0.25, 3.0))
        start = end + wait
        call.waits_ms.append(1_000 * wait / rate_hz)
        interrupts = conditions.overlaps and number + 1 < turns and random.random() < 0.5
        if interrupts:
            barge_in = start + round(rate_hz * random.uniform(0.8, (last - first) / rate_hz - 0.9))
            silent = barge_in + round(rate_hz * random.uniform(0.2, 0.6))
            spoken.append((start, silent))
            _put(agent, reply[: silent - start + first], start - first)
            call.kinds.append("interruption")
            call.starts_s.append(barge_in / rate_hz)
            following = voice(CALLERS[0], rate_hz)
            at = barge_in - find_speech(following, rate_hz).begin
        else:
            spoken.append((start, start + last - first))
            at = _put(agent, reply, start - first) + round(rate_hz * random.uniform(0.4, 3.0))
    length = at + rate_hz
    caller, agent = caller[:length], agent[:length]
    _add_noise((caller, agent), (_heard(call), spoken), conditions, rate_hz, random)
    call.caller, call.agent = (
        to_pcm16((channel / FULL_SCALE).astype(np.float32)) for channel in (caller, agent)
    )
    if conditions.g711:
        call.caller, call.agent = (
            G711_ULAW.decode(G711_ULAW.encode(samples)) for samples in (call.caller, call.agent)
        )
    return call


def short_call(rate_hz: int) -> tuple[Samples, Samples]:
    """Return the channels of a call with one turn, which the agent answers after 0.7 s."""
    words, reply = voice("not_today", rate_hz), voice("sure", rate_hz)[: 2 * rate_hz]
    start = round(0.4 * rate_hz)
    answer = start + find_speech(words, rate_hz).end + round(0.7 * rate_hz) - audible(reply)[0]
    caller, agent = (np.zeros(answer + len(reply) + rate_hz) for _ in range(2))
    _put(caller, words, start)
    _put(agent, reply, answer)
    return to_pcm16((caller / FULL_SCALE).astype(np.float32)), to_pcm16(
        (agent / FULL_SCALE).astype(np.float32)
    )


def _heard(call: ConstructedCall) -> list[tuple[int, int]]:
    words_s = zip(call.starts_s, call.ends_s, strict=True)
    return [
        (round(start_s * call.rate_hz), round(end_s * call.rate_hz)) for start_s, end_s in words_s
    ]


def _add_noise(
    channels: tuple[Floats, Floats],
    spoken: tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]],
    conditions: Conditions,
    rate_hz: int,
    random: np.random.Generator,
) -> None:
    """Add noise, the echo of the agent, and beeps to the channels of the caller and the agent."""
    caller, agent = channels
    if conditions.snr_db is not None:
        level = np.sqrt((voice(CALLERS[0], rate_hz).astype(np.float64) ** 2).mean())
        for channel in channels:
            channel += random.normal(0, level / 10 ** (conditions.snr_db / 20), len(channel))
    if conditions.echo_db is not None:
        caller += _echo(agent, conditions.echo_db, rate_hz, random)
    for channel, stretches, backwards in zip(channels, spoken, (False, True), strict=True):
        if conditions.change is not None:
            open_in = words_in(channel, rate_hz) if conditions.change == "words" else stretches
            channel += changing_noise(
                conditions.change, open_in, len(channel), rate_hz, random, backwards=backwards
            )
        if conditions.beeps:
            add_beeps(channel, rate_hz)


def words_in(channel: Floats, rate_hz: int) -> list[tuple[int, int]]:
    """Return the stretches of a channel without noise that contain words. They end at each gap
    of 20 ms.
    """
    energies = window_energies(channel.astype(np.int16), rate_hz // 1_000)
    loud = np.flatnonzero(energies >= energies.max() / DEPTH)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > 1) + 1)
    return [(int(run[0]) * rate_hz // 1_000, int(run[-1]) * rate_hz // 1_000) for run in runs]


def _put(channel: Floats, samples: Samples, at: int) -> int:
    at = max(0, at)
    channel[at : at + len(samples)] += samples
    return at + len(samples)


def _echo(agent: Floats, echo_db: float, rate_hz: int, random: np.random.Generator) -> Floats:
    """Return an echo through a small room: the direct sound after a delay, and decaying
    reflections.
    """
    taps = round(0.03 * rate_hz)
    response = random.normal(0, 0.3, taps) * np.exp(-np.arange(taps) / (0.006 * rate_hz))
    response[0] = 1.0
    response *= 10 ** (echo_db / 20) / np.sqrt((response**2).sum())
    delay = round(rate_hz * random.uniform(0.02, 0.3))
    echo = np.zeros(len(agent))
    echo[delay:] = np.convolve(agent, response)[: len(agent) - delay]
    return echo
