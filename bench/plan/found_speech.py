"""The position of the speech in the recordings of a script, for the user, and the reasons to
doubt it. Pure.
"""

# Speech is detected down to 35 dB below its level, so that weak consonants belong to it. A breath
# or a noise at that level would then shift the start or the end, and with it every latency that is
# measured from the end of speech. Therefore the speech is detected a second time, with a floor at
# which only voices are, and a third time without short sounds that may be the last consonant of a
# word, or a click. If two results differ by `FAINT_MS` or more at an edge, this edge is in doubt,
# and the user is told. The doubt changes no value.

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.plan.recordings import (
    ABOVE_NOISE,
    FAR_MS,
    FULL_SCALE,
    NEAR_MS,
    RATE_HZ,
    WINDOW_MS,
    Pcm,
    SpeechSpan,
    heard,
    speech_level,
    speech_span,
    window_energies,
)
from bench.plan.script import Script
from bench.plan.steps import SoundStep

QUIETEST = 0.1
"""The share of the windows, the quietest, that have at most the level of the background."""
CERTAIN = 10 ** (25 / 10)
CERTAIN_AT_ONCE = 10 ** (15 / 10)
"""The maximum distances below the level of speech of what is certainly speech, in silence and in
noise: 25 and 15 dB, as ratios of energies."""
REMEDY = "remove the noise, or state `speech` in the script"
FAINT_MS = 100
"""The duration from which quiet sound at the start or the end of speech is a doubt. A weak
consonant is shorter."""
DOUBTS = (
    (FAR_MS, "are quiet, like noise or breath"),
    (NEAR_MS, "have only short sounds, like clicks"),
)
"""(The time without another sound from which a short sound may be a click; what else is there)."""
PAUSES_S = 1.5
"""The duration of speech from which it has a window that is 15 dB quieter."""


@dataclass(frozen=True)
class FoundSpeech:
    """The speech of a recording.

    `background_dbfs` is None if the background is digital silence. `doubt` is the reason why the
    start or the end may be wrong, as the rest of a sentence; "" if there is none, or if the script
    states the speech.
    """

    name: str
    start_s: float
    end_s: float
    seconds: float
    level_dbfs: float
    background_dbfs: float | None
    doubt: str

    @property
    def text(self) -> str:
        background = (
            "silent" if self.background_dbfs is None else f"{self.background_dbfs:.0f} dBFS"
        )
        found = (
            f"{self.name}: speech {self.start_s:.2f} to {self.end_s:.2f} of {self.seconds:.2f} s,"
            f" level {self.level_dbfs:.0f} dBFS, background {background}"
        )
        return f"{found}; not certain: {self.doubt}" if self.doubt else found


def speeches(script: Script) -> list[FoundSpeech]:
    """Return the speech of each recording of a script, once, in the order of the steps. Noise
    has no speech.
    """
    spoken = (
        step
        for step in script.steps
        if not (isinstance(step, SoundStep) and step.sound.kind == "noise")
    )
    recordings = (pcm for step in spoken for pcm in step.recordings)
    each = {(pcm.path, pcm.speech, pcm.samples): pcm for pcm in recordings}
    return [found_speech(pcm) for pcm in each.values()]


def found_speech(pcm: Pcm) -> FoundSpeech:
    samples = heard(np.frombuffer(pcm.data, np.int16), RATE_HZ)
    span = pcm.speech
    level = speech_level(samples, RATE_HZ)
    background = _background(samples)
    is_found = pcm.pause_ns is None and speech_span(samples, RATE_HZ) == span
    return FoundSpeech(
        pcm.path.name,
        span.begin / RATE_HZ,
        span.end / RATE_HZ,
        pcm.seconds,
        _dbfs(level),
        _dbfs(background) if background >= 1 else None,
        _doubt(samples, span, level, background) if is_found else "",
    )


def _dbfs(energy: float) -> float:
    return float(10 * np.log10(max(1.0, energy) / FULL_SCALE**2))


def _background(samples: NDArray[np.int16]) -> float:
    """Return the energy of the background: at most that of the quietest windows within the
    recording.
    """
    energies = window_energies(samples, RATE_HZ // 1_000)[WINDOW_MS - 1 : 1 - WINDOW_MS]
    return float(np.quantile(energies, QUIETEST))


def _doubt(samples: NDArray[np.int16], span: SpeechSpan, level: float, background: float) -> str:
    """Return the reason why the detected start or end may be wrong; "" if there is none."""
    is_whole = span == SpeechSpan(0, len(samples))
    if is_whole and background > level / CERTAIN_AT_ONCE and len(samples) >= PAUSES_S * RATE_HZ:
        return f"no part is quiet, so start and end are those of the file: {REMEDY}"
    floor = min(level / CERTAIN_AT_ONCE, max(level / CERTAIN, ABOVE_NOISE * background))
    for far_ms, what in DOUBTS:
        certain = speech_span(samples, RATE_HZ, min_energy=floor, far_ms=far_ms)
        edges_ms = (
            (certain.begin - span.begin) * 1_000 // RATE_HZ,
            (span.end - certain.end) * 1_000 // RATE_HZ,
        )
        parts = [
            f"its {edge} {ms} ms"
            for edge, ms in zip(("first", "last"), edges_ms, strict=True)
            if ms >= FAINT_MS
        ]
        if parts:
            return f"{' and '.join(parts)} {what}: {REMEDY}"
    return ""
