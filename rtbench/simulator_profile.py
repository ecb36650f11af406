"""`rtbench simulate --from-run`: a simulator profile with the delays that a run measured.

Each delay becomes a list of quantiles, at equal shares, of the successful, measured turns (or
sessions). It includes the network path, and is sampled independently of others. The simulator may
not import `reports`, so this code is here.
"""

import numpy as np
import pandas as pd

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS
from reports.data.runs import RunFrames
from reports.data.turns import target_labels
from reports.statistics.counting import Floats
from rtbench_simulator.profile import Profile, measured_profile

MIN_TURNS = 5
MAX_STEPS = 100
"""The maximum number of steps between quantiles. The number of quantiles is at most the number
of values."""
MIN_MS = 0.001
TURN_DELAYS = {
    "committed": (("request_sent",), "committed"),
    "vad_committed": (("speech_stopped",), "committed"),
    "input_transcribed": (("committed",), "input_transcribed"),
    "response_created": (("request_sent", "committed"), "response_created"),
    "first_text": (("request_sent", "committed"), "first_text"),
    "first_audio": (("request_sent", "committed"), "first_audio"),
    "function_named": (("request_sent", "committed"), "function_call_added"),
    "transcript_lead": (("first_transcript",), "first_audio"),
    "response_done": (("last_audio",), "response_done"),
}
"""A mapping from each delay of a turn to its start, the first of these instants that the turn
has, and its end."""
SESSION_DELAYS = {
    "session_created": (("opened",), "session_created"),
    "session_updated": (("update_sent",), "session_updated"),
}


def simulator_profile(run: RunFrames, target: str | None, step: str | None = None) -> Profile:
    """Return the profile of a run, or of one of its targets or steps.

    Raise UsageError if a target must be named, or is unknown, or if there are too few successful
    turns.
    """
    labels = target_labels(run)
    if target is None and len(labels) > 1:
        raise UsageError(
            f"{run.folder} has several targets: name one,"
            f" {' or '.join(f'{run.folder}:{t}' for t in labels)}"
        )
    if target is not None and target not in labels:
        raise UsageError(
            f"{run.folder} has no target {target}: it has {', '.join(labels) or 'none at all'}"
        )
    turns, sessions = (
        frame[
            frame["measured"]
            & (frame["outcome_class"] == "success")
            & (target is None or frame["target"] == target)
        ]
        for frame in (run.turns, run.sessions)
    )
    if step is not None:
        turns = turns[turns["step"] == step]
    if len(turns) < MIN_TURNS:
        step_text = f" of {step}" if step else ""
        raise UsageError(
            f"{run.folder.name} has {len(turns)} successful turns{step_text}, but --from-run needs"
            f" {MIN_TURNS}"
        )
    calling = turns["function_calls"].fillna(0) > 0
    delays = {
        name: _quantiles(turns if name == "function_named" else turns[~calling], *delay)
        for name, delay in TURN_DELAYS.items()
    }
    delays |= {name: _quantiles(sessions, *delay) for name, delay in SESSION_DELAYS.items()}
    speed = turns["audio_speed"].median()
    generation_speed = None if np.isnan(speed) else round(float(np.clip(speed, 0.1, 1_000)), 3)
    return measured_profile(f"like {run.folder.name}", delays, generation_speed)


def _quantiles(frame: pd.DataFrame, start_names: tuple[str, ...], end: str) -> list[float]:
    """Return the quantiles of the delay at equal shares; an empty list if too few rows have the
    delay.
    """
    start_ns = _instant(frame, start_names[0])
    for other in start_names[1:]:
        start_ns = np.where(np.isnan(start_ns), _instant(frame, other), start_ns)
    took_ms = (_instant(frame, end) - start_ns) / NS_PER_MS
    took_ms = took_ms[took_ms >= 0]  # also removes NaN
    if took_ms.size < MIN_TURNS:
        return []
    shares = np.linspace(0, 1, min(MAX_STEPS, took_ms.size - 1) + 1)
    return [round(float(value), 3) for value in np.maximum(np.quantile(took_ms, shares), MIN_MS)]


def _instant(frame: pd.DataFrame, name: str) -> Floats:
    return frame[f"{name}_at_ns"].to_numpy(float)
