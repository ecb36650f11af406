"""Single turns of a run: slow turns with their IDs, and example turns for the speech timeline.

Times in the timeline are in seconds after the end of speech. The event log of a session shows when
a reply was played. The simulated player starts when the jitter buffer's delay after the first audio
delta has passed. It plays at the rate of the audio format. If all received audio has been played,
playback stalls until the next delta.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import CATALOGUE, MEASURED_FROM, ORIGIN
from bench.files.safe_io import JsonError, open_file, read_json
from bench.files.sanitize import escape_control
from bench.record.metric_values import floats, measured_from_ns
from reports.data.runs import RunFrames, records, response_ids, scripts_of
from reports.data.samples import VOICE_TO_VOICE, MetricSample, MetricSamples
from reports.data.turns import TurnArrays, values_of
from reports.metrics.strata import MainMetric, Stratum
from reports.results.json_entries import Count, Known, Rounded
from reports.statistics.counting import Integers
from reports.statistics.quantiles import rank

MAX_TURNS = 8
OF_SLOW = ["session_id", "service_session_id", "request_id", "region", "event_log"]
OF_TURN = ["session_id", "turn", "start_utc_ns"]
SHOWN = ("ttfa", VOICE_TO_VOICE, "network_rtt", "retransmits")
"""The metrics of a slow turn."""
COLUMNS = list(
    dict.fromkeys(
        [*OF_TURN, "response_created_at_ns", ORIGIN]
        + [f"{name}_at_ns" for name in MEASURED_FROM]
        + [column for name in SHOWN for column in CATALOGUE[name].columns]
    )
)
OF_STEP = 3
OF_STEPS = 96
"""OF_STEP is the maximum number of turns of each step on each target. OF_STEPS is the maximum of
all steps together. With many steps, each step has fewer turns."""


class SlowTurnEntry(MainMetric):
    """One of the slowest successful turns, with its IDs for the service and the network; an ID
    is null if absent.
    """

    step: str
    turn: Count
    at_s: float
    """start of the turn since the start of the run"""
    retransmits: Count | None
    session: str
    service_session: Known
    response: Known
    request: Known
    region: Known
    event_log: Known
    """of the session, relative to the run's folder"""
    value_ms: Rounded
    ttfa_ms: Rounded
    voice_to_voice_ms: Rounded
    created_ms: Rounded
    """from the instant that latency is measured from to response.created"""
    network_rtt_ms: Rounded


class TurnRanking(NamedTuple):
    """The turns of one stratum, the slowest first.

    `falling` is the position of each of these turns in `sample.values`.
    """

    sample: MetricSample
    stratum: Stratum
    falling: Integers


def slowest_turns(
    run: RunFrames, samples: MetricSamples, started_utc_ns: int
) -> tuple[tuple[SlowTurnEntry, ...], tuple[SlowTurnEntry, ...]]:
    """Return the slowest successful turns of each stratum, and the slowest turns of each step on
    each target.

    If there are too many steps, the second tuple is empty. Turns are ranked by `voice_to_voice`.
    Turns without this metric are ranked by their main metric.
    """
    turns = samples.turns
    slowest = list[TurnRanking]()
    of_steps = list[TurnRanking]()
    for stratum in turns.strata:
        in_stratum = turns.steps_in(stratum)[turns.step]
        without_audio = in_stratum & np.isnan(turns.value(VOICE_TO_VOICE))
        for sample, mask in (
            (samples[VOICE_TO_VOICE], in_stratum),
            (samples[samples.mains[stratum]], without_audio),
        ):
            falling: Integers = np.flatnonzero(np.isfinite(sample.values) & mask[sample.index])[
                ::-1
            ]
            slowest.append(TurnRanking(sample, stratum, falling[:MAX_TURNS]))
            group = turns.group[sample.index[falling]]
            groups = np.unique(group)
            turns_per_step = min(OF_STEP, OF_STEPS // max(1, groups.size))
            first = [np.flatnonzero(group == code)[:turns_per_step] for code in groups]
            chosen = np.sort(np.concatenate([*first, np.zeros(0, int)]))
            of_steps.append(TurnRanking(sample, stratum, falling[chosen]))
    slow_turns = _slow(run, [*slowest, *of_steps], started_utc_ns)
    slowest_count = sum(listing.falling.size for listing in slowest)
    return slow_turns[:slowest_count], slow_turns[slowest_count:]


def _slow(
    run: RunFrames, listings: Sequence[TurnRanking], started_utc_ns: int
) -> tuple[SlowTurnEntry, ...]:
    """Return the turns of all rankings. The rows of all these turns are read together."""
    ranked = [(listing, int(position)) for listing in listings for position in listing.falling]
    if not ranked:
        return ()
    turns = ranked[0][0].sample.turns
    frame_rows, at = np.unique(
        [turns.rows[listing.sample.index[position]] for listing, position in ranked],
        return_inverse=True,
    )
    rows = turns.frame[COLUMNS].iloc[frame_rows]
    stored = records(rows[OF_TURN])
    sessions = sessions_of(run, stored)
    responses = response_ids(run, frame_rows.tolist())
    metrics = {name: values_of(rows, name) for name in SHOWN}
    created = floats(rows, "response_created_at_ns") - measured_from_ns(rows)
    slow = []
    for (listing, position), row in zip(ranked, at.tolist(), strict=True):
        sample = listing.sample
        turn = stored[row]
        index = listing.sample.index[position]
        resent = metrics["retransmits"][row]
        session = str(turn["session_id"])
        slow_turn = SlowTurnEntry(
            sample.metric.name,
            *listing.stratum,
            target=turns.targets[int(turns.target[index])],
            step=turns.steps[int(turns.step[index])],
            turn=int(np.nan_to_num(turn["turn"])),
            at_s=(int(turn["start_utc_ns"]) - started_utc_ns) / NS_PER_S,
            retransmits=None if np.isnan(resent) else int(resent),
            value_ms=float(sample.values[position]),
            ttfa_ms=float(metrics["ttfa"][row]),
            voice_to_voice_ms=float(metrics["voice_to_voice"][row]),
            created_ms=float(created[row]) / NS_PER_MS,
            network_rtt_ms=float(metrics["network_rtt"][row]),
            **ids_of(session, sessions.get(session, {}), responses[row]),
        )
        slow.append(slow_turn)
    return tuple(slow)


def sessions_of(
    run: RunFrames, turns: Sequence[dict[str, Any]], columns: Sequence[str] = OF_SLOW
) -> dict[str, dict[str, Any]]:
    """Return the rows of the sessions of these turns, by their ID."""
    is_session = (
        run.sessions["session_id"].isin({str(turn["session_id"]) for turn in turns}).to_numpy()
    )
    return {
        str(row["session_id"]): row
        for row in records(run.sessions[list(columns)].iloc[np.flatnonzero(is_session)])
    }


def ids_of(session: str, row: Mapping[str, Any], response: str) -> dict[str, str]:
    """Return the IDs of a turn, each by the name of its field in the summary; "" if it is unknown.

    `session` is the ID of its session, and `row` is the row of that session. `event_log` is a path
    in the run's folder.
    """
    names = {"service_session": "service_session_id", "request": "request_id", "region": "region"}
    log = f"events/{session}.jsonl" if row.get("event_log") is True else ""
    return {name: text_in(row, column) for name, column in names.items()} | {
        "session": session,
        "response": response,
        "event_log": log,
    }


def text_in(row: Mapping[str, Any], name: str) -> str:
    """Return a text of a row, escaped; "" if it is missing."""
    value = row.get(name)
    return escape_control(value) if isinstance(value, str) else ""


Playing = tuple[int, int]
"""The start and the end of a playback, in ns of the clock of the event log."""


def playback_spans(
    log: Path, start_ns: int, end_ns: int, bytes_per_s: int, buffer_ns: int
) -> tuple[Playing, ...]:
    """Return the spans in which audio was played, separated by stalls.

    Only audio deltas received from `start_ns` to `end_ns` count.

    `buffer_ns` is the delay of the jitter buffer. Return () if the log does not exist, or has none
    of these deltas.
    """
    spans: list[Playing] = []
    span_start_ns = 0
    played = 0
    for at_ns, size in _deltas(log, start_ns, end_ns):
        if spans and at_ns <= spans[-1][1]:
            spans.pop()
        else:
            span_start_ns = at_ns if spans else at_ns + buffer_ns
            played = 0
        played += size
        spans.append((span_start_ns, span_start_ns + played * NS_PER_S // bytes_per_s))
    return tuple(spans)


class _Event(msgspec.Struct):
    type: str = ""
    delta: str = ""


class _StrippedAudio(msgspec.Struct):
    bytes: int = 0


class _Line(msgspec.Struct):
    """The fields of a log line that this module reads."""

    action: str
    at_ns: int
    event: _Event
    audio: _StrippedAudio | None = None


def _deltas(log: Path, start_ns: int, end_ns: int) -> Iterable[tuple[int, int]]:
    """Yield the arrival and the number of decoded bytes of each audio delta received in a time
    span. Skip damaged lines.
    """
    with suppress(OSError), open_file(log) as lines:
        for text in lines:
            if b"audio.delta" not in text:
                continue
            with suppress(JsonError):
                line: _Line = read_json(text, _Line)
                # the audio is either stripped or stored as base64
                size = (
                    line.audio.bytes
                    if line.audio
                    else len(line.event.delta) * 3 // 4 - line.event.delta.count("=")
                )
                received = line.action == "received" and start_ns <= line.at_ns <= end_ns
                if received and line.event.type.endswith("audio.delta") and size > 0:
                    yield line.at_ns, size


BYTES_PER_S = {"pcm16": 48_000, "pcm16@8000": 16_000, "pcm16@16000": 32_000, "pcm16@48000": 96_000}
BYTES_PER_S |= {"g711_ulaw": 8_000, "g711_alaw": 8_000}
"""The bytes per second of decoded audio, for each name of a format in scripts."""
MAX_BUFFER_MS = 2_000
"""The longest jitter buffer that a script may have."""
AGREES_S = 0.001
MAX_STEPS = 12
"""The maximum number of steps of a run. If it has more, no example turns of single steps are
reported."""
Role = Literal["median", "slowest", "second", "stall", "interrupted", "calls", "only"]
ROLE_METRICS: dict[Role, str] = {
    "interrupted": "barge_in_yield",
    "calls": "function_voice_to_voice",
}
"""The metric of each special role. The example of such a role is the turn with the median of its
metric."""


@dataclass(frozen=True)
class ExampleTurn:
    """One successful turn in the speech timeline. A time is NaN if it is unknown. The positions of
    stalls within the reply are known only if there is an event log.
    """

    role: Role
    target: str
    colour: int
    step: str
    turn: int
    event_log: str
    """The path of the session's event log, relative to the run's folder. Empty if there is no
    log."""
    speech_s: float
    noticed_s: float
    first_delta_s: float
    wait_s: float
    """The turn's voice_to_voice, in seconds."""
    end_s: float
    """The end of the reply's playback, including stalls; NaN if the length of its audio is
    unknown."""
    stall_s: float
    stall_count: int
    answer_s: float = np.nan
    """The start of the audible answer, after any filler or preamble. It equals `wait_s` if there
    was no filler or preamble."""
    called_s: float = np.nan
    asked_on_s: float = np.nan
    """The time at which the answer was requested, after the function results were sent."""
    barge_in_s: float = np.nan
    silent_s: float = np.nan
    """The time at which the audio of the reply ended after the barge-in."""
    longest_stall: bool = False
    """True if this turn has the longest stall of all turns, but was chosen for another role."""
    heard: tuple[tuple[float, float], ...] = ()
    """The start and the end of each part of the reply that was played without a stall, from the
    event log. It is empty if there is no log. The reply is then plotted as one part."""

    @property
    def in_parts(self) -> bool:
        """True if a filler or preamble was audible before the answer."""
        return self.answer_s > self.wait_s + AGREES_S


def example_turns(run: RunFrames, sample: MetricSample) -> tuple[ExampleTurn, ...]:
    """Return one example turn for each role that a turn can have; () if there are none.

    The turns are chosen from the successful turns of all targets. `sample` has the values of
    `voice_to_voice`; turns without this metric are not chosen.
    """
    turns = sample.turns
    indices = sample.index[np.isfinite(sample.values)]  # in ascending order of voice_to_voice
    if not indices.size:
        return ()
    chosen: dict[Role, int] = {"median": int(indices[rank(0.5, indices.size) - 1])}
    slow_roles: tuple[Role, ...] = ("slowest", "second")
    for slow_role, index in zip(slow_roles, indices[::-1].tolist(), strict=False):
        if index not in chosen.values():
            chosen[slow_role] = index
    stall_ms = np.nan_to_num(turns.value("stall_duration")[indices])
    longest = int(indices[stall_ms.argmax()]) if stall_ms.max() > 0 else -1
    if longest >= 0 and longest not in chosen.values():
        chosen["stall"] = longest
    for role, metric in ROLE_METRICS.items():
        values = turns.value(metric)[indices]
        known = indices[np.isfinite(values)][np.argsort(values[np.isfinite(values)], kind="stable")]
        if known.size and (middle := int(known[rank(0.5, known.size) - 1])) not in chosen.values():
            chosen[role] = middle
    return tuple(_example_turns(run, turns, chosen.items(), longest))


def example_turns_of_steps(
    run: RunFrames, sample: MetricSample
) -> dict[str, tuple[ExampleTurn, ...]]:
    """Return, for each step, the median and the slowest turn of each target. Return {} if the run
    has only one step, or more than MAX_STEPS.
    """
    turns = sample.turns
    indices = sample.index[np.isfinite(sample.values)]
    steps = np.unique(turns.step[indices])
    if not 1 < steps.size <= MAX_STEPS:
        return {}
    chosen: list[tuple[Role, int]] = []
    for step in steps:
        of_step = indices[turns.step[indices] == step]
        for target in np.unique(turns.target[of_step]):
            of_target = of_step[turns.target[of_step] == target]
            if of_target.size > 1:
                chosen += [
                    ("median", int(of_target[rank(0.5, of_target.size) - 1])),
                    ("slowest", int(of_target[-1])),
                ]
            else:
                chosen.append(("only", int(of_target[0])))
    examples = list(_example_turns(run, turns, chosen))
    named = [turns.steps[int(step)] for step in steps]
    return {step: tuple(example for example in examples if example.step == step) for step in named}


def _example_turns(
    run: RunFrames, turns: TurnArrays, chosen: Collection[tuple[Role, int]], longest: int = -1
) -> Iterable[ExampleTurn]:
    """Yield the example turns of the chosen turns. `chosen` is the role and the index of each turn.
    `longest` is the index of the turn with the longest stall; −1 if unknown.
    """
    settings = {str(script.get("name")): script for script in scripts_of(run.metadata)}
    logged = run.sessions["event_log"].eq(True).to_numpy(bool, na_value=False)
    logs = set(run.sessions["session_id"][logged].astype(str))
    rows = turns.frame.iloc[turns.rows[[index for _, index in chosen]]]
    latencies = values_of(rows, "voice_to_voice")
    stalls = values_of(rows, "stall_duration")
    for (role, index), turn, latency_ms, stall_ms in zip(
        chosen, records(rows), latencies, stalls, strict=True
    ):
        colour = int(turns.target[index])
        session = str(turn["session_id"])
        script = settings.get(str(turn["script"]), {})
        example = ExampleTurn(
            role=role,
            longest_stall=index == longest and role != "stall",
            target=turns.targets[colour],
            colour=colour,
            step=turns.steps[int(turns.step[index])],
            turn=int(np.nan_to_num(turn["turn"])),
            event_log=f"events/{session}.jsonl" if session in logs else "",
            speech_s=_after_speech(turn, "speech_start") * -1,
            noticed_s=_after_speech(turn, "speech_stopped"),
            first_delta_s=_after_speech(turn, "first_audio"),
            wait_s=float(latency_ms) / 1e3,
            end_s=np.nan,
            stall_s=float(np.nan_to_num(stall_ms)) / 1e3,
            stall_count=int(np.nan_to_num(turn["stall_count"])),
            answer_s=_after_speech(turn, "answer_audible"),
            called_s=_after_speech(turn, "function_call_done"),
            asked_on_s=_after_speech(turn, "answer_request_sent"),
            barge_in_s=_after_speech(turn, "barge_in"),
            silent_s=_after_speech(turn, "barge_in_silent"),
        )
        last_s = _after_speech(turn, "last_audible")
        rate = BYTES_PER_S.get(str(script.get("output_format")))
        buffer_ms: Any = script.get("jitter_buffer_ms")
        known = isinstance(buffer_ms, int | float) and 0 <= buffer_ms <= MAX_BUFFER_MS
        buffer_s = buffer_ms / 1e3 if known else 0.0
        end_s = (
            _end_s(example, turn, rate, buffer_s)
            if np.isnan(last_s)
            else max(last_s, example.wait_s)
        )
        yield _placed(run, replace(example, end_s=end_s), turn, rate, buffer_s)


def _after_speech(turn: dict[str, Any], instant: str) -> float:
    after_s = float(turn[f"{instant}_at_ns"] - turn["speech_end_at_ns"]) / NS_PER_S
    # always the same NaN object, so that turns can be compared
    return after_s if after_s == after_s else np.nan


def _end_s(example: ExampleTurn, turn: dict[str, Any], rate: int | None, buffer_s: float) -> float:
    """Return the end of the reply's playback, computed from the length of its audio. Return NaN if
    the length is unknown, or if the reply has several parts.
    """
    if example.in_parts:
        return np.nan
    received = float(turn["audio_bytes_received"])
    audio_s = received / rate if received > 0 and rate else np.nan
    start_s = min(example.first_delta_s + buffer_s, example.wait_s)
    end_s = float(np.maximum(example.wait_s, start_s + audio_s + example.stall_s))
    return end_s if np.isnan(example.silent_s) else min(end_s, example.silent_s)


def _placed(
    run: RunFrames, example: ExampleTurn, turn: dict[str, Any], rate: int | None, buffer_s: float
) -> ExampleTurn:
    """Return the example turn with the positions of its stalls, read from the event log. If the log
    has another total stall time than the turn's row, return the turn without these positions.
    """
    if not (example.event_log and example.stall_s and rate and turn["ended_at_ns"] > 0):
        return example
    start_ns = int(turn["start_ns"])
    buffer_ns = round(buffer_s * NS_PER_S)
    log = run.folder / example.event_log
    played = playback_spans(log, start_ns, start_ns + int(turn["ended_at_ns"]), rate, buffer_ns)
    speech_end_ns = start_ns + int(turn["speech_end_at_ns"])
    spans_s = tuple(
        ((start - speech_end_ns) / NS_PER_S, (end - speech_end_ns) / NS_PER_S)
        for start, end in played
    )
    gaps_s = sum(after[0] - before[1] for before, after in pairwise(spans_s))
    return replace(example, heard=spans_s) if abs(gaps_s - example.stall_s) < AGREES_S else example
