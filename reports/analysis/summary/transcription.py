"""The amount of speech that was transcribed in sessions that only transcribe, and what is
missing of it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from bench.base.units import NS_PER_S
from reports.data.turns import TurnArrays
from reports.engine.evaluate import by_target, counted
from reports.results.value import Value


def are_answered(scripts: Sequence[dict[str, object]]) -> bool:
    """Return whether the scripts of a run, as in run.json, have replies. The others only
    transcribe.
    """
    return not scripts or any(script.get("output") != "transcript" for script in scripts)


def transcription_of(turns: TurnArrays, measured_s: float) -> Iterator[Value]:
    """Yield the transcription of each target. `measured_s`: the duration of the measured phase in
    seconds.

    - `turns_without_deltas` have no delta before the finished transcript, and `turns_without_lag`
      no `transcript_lag`
    - `turns_split` have several commits, because the VAD took a pause for the end of speech
    - `audio_s` is the audio of transcribed turns in seconds, and `audio_s_per_s` that per second of
      the measured phase
    """
    audio_ns, deltas, splits = (
        np.nan_to_num(turns.column(name))
        for name in ("input_audio_ns", "input_transcript_deltas", "vad_splits")
    )
    good = turns.succeeded
    counts = {
        "turns": np.ones_like(good),
        "turns_transcribed": good,
        "turns_without_deltas": good & (deltas == 0),
        "turns_without_lag": good & np.isnan(turns.column("transcript_lag_ns")),
        "turns_split": splits > 0,
    }
    for subject, mine in by_target(turns):
        yield from (counted(subject, name, int((mine & of).sum())) for name, of in counts.items())
        transcribed = int((mine & good).sum())
        audio_s = float(audio_ns[mine & good].sum()) / NS_PER_S
        per_s = audio_s / measured_s if measured_s else math.nan
        for name, value in (("audio_s", audio_s), ("audio_s_per_s", per_s)):
            yield replace(counted(subject, name, transcribed), value=value)
