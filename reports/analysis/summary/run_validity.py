"""The validity of a run, and facts about its data: timestamps, clock and cores of each host,
incidents, settings.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple, cast, get_type_hints

import numpy as np
import pandas as pd

from bench.base.cpu import CpuUsage
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import PLANNED_COLUMNS, PlannedEvent
from bench.record.document import Check, Validity, ValidityStatus
from bench.record.metric_values import floats
from reports.analysis.summary.ignored_settings import IgnoredSetting
from reports.analysis.summary.targets import transcription_model
from reports.data.runs import (
    Document,
    RunFrames,
    by_label,
    hosts_of,
    part_of,
    scripts_of,
    stated_validity,
)
from reports.data.samples import rate_counts, rate_unit
from reports.data.turns import TurnArrays
from reports.data.uncertainty import UncertainMetric
from reports.metrics.rate_metrics import OF_TURNS
from reports.render.blocks import MARKS
from reports.results.json_entries import Count, JsonEntry, Known, Number, Rounded
from reports.results.value import Reason, Reasons
from reports.statistics.counting import Floats, count_nonzero
from reports.statistics.quantiles import quantile

RunWord = Literal["VALID", "INVALID", "NO VERDICT"]
TITLES: dict[ValidityStatus, RunWord] = {
    "valid": "VALID",
    "invalid": "INVALID",
    "no_verdict": "NO VERDICT",
}
"""The word that reports print for each status."""


class RunValidity(JsonEntry, kw_only=True):
    """The validity of a run's values."""

    status: ValidityStatus
    reasons: list[Reason]
    message: str
    """the reason in words"""
    checks: tuple[Check, ...]
    uncertain_metrics: tuple[UncertainMetric, ...] = ()

    @property
    def title(self) -> RunWord:
        return TITLES[self.status]

    @property
    def marker(self) -> str:
        return MARKS[self.title].marker

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.result == "fail")


def validity_of(document: dict[str, Any], labels: Sequence[str] = ()) -> RunValidity:
    """Return the validity of a run. `labels` are its targets, if several runs are compared."""
    validity = stated_validity(document)
    named = {"run_id": document.get("run_id"), "labels": list(labels), "status": validity.status}
    checks = tuple(validity.checks)
    reasons = list[Reason]()
    if validity.status == "no_verdict":
        not_judged = _not_judged(document, validity)
        reasons = [
            Reason(not_judged.code, not_judged.numbers | named | {"state": document.get("state")})
        ]
    elif validity.status == "invalid":
        values = ("value", "limit", "unit", "note", "remedy")
        failed = [check for check in checks if check.result == "fail"]
        reasons = [
            Reason(check.name, {key: getattr(check, key) for key in values} | named)
            for check in failed
        ]
        reasons = reasons or [Reason("check_failed", named)]
    return RunValidity(status=validity.status, reasons=reasons, message="", checks=checks)


def invalid_reasons(document: dict[str, Any], labels: Sequence[str] = ()) -> list[Reason]:
    """Return why the values of a run may not be used, with a reason for each failed check; [] if
    the run is valid.

    The parameters are those of `validity_of`.
    """
    return validity_of(document, labels).reasons


def _not_judged(document: dict[str, Any], validity: Validity) -> Reason:
    state = document.get("state")
    if state == "running":
        return Reason("run_not_ended")
    if state == "closing":
        return Reason("run_not_finalized")
    if taken := within_warmup(document):
        return taken
    if note := next(
        (check.note for check in validity.checks if check.result == "not_evaluated" and check.note),
        "",
    ):
        return Reason("check_not_evaluated", {"note": note})
    return Reason("run_killed" if state == "killed" else "nothing_measured")


def within_warmup(document: Document) -> Reason | None:
    """Return the reason why nothing was measured, if all turns were in the warm-up; otherwise
    None.
    """
    totals = part_of(document, "totals")
    turns = sum((totals.get("turns") or {}).values())
    if not turns or totals.get("warmup_turns") != turns:
        return None
    return Reason("within_warmup", {"turns": turns, "warmup_s": document.get("warmup_s") or 0})


BUSIEST = 10
"""The number of seconds whose event rate is compared with the calibration. They are the seconds
with the most events.
"""


def busiest(seconds: pd.DataFrame) -> tuple[float, float]:
    """Return two maxima over the workers: the number of open sessions, and the number of events per
    second. The number of events per second is the mean of the BUSIEST seconds of a worker.
    """
    if not len(seconds):
        return 0.0, 0.0
    rate = seconds["events"] / seconds["duration_ns"].clip(lower=1) * NS_PER_S
    by_second = seconds.assign(rate=rate.where(seconds["duration_ns"] > 5e8, 0.0)).groupby(
        ["worker", "second"]
    )
    totals = by_second[["sessions_active", "rate"]].sum()
    rates = [np.sort(of["rate"].to_numpy())[-BUSIEST:].mean() for _, of in totals.groupby("worker")]
    return float(totals["sessions_active"].max()), float(max(rates))


class HostAccuracy(JsonEntry):
    """A host that recorded a part of the run, with the accuracy of its timestamps and its clock;
    null if unknown.
    """

    name: str
    workers: Count
    sessions: Count
    turns: Count
    timestamp_uncertainty_p99_ms: Rounded
    start_delay_p99_ms: Rounded
    event_loop_delay_p99_ms: Rounded
    send_delay_p99_ms: Rounded
    clock_offset_ms: Rounded
    """how far its clock was ahead of the leader's clock"""
    clock_offset_error_ms: Rounded
    calibrated: Known
    """date"""


class HostCpu(CpuUsage):
    """The use of a host's cores during the run, as shares of the time of all cores; null if not
    reported.

    `this_run` is that of this run's workers. `all_programs` includes this run and the kernel.
    `other_programs` includes a simulator, but not this run. `steal` is that of the hypervisor.
    `total_max` (all together) and `steal_max` are those of the worst few seconds. `load_start` and
    `load_end` are the load average over one minute.
    """

    host: str
    other_programs: float | None


def machines(run: RunFrames) -> Iterable[HostCpu]:
    """Yield the core use of each host whose core use was recorded."""
    for entry in hosts_of(run.metadata):
        watched = entry.get("cpu_use")
        if watched is not None:
            usage = cast("CpuUsage", {name: watched.get(name) for name in get_type_hints(CpuUsage)})
            own = usage["this_run"]
            programs = usage["all_programs"]
            others = None if own is None or programs is None else round(max(0.0, programs - own), 4)
            yield {
                **usage,
                "cores": usage["cores"] or 0,
                "host": str(entry.get("name")),
                "other_programs": others,
            }


def hosts_in(run: RunFrames, turns: TurnArrays, sessions: pd.DataFrame) -> Iterable[HostAccuracy]:
    """Yield each host of a run, in the order of the run's document. If there is only one host,
    yield none. `sessions` are the measured sessions.
    """
    entries = hosts_of(run.metadata)
    for entry in entries if len(entries) > 1 else ():
        name = str(entry.get("name"))
        mine = (turns.frame["host"] == name).to_numpy()[turns.rows]
        of_host = sessions[(sessions["host"] == name).to_numpy()]
        yield HostAccuracy(
            name=name,
            workers=int(entry.get("workers") or 0),
            sessions=len(of_host),
            turns=count_nonzero(mine),
            timestamp_uncertainty_p99_ms=_p99(
                turns.column("timestamp_uncertainty_ns")[mine & turns.succeeded] / NS_PER_MS
            ),
            start_delay_p99_ms=_p99(floats(of_host, "start_delay_ms")),
            event_loop_delay_p99_ms=_or_nan(entry.get("event_loop_delay_p99_ms")),
            send_delay_p99_ms=_or_nan(entry.get("send_delay_p99_ms")),
            clock_offset_ms=_or_nan(entry.get("clock_offset_ns")) / NS_PER_MS,
            clock_offset_error_ms=_or_nan(entry.get("clock_offset_uncertainty_ns")) / NS_PER_MS,
            calibrated=str((entry.get("calibration") or {}).get("date") or ""),
        )


def _p99(values: Floats) -> float:
    return quantile(np.sort(values[~np.isnan(values)]), 0.99)


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)


CAUSES = 3
"""The maximum number of causes that a notice on unscored turns names."""
FILLER = "filler"
"""A word in the name of a turn type. It shows that a filler may come before the answer."""


class PlannedEvents(JsonEntry):
    """The interruptions, sounds or expectations that the scripts of a target planned."""

    target: str
    event: PlannedEvent
    planned: Count
    """those to which calls came, without those that the end of the run prevented"""
    missed: Count
    """those that did not take place"""


def planned_events(sessions: pd.DataFrame) -> Iterable[PlannedEvents]:
    """Yield the counts of each target and kind of event that its scripts planned. `sessions` are
    the measured ones.
    """
    counted = sessions[["target", *chain.from_iterable(PLANNED_COLUMNS.values())]]
    for target, rows in counted.groupby("target", observed=True, sort=False):
        for event, columns in PLANNED_COLUMNS.items():
            planned, missed = (int(rows[column].sum()) for column in columns)
            if planned:
                yield PlannedEvents(str(target), event, planned, missed)


class UnrequestedResponses(NamedTuple):
    """A target's responses that nothing requested, in sessions in which what they answer is
    uncertain, or certain.
    """

    target: str
    sessions: int
    """The number of measured sessions."""
    uncertain: int
    """The number of sessions in which such a response may be the answer of a turn."""
    surplus: int
    """The number of such responses in those sessions."""
    known: int
    """The number of such responses that certainly answer no turn."""


def unrequested_responses(sessions: pd.DataFrame) -> Iterable[UnrequestedResponses]:
    """Yield the responses of each target that nothing requested. `sessions` are the measured
    ones.
    """
    counted = sessions[["target", "unrequested_responses", "answers_uncertain"]]
    for target, rows in counted.groupby("target", observed=True, sort=False):
        responses = np.nan_to_num(floats(rows, "unrequested_responses"))
        are_uncertain = rows["answers_uncertain"] == True  # noqa: E712
        uncertain = are_uncertain.to_numpy(bool, na_value=False)
        surplus = int(responses[uncertain].sum())
        total = int(responses.sum())
        if total:
            yield UnrequestedResponses(
                str(target), len(rows), count_nonzero(uncertain), surplus, total - surplus
            )


def unscored_rates(turns: TurnArrays) -> Iterator[Reason]:
    """Yield a reason for each rate of a target of which turns could not be scored. `causes` has the
    number of turns for each reported cause; `turns` and `applies` are the turns.
    """
    for name in OF_TURNS:
        counts = rate_counts(turns, name)
        for target, label in enumerate(turns.targets):
            mine = np.flatnonzero((turns.target == target) & counts.counted)
            unscored = mine[counts.unscored[mine] > 0]
            if not unscored.size:
                continue
            numbers = {
                "metric": name,
                "target": label if len(turns.targets) > 1 else "",
                "unscored": int(counts.unscored[mine].sum()),
                "of": int(counts.unscored[mine].sum() + np.nansum(counts.trials[mine])),
                "unit": rate_unit(turns, name, mine),
                "turns": unscored.size,
                "applies": mine.size,
                "causes": {},
            }
            if name == "input_wer":
                errors = turns.frame["input_transcription_error"].iloc[turns.rows[unscored]]
                numbers["causes"] = dict(Counter(errors.dropna().astype(str)).most_common(CAUSES))
            yield Reason("unscored_rate", numbers)


def impossible_shares(turns: TurnArrays) -> Iterator[Reason]:
    """Yield a reason for each target whose service reported more cached tokens than it read."""
    read, cached = (turns.column(f"context_{of}tokens") for of in ("", "cached_"))
    for target, label in enumerate(turns.targets):
        mine = (turns.target == target) & ~np.isnan(read) & ~np.isnan(cached)
        if more := count_nonzero(mine & (cached > read)):
            numbers = {"turns": more, "of": count_nonzero(mine)}
            yield Reason(
                "cached_above_input", numbers | {"target": label if len(turns.targets) > 1 else ""}
            )


class DataNotes(NamedTuple):
    """Facts about the data of a run that are not metrics."""

    turns: int
    left_out: int
    """The number of turns that were left out because they were in the warm-up. It is 0 if all turns
    were in the warm-up."""
    filled_in: int
    """The number of measured turns in which a filler may have come before the answer."""
    unattributed_commits: int
    """The number of commits that belong to no turn of the script."""
    unrequested: tuple[UnrequestedResponses, ...]
    audio_after_end_s: float
    """The duration of audio that arrived after its response had ended."""
    sessions_with_audio_after_end: int
    planned_events: tuple[PlannedEvents, ...]
    ignored: tuple[IgnoredSetting, ...]
    models: tuple[tuple[str, str], ...]
    """The models of each target, as (target, model): those that responded, their backends, and
    those that transcribed the caller's speech."""
    unscored: Reasons
    """What could not be scored, for each rate and target."""


def data_notes(
    run: RunFrames, turns: TurnArrays, sessions: pd.DataFrame, ignored: Sequence[IgnoredSetting]
) -> DataNotes:
    """Return facts about the data of a run. `sessions` are the measured sessions."""
    models: list[tuple[str, str]] = []
    filled = by_label(turns.frame["turn_type"].cat, lambda name: FILLER in name, False, np.bool_)
    named = (
        sessions[["target", "model", "backend_model", "effective_settings"]]
        .drop_duplicates()
        .astype(object)
    )
    for target, model, backend, settings in named.where(named.notna(), "").itertuples(
        index=False, name=None
    ):
        models += [
            (str(target), str(name)) for name in (model, backend, transcription_model(settings))
        ]
    audio_after_end_ns = np.nan_to_num(floats(sessions, "audio_after_end_ns"))
    return DataNotes(
        turns=len(run.turns),
        left_out=len(run.turns) - turns.rows.size if turns.rows.size else 0,
        filled_in=int(filled[turns.rows].sum()),
        unattributed_commits=int(np.nansum(floats(sessions, "unattributed_commits"))),
        unrequested=tuple(unrequested_responses(sessions)),
        audio_after_end_s=float(audio_after_end_ns.sum()) / NS_PER_S,
        sessions_with_audio_after_end=count_nonzero(audio_after_end_ns),
        planned_events=tuple(planned_events(sessions)),
        ignored=tuple(ignored),
        models=tuple(dict.fromkeys(models)),
        unscored=(*unscored_rates(turns), *impossible_shares(turns)),
    )


class Incident(JsonEntry):
    """An event other than a measurement, with a text; `at_s` is the time after the start of the
    run.
    """

    at_s: float
    worker: Count
    kind: str
    text: str
    late_ms: Number = math.nan
    """how late a simulator was; null if unknown, and for other incidents"""


class Incidents(NamedTuple):
    """The incidents of a run.

    - `listed` are the incidents whose texts are stored, in order of time.
    - `counts` is the number of incidents of each type, including those whose texts are not stored.
    """

    listed: tuple[Incident, ...]
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


SIMULATOR_LATE = "simulator_late"
"""The type of incidents in which a simulator was late."""


def _late_ms(entry: Mapping[str, Any]) -> float:
    """Return how much later than its profile requires a simulator responded, in ms; NaN for other
    incidents. It is infinite if it is unknown: runs of earlier versions have no number.
    """
    if isinstance(number := entry.get("late_ms"), int | float):
        return float(number)
    return math.inf if entry.get("kind") == SIMULATOR_LATE else math.nan


def simulator_late_ms(document: Document) -> float:
    """Return the largest delay of a simulator beyond its profile, in ms; 0 if no simulator was
    late, inf if unknown.
    """
    delays_ms = [
        incident.late_ms
        for incident in incidents_of(document, 0).listed
        if not math.isnan(incident.late_ms)
    ]
    return max(delays_ms, default=0.0)


def incidents_of(document: Document, started_utc_ns: int) -> Incidents:
    """Return the incidents of a run. A worker counts all of its incidents, but stores only the
    texts of the first hundred.
    """
    unsorted: list[Incident] = []
    for entry in document.get("incidents") or []:
        at_s = (entry.get("at_utc_ns", started_utc_ns) - started_utc_ns) / NS_PER_S
        incident = at_s, entry.get("worker", 0), entry.get("kind", ""), entry.get("text", "")
        unsorted.append(Incident(*incident, _late_ms(entry)))
    incidents = tuple(sorted(unsorted, key=lambda incident: incident.at_s))
    counts = part_of(document, "totals").get("incident_counts") or {}
    counted = Counter(incident.kind for incident in incidents) | Counter(counts)
    return Incidents(incidents, dict(counted))


BY_SERVICE = ("server_vad", "semantic_vad")


class PlaybackSetup(JsonEntry):
    """Settings of the run's scripts that affect the values."""

    jitter_buffers_ms: tuple[float, ...]
    vad_chunks_ms: tuple[float, ...]
    """audio per message in VAD turns; empty if none started"""
    detections: tuple[dict[str, Any], ...]
    """the turn detection settings of these scripts, with the service's names"""
    packetisation: Known
    """why larger chunks increase the latency of VAD turns; null if there are none"""


def setup_of(document: dict[str, Any], turns: TurnArrays) -> PlaybackSetup:
    scripts = scripts_of(document)
    # scripts with speech, in real time, in a measured turn
    started_scripts = {
        str(name) for name in turns.frame["script"].iloc[turns.rows[turns.spoken]].unique()
    }
    vad = [
        s
        for s in scripts
        if s.get("turn_detection") in BY_SERVICE and str(s.get("name")) in started_scripts
    ]
    all_settings = [
        settings
        for script in vad
        if (settings := script.get("turn_detection_settings")) is not None
    ]
    detections = tuple(
        detection
        for index, detection in enumerate(all_settings)
        if detection not in all_settings[:index]
    )
    buffers_ms = distinct_values(scripts, "jitter_buffer_ms")
    chunks_ms = distinct_values(vad, "chunk_ms")
    return PlaybackSetup(buffers_ms, chunks_ms, detections, packetisation="")


def distinct_values(settings: Iterable[dict[str, Any]], key: str) -> tuple[float, ...]:
    """Return the distinct values of one setting, ascending. `key` is the name of the setting.
    Values of None are left out.
    """
    values = (setting.get(key) for setting in settings)
    return tuple(sorted({float(value) for value in values if value is not None}))
