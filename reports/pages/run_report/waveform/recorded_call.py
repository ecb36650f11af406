"""The recorded call of a run that its report draws: the call of the slowest measured turn, because
a reader wants to know what happened there.

Only calls of which `--record-audio` recorded the audio can be chosen. All instants are in seconds
after the start of the call. The envelope of a channel has the lowest and the highest sample of each
of `columns` equal parts of the time that is shown.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.record.metric_values import floats, measured_from_ns
from reports.analysis.summary.example_turns import text_in
from reports.analysis.summary.summary import Summary
from reports.data.runs import RunFrames, part_of, records
from reports.data.samples import VOICE_TO_VOICE
from reports.data.turns import values_of

MAX_CALL_S = 300.0
"""The maximum duration of the call. The log of a longer call takes too long to read."""
MAX_SHOWN_S = 60.0
"""The maximum duration of the part that is shown. In a longer part, waits are only a few pixels
wide."""
BEFORE_SHARE = 0.5
"""The share of this part that is before the slowest turn, if the call is longer."""
Envelope = npt.NDArray[np.int16]
"""The shape is columns × 2."""


class Wait(NamedTuple):
    """The time from the end of the caller's turn to the reply.

    If the turn failed, `failure` is its outcome, and the wait ends with the turn. It begins with
    the turn if it is unknown when the caller ended.
    """

    turn: int
    step: str
    start_s: float
    end_s: float
    failure: str = ""

    @property
    def wait_ms(self) -> float:
        return 1e3 * (self.end_s - self.start_s)


class RecordedCall(NamedTuple):
    """A call, and its part from `start_s` to `end_s`. `calls` is the number of recorded calls from
    which it was chosen. `metric` is the latency of which `slowest` has the largest value.
    """

    target: str
    event_log: str
    calls: int
    metric: str
    slowest: Wait
    waits: tuple[Wait, ...]
    start_s: float
    end_s: float
    caller: Envelope
    service: Envelope


def recorded_call(summary: Summary, columns: int) -> RecordedCall | None:
    """Return the call of the slowest measured turn; None if no audio was recorded, or no turn of a
    recorded call has a latency. Raise UsageError if the event log cannot be read.
    """
    run = summary.run
    if not part_of(run.metadata, "settings").get("record_audio"):
        return None
    is_short = floats(run.sessions, "ended_at_ns") <= MAX_CALL_S * NS_PER_S
    is_logged = run.sessions["event_log"].eq(True).to_numpy(bool, na_value=False)
    sessions = run.sessions[is_short & is_logged]
    for metric in dict.fromkeys((VOICE_TO_VOICE, *summary.mains.values())):
        sample = summary.samples[metric]
        known = sample.index[np.isfinite(sample.values)]  # in ascending order of the latency
        rows = summary.turns.frame.iloc[summary.turns.rows[known]]
        recorded = rows["session_id"].isin(sessions["session_id"]).to_numpy()
        if recorded.any():
            (turn,) = records(rows[recorded].iloc[-1:])
            (session,) = records(sessions[sessions["session_id"] == turn["session_id"]])
            return _call(run, session, int(turn["turn"]), metric, len(sessions), columns)
    return None


def _call(
    run: RunFrames, session: dict[str, Any], turn: int, metric: str, calls: int, columns: int
) -> RecordedCall:
    from bench.record.call_audio import call_audio

    log = f"events/{session['session_id']}.jsonl"
    audio = call_audio(run.folder / log)
    waits = tuple(_waits(run, session))
    slowest = next(wait for wait in waits if wait.turn == turn)
    duration_s = len(audio.samples) / audio.rate_hz
    shown_s = min(duration_s, MAX_SHOWN_S)
    latest_s = duration_s - shown_s
    start_s = min(max(0.0, slowest.start_s - BEFORE_SHARE * MAX_SHOWN_S), latest_s)
    first = round(start_s * audio.rate_hz)
    shown = audio.samples[first : first + round(shown_s * audio.rate_hz)]
    caller, service = (envelope(channel, columns) for channel in shown.T)
    return RecordedCall(
        target=str(session["target"]),
        event_log=log,
        calls=calls,
        metric=metric,
        slowest=slowest,
        waits=waits,
        start_s=start_s,
        end_s=start_s + shown_s,
        caller=caller,
        service=service,
    )


def _waits(run: RunFrames, session: dict[str, Any]) -> Iterator[Wait]:
    """Yield the wait of each turn of a session, in order. A turn without a latency that has not
    failed, such as one that the caller interrupted early, has none.
    """
    rows = run.turns[run.turns["session_id"] == session["session_id"]].sort_values("turn")
    from_speech_ms = values_of(rows, VOICE_TO_VOICE)
    others_ms = values_of(rows, "ttfa")
    measured_ns = np.asarray(measured_from_ns(rows), float)
    for index, turn in enumerate(records(rows)):
        began_ns = turn["start_ns"] - session["start_ns"]
        is_spoken = not math.isnan(from_speech_ms[index])
        start_ns = began_ns + (turn["speech_end_at_ns"] if is_spoken else measured_ns[index])
        end_ns = start_ns + NS_PER_MS * float((from_speech_ms if is_spoken else others_ms)[index])
        failure = text_in(turn, "outcome") if turn["outcome_class"] == "failed" else ""
        if failure:
            start_ns = began_ns if math.isnan(start_ns) else start_ns
            end_ns = began_ns + turn["ended_at_ns"]
        if not math.isnan(end_ns - start_ns):
            step = text_in(turn, "step")
            yield Wait(int(turn["turn"]), step, start_ns / NS_PER_S, end_ns / NS_PER_S, failure)


def envelope(samples: npt.NDArray[np.int16], columns: int) -> Envelope:
    """Return the lowest and the highest sample of each of equal parts of a channel."""
    edges = np.arange(columns) * len(samples) // columns
    lowest, highest = (extreme.reduceat(samples, edges) for extreme in (np.minimum, np.maximum))
    return np.stack([lowest, highest], axis=1)
