"""The amount of speech that was transcribed in sessions that only transcribe, and what is missing of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from bench.base.units import NS_PER_S
from reports.data.turns import TurnArrays
from reports.results.json_entries import Count, JsonEntry, Rounded, described


class Transcription(JsonEntry, frozen=True):
    """The transcription of one target's measured turns, in sessions without replies."""

    target: str
    turns: Count
    turns_transcribed: Count
    turns_without_deltas: Annotated[Count, described("transcribed, but without a delta before the finished transcript")]
    turns_without_lag: Annotated[Count, described("transcribed, but without `transcript_lag`")]
    turns_split: Annotated[Count, described("with several commits, because the VAD took a pause for the end of speech")]
    audio_s: Annotated[Rounded, described("seconds of audio in transcribed turns")]
    audio_s_per_s: Annotated[Rounded, described("the same per second of the measured phase")]


def are_answered(scripts: Sequence[dict[str, object]]) -> bool:
    """Return whether the scripts of a run, as in run.json, have replies. The others only transcribe."""
    return not scripts or any(script.get("output") != "transcript" for script in scripts)


def transcription_of(turns: TurnArrays, measured_s: float) -> tuple[Transcription, ...]:
    """Return the transcription of each target. `measured_s`: the duration of the measured phase in seconds."""
    audio_ns, deltas, splits = (
        np.nan_to_num(turns.column(name)) for name in ("input_audio_ns", "input_transcript_deltas", "vad_splits")
    )
    has_lag, results = ~np.isnan(turns.column("transcript_lag_ns")), []
    for index, target in enumerate(turns.targets):
        mine = turns.target == index
        good = mine & turns.succeeded
        audio_s = float(audio_ns[good].sum()) / NS_PER_S
        results.append(
            Transcription(
                target,
                int(mine.sum()),
                int(good.sum()),
                int((good & (deltas == 0)).sum()),
                int((good & ~has_lag).sum()),
                int((mine & (splits > 0)).sum()),
                audio_s,
                audio_s / measured_s if measured_s else float("nan"),
            )
        )
    return tuple(results)
