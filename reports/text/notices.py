"""The notices that a report prints before its values, for example on missing data or on groups
that differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import PlannedEvent
from bench.files.safe_io import read_file, read_json
from bench.files.sanitize import top_counts
from bench.record.document import ORDINARY_ENDS
from reports.analysis.summary.targets import FAIR
from reports.data.runs import RunFrames, hosts_of, part_of, scripts_of, target_entries
from reports.formatting import NBSP, count, format_duration, join_words, percent, plural
from reports.metrics.thresholds import recorded
from reports.results.value import Reason
from reports.text.reasons import reason_text, uncertainty_text

if TYPE_CHECKING:
    from reports.analysis.summary.outcomes import Outcomes
    from reports.analysis.summary.run_validity import DataNotes, PlannedEvents, UnrequestedResponses
    from reports.analysis.summary.summary import Summary

LARGE_CLOCK_OFFSET_NS = NS_PER_S
"""The minimum clock offset of a host that a notice reports. With NTP, offsets are about a
hundredth of it."""
NAMED = 3
"""The maximum number of metrics that a notice names. If there are more, it has only their
number."""
DECIDED = ("regressed", "not_regressed")


def notices(summary: Summary) -> list[str]:
    """Return all notices to read before the values of a report. They are on the run, on uncertain
    metrics, on differences between targets, and on values that mix different groups of turns.
    """
    from reports.text import cells

    return [
        *run_notices(summary.run, summary.data_notes),
        *filter(None, [uncertain_line(summary.run, cells.main_metrics(summary))]),
        *unfair_notices(summary.endings, summary.targets),
        *pooled_notices(summary),
    ]


def pooled_notices(summary: Summary) -> list[str]:
    """Return the notices on values of the whole run that mix groups of turns. These groups
    differ significantly.
    """
    from reports.text.groups import difference_text, key_text

    texts = []
    for _, several in groupby(
        summary.group_differences, key=lambda difference: (difference.of.by, difference.of.label)
    ):
        group = list(several)
        of = group[0].of
        differences = "; ".join(map(difference_text, group))
        alone = (
            len(
                {
                    (latency.by, latency.label)
                    for latency in summary.grouped_latency
                    if latency.by == of.by
                }
            )
            == 1
        )
        if of.compared == "pairs":
            pooled = "Pooled" if alone else f"{of.label}: pooled"
            places = f"{len(of.places)} {key_text(of.by).head}s"
            texts.append(f"{pooled} over {places} that differ: {differences}.")
        else:
            texts.append(
                f"{'' if alone else f'{of.label}: '}{differences}: results of the whole run combine"
                " both."
            )
    return texts


def unfair_notices(outcomes: Outcomes, targets: Sequence[str]) -> Iterable[str]:
    """Yield the reasons why targets may not be comparable: their failure rates differ, or one of
    them was throttled.
    """
    from reports.text.comparability import FAILURES_DIFFER

    if len(targets) < 2:
        return
    rows = list(zip(targets, outcomes.targets, strict=True))
    failures = {
        name: entry.failure_rate for name, entry in rows if not math.isnan(entry.failure_rate)
    }
    if failures and max(failures.values()) - min(failures.values()) > FAIR:
        ends = min(failures, key=failures.__getitem__), max(failures, key=failures.__getitem__)
        yield FAILURES_DIFFER.format(
            " to ".join(f"{name} {percent(failures[name], 1)}" for name in ends)
        )
    shares = [
        f"{name} {percent(entry.throttled, 1)}" for name, entry in rows if entry.throttled > FAIR
    ]
    if shares:
        over = f"More than {percent(FAIR, 1)} of turns or sessions were throttled"
        yield f"{over} ({', '.join(shares)}): such targets cannot be compared."


def run_notices(run: RunFrames, known: DataNotes) -> Iterable[str]:
    """Yield the notices on a run. Those that its document contains come first. The notice on
    uncertain metrics is not included; `uncertain_line` returns it.
    """
    several = len(target_entries(run.metadata)) > 1
    for ignored in known.ignored:
        whose = f"{ignored.target}: " if several else ""
        which = f" in {ignored.sessions:,} of {plural(ignored.read, 'session')}"
        yield f"{whose}{ignored.cause.text}{which if ignored.sessions < ignored.read else ''}."
    yield from (str(notice) for notice in run.metadata.get("notices") or [])
    yield from filter(None, [unread_notice(run.metadata)])
    totals = part_of(run.metadata, "totals")
    started = totals.get("turns_started")
    if isinstance(started, int) and started > len(run.turns):
        yield (
            f"{started:,} turns started, but only {len(run.turns):,} were recorded: the other"
            " outcomes are unknown."
        )
    fallbacks = totals.get("timestamp_fallbacks")
    if fallbacks:
        yield (
            f"{fallbacks:,} events had no usable kernel timestamp; the load generator timestamped"
            " them."
        )
    yield from _unknown(run.metadata)
    for host in hosts_of(run.metadata):
        ahead_ns = host.get("clock_offset_ns") or 0
        if abs(ahead_ns) >= LARGE_CLOCK_OFFSET_NS:
            offset = (
                f"{format_duration(abs(ahead_ns) / NS_PER_S)}"
                f" {'ahead of' if ahead_ns > 0 else 'behind'}"
            )
            led = "that of the leader"
            corrected = "its seconds and phases are corrected, its own logs are not"
            yield f"The clock of {host.get('name')} was {offset} {led}; {corrected}."
    if run.metadata.get("state") == "running" and not run.finalized:
        yield "This run is in progress: the report covers the data written so far."
    elif not run.finalized or run.metadata.get("state") == "killed":
        yield "This run did not end cleanly: the report covers the data written before it ended."
    stopped = str(run.metadata.get("stop_reason") or "")
    if stopped and not stopped.startswith(ORDINARY_ENDS) and not decision_notice(run):
        yield f"This run ended early: {stopped.rstrip('.')}."
    yield from _retirements(run, known)
    if known.left_out:  # if no turn is left, the headline reports it
        are = "is" if known.left_out == 1 else "are"
        yield f"{known.left_out:,} of {plural(known.turns, 'turn')} {are} excluded as warm-up."
    yield from _audio_only(run)
    yield from _replayed(run)
    if known.filled_in:
        are = "1 turn is" if known.filled_in == 1 else f"{known.filled_in:,} turns are"
        yield (
            f"{are} from sessions with fillers (interim_response): the first sound, and so ttfa and"
            " voice_to_voice, may belong to a filler; events do not distinguish them."
        )
    yield from _missed(known.planned_events)
    yield from map(reason_text, known.unscored)
    if known.unattributed_commits:
        made = (
            "1 commit was"
            if known.unattributed_commits == 1
            else f"{known.unattributed_commits:,} commits were"
        )
        yield (
            f"{made} not caused by a turn of the script: noise, sounds during silence, or the idle"
            " timeout."
        )
    if known.sessions_with_audio_after_end:
        in_sessions = plural(known.sessions_with_audio_after_end, "session")
        yield (
            f"{format_duration(known.audio_after_end_s)} of audio arrived after the response.done"
            f" of its response (in {in_sessions}). No turn has it, although a player plays it."
        )
    for unrequested in known.unrequested:
        yield from _unrequested(unrequested, f"{unrequested.target}: " if several else "")


def _unrequested(responses: UnrequestedResponses, whose: str) -> Iterable[str]:
    """Yield the notices on a target's responses that nothing requested. `whose` is the beginning
    of each.
    """
    if responses.uncertain:
        sessions = f"{responses.uncertain:,} of {plural(responses.sessions, 'session')}"
        yield (
            f"{whose}More responses than requests arrived in {sessions} ({responses.surplus:,}"
            " more), and not every response named its request: the latencies of these sessions are"
            " uncertain, because the answer of a turn may be a response that nothing requested."
        )
    if responses.known:
        arrived = f"{plural(responses.known, 'response')} arrived that nothing requested"
        yield f"{whose}{arrived}. No turn counts them as its answer."


def unread_notice(document: dict[str, Any]) -> str:
    """Return a notice on recorded thresholds that this version cannot read; "" if it can read
    all.
    """
    unread = recorded(document).unread
    return (
        reason_text(Reason("thresholds_not_read", {"thresholds": list(unread)})) if unread else ""
    )


def _replayed(run: RunFrames) -> Iterable[str]:
    """Yield a notice if sessions play the callers of recorded calls, and a call is played by
    several sessions.
    """
    scripts = {
        str(script.get("name"))
        for script in scripts_of(run.metadata)
        if script.get("recorded_call")
    }
    played = run.sessions.loc[run.sessions["measured"], "script"].astype(str) if scripts else []
    sessions = [name for name in played if name in scripts]
    if sessions and len(sessions) > len(calls := set(sessions)) * len(
        run.metadata.get("targets") or [{}]
    ):
        yield (
            f"{plural(len(sessions), 'session')} replay {plural(len(calls), 'recorded call')}:"
            " intervals and verdicts hold for"
            f" {'this call' if len(calls) == 1 else f'these {len(calls):,} calls'}, not for other"
            " calls."
        )


NO_CUE = (
    "did not take place: the reply ended or failed before the cue. If it ended, check the script's"
    " `after`, `after_share` or `after_text`"
)
MISSED: dict[PlannedEvent, str] = {
    "interruptions": NO_CUE,
    "sounds": NO_CUE,
    "expectations": "were not met: the event did not arrive in time, or the session failed",
}
"""Why planned events did not take place, for each kind."""


def _missed(planned_events: Sequence[PlannedEvents]) -> Iterable[str]:
    """Yield a notice for each kind of planned event of which some did not take place."""
    several = len({event.target for event in planned_events}) > 1
    for kind, text in MISSED.items():
        counts = [event for event in planned_events if event.event == kind]
        if any(event.missed for event in counts):
            shares = [
                f"{count(event.missed)} of"
                f" {count(event.planned)}{f' on {event.target}' if several else ''}"
                for event in counts
            ]
            yield f"Of the planned {kind}, {join_words(shares)} {text}."


def _audio_only(run: RunFrames) -> Iterable[str]:
    """Yield a notice if turns were measured of a target whose protocol has no events for them. Also
    yield a notice if messages were ignored.
    """
    entries = target_entries(run.metadata)
    targets = [name for name, entry in entries.items() if entry.get("full_duplex")]
    if targets and len(run.turns):
        whose = "" if len(targets) == len(entries) else f"{join_words(targets)}: "
        yield (
            f"{whose}The protocol has no events for turns: voice_to_voice, greetings and"
            " interruptions are measured by audio onset detection; ttfa, transcripts, turn"
            " detection, tokens of speech and ids are absent, not zero."
        )
    unknown = part_of(run.metadata, "totals").get("unknown_events") or {}
    if targets and unknown:
        yield f"Messages that the dialect does not define were ignored: {top_counts(unknown)}."


def _retirements(run: RunFrames, known: DataNotes) -> Iterable[str]:
    """Yield a notice for each model, of replies or of transcripts, that its service retires soon
    after the run.
    """
    if run.simulated or not known.models:
        return
    from bench.catalogue.model_retirements import SOON_DAYS
    from bench.services.registry import retirement_of

    today = datetime.fromtimestamp((run.metadata.get("started_utc_ns") or 0) / NS_PER_S, UTC).date()
    entries = target_entries(run.metadata)
    for target, model in known.models:
        retirement = retirement_of(str(entries.get(target, {}).get("service")), model)
        if retirement is not None and retirement.days_left(today) <= SOON_DAYS:
            whose = f"{target}: " if len(target_entries(run.metadata)) > 1 else ""
            yield f"{whose}{model} {retirement.text(today)}, as of the day of this run."


def uncertain_line(run: RunFrames, metrics: Sequence[str] | None = None) -> str:
    """Return a notice on the metrics whose timestamps are too uncertain; "" if there are none.
    `metrics` are the metrics to consider: the first uncertain one is named with its uncertainty.
    With None, they are all metrics, and the worst is named.
    """
    # the headline reports these
    early = {entry.metric for entry in run.uncertain_metrics if entry.is_early}
    uncertain = [
        entry
        for entry in run.uncertain_metrics
        if entry.metric not in early and (metrics is None or entry.metric in metrics)
    ]
    names = list(dict.fromkeys(entry.metric for entry in uncertain))
    if not names:
        return ""
    if metrics is not None:
        names.sort(key=metrics.index)
    # the uncertainty relative to its limit
    worst = max(
        (entry for entry in uncertain if metrics is None or entry.metric == names[0]),
        key=lambda entry: (
            entry.value / entry.limit if entry.value is not None and entry.limit else math.inf
        ),
    )
    which = join_words(names) if len(names) <= NAMED else f"{len(names)} metrics"
    them = "it" if len(names) == 1 else "them"
    on = f" on {worst.target}" if len(target_entries(run.metadata)) > 1 else ""
    return (
        f"Timestamp uncertainty is too high for {which}: comparisons of {them} and thresholds on"
        f" {them} include the uncertainty: {worst.metric}{on} may be off"
        f" {uncertainty_text(worst.numbers)}."
    )


def decision_notice(run: RunFrames) -> str:
    """Return a notice with the decision of the interim analyses and what ended the run, read from
    decision.json. Return "" if no analysis decided.
    """
    try:
        decision = (
            read_json(read_file(run.folder / "decision.json"))
            if run.metadata.get("sequential_plan")
            else {}
        )
        invalid = decision["invalid"]
        if not decision.get("stopped_by_analysis"):
            is_open = decision["end"] in ("pending", "no_analysis") or invalid
            return "" if is_open else str(decision["sentence"])
        completed = len(decision["analyses"])
        planned = len(decision["plan"]["analyses"])
        kind = "final" if completed == planned else "interim"
        how = "Decided" if decision["end"] in DECIDED and not invalid else "Ended"
        pairs = plural(decision["pairs"], "pair")
        return (
            f"{how} by {kind} analysis{NBSP}{completed} of {planned}, {pairs}."
            f" {decision['headline']}"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _unknown(document: dict[str, Any]) -> Iterable[str]:
    """Yield a notice for each missing worker. Example: `Worker 1 on west went missing 9 s into the
    run: up to 57 turns and 12 calls are missing`.
    """
    for worker in document.get("missing_workers") or []:
        counts = [(worker.get("turns"), "turn"), (worker.get("calls"), "call")]
        missing = [
            plural(count, name)
            for count, name in counts
            if count or (count == 0 and name == "turn")
        ]
        host = f" on {worker['host']}" if worker.get("host") else ""
        what = "went missing"
        if worker.get("since_utc_ns") is not None:
            into_s = (worker["since_utc_ns"] - document["started_utc_ns"]) / NS_PER_S
            what += f" {max(0.0, into_s):.0f} s into the run"
        if worker.get("why"):
            what = f"wrote damaged data ({worker['why']})"
        unknown = "the number of its missing turns is unknown"
        if worker.get("turns") is not None:
            unknown = f"up to {' and '.join(missing)} are missing"
        yield f"Worker {worker['worker']}{host} {what}: {unknown}."
