"""The decision whether a target of a run is listed in the table of the reference workload, and why not.

A target is listed if its run is VALID, if it ran the pinned scripts with their settings, and if its run is large
enough: p50 and p95 of each published metric can be reported with an interval that has two ends, or are infinite because
too many turns failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.catalogue.reference_workload import TOOLS_SCRIPT, VERSION, WORKLOADS, Form, ReferenceWorkload
from bench.record.document import ValidityStatus
from reports.analysis.summary.metrics import ALL, MetricSummary
from reports.analysis.summary.run_validity import invalid_reasons, validity_of
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.conditions import DIGEST
from reports.analysis.targets.named import known_targets
from reports.data.runs import RunFrames, run_id_of
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, Version, described
from reports.results.reason import Reason

REFERENCE_VERSION: Literal[3] = 3
LEVELS = (0.5, 0.95)
"""The percentiles that a table contains."""
TOOL_TURNS = "function_calls"


@dataclass(frozen=True)
class PublishedMetric:
    """A metric of the table. `turn_type` is the type of its turns; "" for regular turns. `title` is its heading."""

    name: str
    turn_type: str
    title: str


METRICS: Mapping[Form, tuple[PublishedMetric, ...]] = {
    "spoken": (
        PublishedMetric("voice_to_voice", "", "answer"),
        PublishedMetric("function_voice_to_voice", TOOL_TURNS, "tool answer"),
        PublishedMetric("barge_in_yield", "", "barge-in"),
    ),
    "typed": (
        PublishedMetric("ttfa", "", "answer"),
        PublishedMetric("answer_ttfa", TOOL_TURNS, "tool answer"),
        PublishedMetric("truncate_ack", "", "truncation"),
    ),
}
"""The metrics of the table of each form."""
PINNED_SETTINGS = (
    *("instructions", "max_output_tokens", "output", "tool_choice", "turn_detection"),
    *("input_transcription", "interim_response", "truncation"),
)
"""The settings of a session that a target must not replace, because the scripts determine what is measured."""
MIN_BALANCE = 0.9
"""The minimum number of sessions of a script, as a share of those of the script with the most sessions."""
MIN_CALLED = 0.9
"""The minimum share of the turns of TOOLS_SCRIPT in which the service must call a function."""


@dataclass(frozen=True)
class ListedTarget:
    """A target of a run that is listed. `metrics` are the summaries of the published metrics, in their order."""

    summary: Summary
    target: str
    form: Form
    metrics: tuple[MetricSummary, ...]

    @property
    def index(self) -> int:
        """The index of the target in the summary."""
        return self.summary.targets.index(self.target)


class UnlistedTarget(ClosedJsonEntry, frozen=True):
    """A target of a run that is not listed, with all reasons. The remedies are added when it is shown."""

    run_id: str
    target: Known
    reasons: tuple[Reason, ...]
    remedies: tuple[str, ...] = ()


class ReferenceRow(ClosedJsonEntry, frozen=True):
    """A target of a run: a service with its settings."""

    form: Form
    workload_version: str
    target: str
    address: Known
    model: Annotated[Known, described("the model that the service reported; else the one that the target names")]
    region: Known
    dialect: Known
    settings: Annotated[Known, described("settings that the target replaces, such as the voice; null if none")]
    tool_version: str
    definitions_version: Version
    started_utc_ns: int
    load: Annotated[Known, described("as in the report of the run, such as `8 users`")]
    sessions: Count
    turns_planned: Count
    turns_failed: Annotated[Count, described("failed, or not started")]
    failure_rate: Rounded
    failure_rate_low: Annotated[Rounded, described("of the 95 % interval")]
    failure_rate_high: Rounded
    metrics: Annotated[tuple[MetricSummary, ...], described("the published metrics, as in summary.json")]
    simulated: bool
    validity: ValidityStatus
    run_id: str
    link: Annotated[str, described("URL of the run's folder; a relative one begins at the folder of this file")]
    digest: Annotated[str, described("SHA-256 over the digests of the run's raw files")]


class ReferenceDocument(ClosedJsonEntry, frozen=True):
    """The table of the reference workload. Rows of different forms, or of different versions, are not comparable."""

    schema: Literal[3]
    workload_version: str
    listed: list[ReferenceRow]
    not_listed: list[UnlistedTarget]


def listing_of(run: RunFrames, chosen: str | None = None) -> Iterable[ListedTarget | UnlistedTarget]:
    """Yield each target of a run, listed or not. If `chosen` is given, yield only this target."""
    targets = [chosen] if chosen is not None else known_targets(run) or [""]
    started = {str(name) for name in run.turns["target"].dropna().unique()}
    summary = summarise(run) if started else None
    for target in targets:
        workload, reasons = workload_of(run.metadata, target)
        reasons = [*run_reasons(run), *reasons]
        if summary is None or target not in started:
            reasons += [Reason("no_turn_started")]
        elif workload is not None:
            reasons += target_reasons(summary, target)
            metrics = {metric: metric_of(summary, target, metric) for metric in METRICS[workload.form]}
            reasons += metric_reasons(metrics)
            if not reasons:
                yield ListedTarget(summary, target, workload.form, tuple(filter(None, metrics.values())))
                continue
        yield UnlistedTarget(run_id_of(run), target, tuple(reasons))


def workload_of(document: Mapping[str, Any], target: str) -> tuple[ReferenceWorkload | None, list[Reason]]:
    """Return the form of the workload that a target ran, and how its scripts and settings differ from the form.

    The form is None if the target ran no script of the workload.
    """
    entries = [entry for entry in document.get("scripts") or [] if entry.get("target") == target]
    scripts = {(str(entry["name"]), str(entry.get("digest") or "").removeprefix("sha256:")) for entry in entries}
    matches = {workload.form: len(scripts & set(workload.digests.items())) for workload in WORKLOADS}
    if len(list(filter(None, matches.values()))) > 1:
        return None, [Reason("mixed_forms")]
    names = {name for name, _ in scripts}
    is_typed = all(entry.get("turn_detection") == "none" for entry in entries)
    workload = max(WORKLOADS, key=lambda one: (matches[one.form], (one.form == "typed") == is_typed))
    if names.isdisjoint(workload.digests):
        return None, [Reason("not_reference", {"workload": workload.word})]
    return workload, [*_script_reasons(workload, scripts, names), *_setting_reasons(document, target)]


def _script_reasons(workload: ReferenceWorkload, scripts: set[tuple[str, str]], names: set[str]) -> Iterable[Reason]:
    word = {"workload": workload.word}
    for name, digest in sorted(scripts):
        pinned = workload.digests.get(name)
        if pinned is not None and digest != pinned:
            digests = {"script": name, "digest": digest[:DIGEST], "pinned": pinned[:DIGEST]}
            yield Reason("other_digest", word | digests | {"version": VERSION, "form": workload.form})
    if missing := [name for name in workload.digests if name not in names]:
        yield Reason("missing_script", word | {"scripts": missing})
    if others := sorted(names - workload.digests.keys()):
        yield Reason("other_script", word | {"scripts": others})


def _setting_reasons(document: Mapping[str, Any], target: str) -> Iterable[Reason]:
    entries = {str(entry.get("name")): entry for entry in document.get("targets") or []}
    replaced = [name for name in PINNED_SETTINGS if name in (entries.get(target, {}).get("session") or {})]
    if replaced:
        yield Reason("other_settings", {"settings": replaced})


def run_reasons(run: RunFrames) -> Iterable[Reason]:
    """Yield why no target of a run may be listed."""
    document = run.metadata
    validity = validity_of(document)
    yield from invalid_reasons(document)
    state = document.get("state")
    if state != "ended" and validity.status == "valid":
        yield Reason("run_killed" if state == "killed" else "run_not_ended")
    version = document.get("definitions_version")
    if version not in (None, DEFINITIONS_VERSION):
        yield Reason("other_definitions", {"version": version, "tool_version": DEFINITIONS_VERSION})


def target_reasons(summary: Summary, target: str) -> Iterable[Reason]:
    """Yield why the sessions and turns of a target are not those of the workload."""
    throttled = summary.endings.targets[summary.targets.index(target)].throttled
    if throttled > FAIR:
        yield Reason("throttled", {"share": throttled})
    sessions = summary.sessions
    played = sessions.loc[(sessions["target"] == target).to_numpy(), "script"].astype(str)
    if reason := unequal_scripts(Counter(played)):
        yield reason
    turns = summary.run.turns
    counted = (turns["target"] == target) & (turns["script"] == TOOLS_SCRIPT) & turns["measured"]
    types = turns.loc[(counted & (turns["outcome_class"] == "success")).to_numpy(dtype=bool), "turn_type"].astype(str)
    called = sum(TOOL_TURNS in turn_type for turn_type in types)
    if called < MIN_CALLED * len(types):
        counts = {"called": called, "turns": len(types), "required": MIN_CALLED}
        yield Reason("no_function_calls", counts | {"script": TOOLS_SCRIPT})


def unequal_scripts(sessions: Mapping[str, int]) -> Reason | None:
    """Return the reason why the scripts do not have equal weights; None if they have. `sessions` is by script."""
    if min(sessions.values(), default=0) >= MIN_BALANCE * max(sessions.values(), default=0):
        return None
    return Reason("unequal_scripts", {"sessions": dict(sessions)})


def metric_of(summary: Summary, target: str, metric: PublishedMetric) -> MetricSummary | None:
    """Return the summary of a published metric; None if the target has no turns for it."""
    key = metric.name, metric.turn_type, target, ALL
    found = (row for row in summary.turn_metrics if (row.metric, row.turn_type or "", row.target, row.step) == key)
    return next(found, None)


def metric_reasons(rows: Mapping[PublishedMetric, MetricSummary | None]) -> Iterable[Reason]:
    """Yield why the percentiles of the published metrics cannot be published. `rows` has the summary of each metric."""
    short: list[dict[str, Any]] = []
    for metric, values in rows.items():
        if values is None:
            short.append({"metric": metric.name, "reason": Reason("not_reported")})
            continue
        if values.uncertain:
            yield Reason("uncertain", values.uncertain.numbers | {"metric": metric.name})
        for level in LEVELS:
            estimate = values.at(level)
            if estimate.status not in ("reported", "in_failures"):
                short.append({"metric": metric.name, "p": level, "reason": estimate.reason})
    if short:
        yield Reason("too_small", {"metrics": short})
