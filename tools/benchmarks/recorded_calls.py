"""Errors of imported calls, by condition: 450 constructed calls with known instants, in one table.

Each call has five turns. Noise is the given number of dB below the caller's voice, in both
channels. The echo is the agent's voice in the caller's channel, through a small room. Lossy calls
are decoded to a WAV. Noise that changes (`tests.recorded_calls.changing_noise`) is in both
channels, and a fifth of these calls has beeps of a recorder. `make benchmark PARTS=recorded_calls`
prints the table that docs/recorded-calls.md quotes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS
from bench.plan.script import load_script
from bench.recorded_calls.channels import read_call
from bench.recorded_calls.conversation import conversation
from bench.recorded_calls.playback import compiled_for_call, measure
from bench.recorded_calls.script_files import recorded_utterances, write_script
from tests.recorded_calls.changing_noise import Change
from tests.recorded_calls.constructed import Conditions, ConstructedCall, constructed_call
from tools.made_page import table

CALLS = 25
"""The number of calls for each condition."""
CONDITIONS: Mapping[str, Conditions] = {
    "silence": Conditions(),
    "G.711": Conditions(g711=True),
    "noise, 30 dB": Conditions(snr_db=30),
    "noise, 20 dB": Conditions(snr_db=20),
    "echo, −30 dB": Conditions(echo_db=-30),
    "echo, −15 dB": Conditions(echo_db=-15),
    "interruptions": Conditions(overlaps=True),
    "all: G.711, noise 25 dB, echo −15 dB, interruptions": Conditions(
        overlaps=True, echo_db=-15, snr_db=25, g711=True
    ),
}
CHANGING: Mapping[str, Change] = {
    "noise that begins": "begins",
    "noise that stops": "stops",
    "noise that swells": "swells",
    "noise in steps": "steps",
    "noise gate": "gate",
    "noise gate, each word": "words",
    "comfort noise in pauses": "comfort",
    "automatic gain": "pumps",
}
LOSSY: Mapping[str, tuple[str, str, str]] = {
    "MP3, 16 kbit/s, as a WAV": ("MP3", "MPEG_LAYER_III", "mp3"),
    "Ogg Vorbis, as a WAV": ("OGG", "VORBIS", "vorbis"),
}
"""The lossy conditions: the format and the subtype of libsndfile, and the codec."""
NEAR_S = 0.5
"""The maximum distance of a turn that is found from the turn of the truth."""
SAMPLE_MS = 0.2
"""The resolution of a recording of 8 kHz, and the rounding of a script's positions."""


@dataclass
class Errors:
    turns: int = 0
    missed: int = 0
    invented: int = 0
    beyond: int = 0
    errors_ms: list[float] = field(default_factory=list)
    bounds_ms: list[float] = field(default_factory=list)


def main() -> None:
    calls = {
        name: [(seed, conditions) for seed in range(CALLS)]
        for name, conditions in CONDITIONS.items()
    }
    calls |= {name: list(_changing(change)) for name, change in CHANGING.items()}
    calls |= {name: [(seed, Conditions(rate_hz=8_000)) for seed in range(CALLS)] for name in LOSSY}
    rows = []
    for name, constructed in calls.items():
        errors = Errors()
        for seed, conditions in constructed:
            _import(
                constructed_call(seed, conditions), errors, LOSSY.get(name), g711=conditions.g711
            )
        absolute = np.abs(errors.errors_ms)
        rows.append(
            [
                name,
                str(errors.turns),
                str(errors.missed),
                str(errors.invented),
                *(f"{np.quantile(absolute, p):.1f}" for p in (0.5, 0.99, 1.0)),
                f"{np.quantile(errors.bounds_ms, 0.5):.0f}",
                str(errors.beyond),
            ]
        )
    heads = [
        "condition",
        "turns",
        "missed",
        "invented",
        "p50, ms",
        "p99",
        "max",
        "bound",
        "beyond the bound",
    ]
    print(table(heads, rows))


def _changing(change: Change) -> Iterator[tuple[int, Conditions]]:
    for seed in range(CALLS):
        rate_hz, g711 = (8_000, 16_000)[seed % 2], seed % 3 == 1
        yield (
            seed,
            Conditions(
                rate_hz, g711=g711, overlaps=seed % 4 == 3, beeps=seed % 5 == 4, change=change
            ),
        )


def _import(
    call: ConstructedCall, errors: Errors, lossy: tuple[str, str, str] | None, *, g711: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        channels = np.stack([call.caller, call.agent], axis=1)
        soundfile.write(path, channels, call.rate_hz, subtype="ULAW" if g711 else "PCM_16")
        if lossy is not None:
            encoded = Path(folder) / "encoded"
            level = 0.99 if lossy[0] == "MP3" else 0.5
            soundfile.write(
                encoded,
                channels,
                call.rate_hz,
                format=lossy[0],
                subtype=lossy[1],
                compression_level=level,
            )
            decoded, rate_hz = soundfile.read(encoded, dtype="int16")
            soundfile.write(path, decoded, rate_hz, subtype="PCM_16")
        try:
            recorded = read_call(path, "auto", None if lossy is None else lossy[2])
        except UsageError as error:
            print(error, file=sys.stderr)
            errors.turns += len(call.waits_ms)
            errors.missed += len(call.waits_ms)
            return
        rate_hz = recorded.audio.rate_hz
        talk = conversation(
            recorded.caller_sounds, recorded.agent_sounds, rate_hz, len(recorded.agent)
        )
        utterances = recorded_utterances(recorded, talk)
        script = load_script(
            write_script(recorded, talk, utterances, Path(folder) / "out", SESSION, {})
        )
        prepared = compiled_for_call(script, recorded).prepare_session(0, 0)
        turns = {
            turn.step: turn for turn in measure(recorded, utterances, prepared, START_NS).turns
        }
    found = {entry.name: entry.utterance.start / rate_hz for entry in utterances}
    for start_s, wait_ms in zip(call.starts_s, call.waits_ms, strict=True):
        errors.turns += 1
        name = next((name for name, at_s in found.items() if abs(at_s - start_s) < NEAR_S), None)
        turn = turns.get(name or "")
        if turn is None or not {"speech_end", "first_audible"} <= turn.instants.keys():
            errors.missed += 1
            continue
        del found[str(name)]
        error_ms = (
            turn.instants["first_audible"] - turn.instants["speech_end"]
        ) / NS_PER_MS - wait_ms
        bound_ms = (
            turn.uncertainties_ns["first_audible"] + turn.widths_ns["speech_end"]
        ) / NS_PER_MS
        errors.errors_ms.append(error_ms)
        errors.bounds_ms.append(bound_ms)
        errors.beyond += abs(error_ms) > bound_ms + SAMPLE_MS
    errors.invented += len(found)


SESSION = {"turn_detection": "full_duplex"}
START_NS = 1_000_000_000_000


if __name__ == "__main__":
    main()
