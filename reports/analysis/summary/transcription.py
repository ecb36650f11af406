"""What was transcribed in sessions that only transcribe, and translated by interpreters, and
what is missing of it. Pure.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.services.registry import dialect_of
from reports.data.turns import TurnArrays
from reports.engine.evaluate import ChosenTurns, average, by_target, counted
from reports.results.value import MEAN, Value
from reports.statistics.counting import count_nonzero

LAG_GROWTH = "transcript_lag_growth"


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
        yield from (counted(subject, name, count_nonzero(mine & of)) for name, of in counts.items())
        transcribed = count_nonzero(mine & good)
        audio_s = float(audio_ns[mine & good].sum()) / NS_PER_S
        per_s = audio_s / measured_s if measured_s else math.nan
        for name, value in (("audio_s", audio_s), ("audio_s_per_s", per_s)):
            yield replace(counted(subject, name, transcribed), value=value)


def interpreting_of(turns: TurnArrays, entries: Iterable[Mapping[str, Any]]) -> Iterator[Value]:
    """Yield the segments that each interpreter translated, by what is known of their lag. `entries`
    are the targets in run.json.

    - `segments_early` were heard before they ended, so they have no `voice_to_voice`
    - `segments_without_offset` have no `start_offset`, and `segments_without_lag` no
      `transcript_lag`
    - `segments_sent_late` had chunks that this machine sent late: the service reads the stream at
      the pace of its arrival, so their lags may be wrong by as much
    - the growth of `transcript_lag` during a segment, in ms, is a mean. Its interval is the mean of
      those of the segments, whose errors may be the same, because the words are
    """
    offset_ns, lag_ns, growth_ns, error_ns = (
        turns.column(f"{name}_ns")
        for name in ("start_offset", "transcript_lag", LAG_GROWTH, f"{LAG_GROWTH}_error")
    )
    good = turns.succeeded
    counts = {
        "segments": good,
        "segments_early": good & (turns.column("cut_off") == 1),
        "segments_without_offset": good & np.isnan(offset_ns),
        "segments_without_lag": good & np.isnan(lag_ns),
        "segments_sent_late": good & (turns.column("late_chunks") > 0),
    }
    interpreters = {entry.get("name") for entry in entries if dialect_of(entry).interprets}
    for subject, mine in by_target(turns):
        if subject.target not in interpreters:
            continue
        yield from (counted(subject, name, count_nonzero(mine & of)) for name, of in counts.items())
        of = ChosenTurns(subject, mine & good)
        low, value, high = (
            average(turns, of, LAG_GROWTH, ns / NS_PER_MS, MEAN)
            for ns in (growth_ns - error_ns, growth_ns, growth_ns + error_ns)
        )
        yield replace(value, low=low.value, high=high.value)
