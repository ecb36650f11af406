"""The sentences at the top of a report. They are on load, latency, failures, and the next step."""

import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.catalogue.metrics import CATALOGUE, ORIGIN
from bench.catalogue.outcomes import CANCELLED_SPLIT, NO_REPLY, STARVED, is_own_limit, meaning
from bench.files.sanitize import escape_control
from reports.analysis.summary.outcomes import OutcomeCount, Outcomes
from reports.analysis.summary.run_validity import within_warmup
from reports.analysis.summary.summary import MainResult, Summary
from reports.analysis.summary.targets import FAIR
from reports.data.runs import part_of, target_entries
from reports.data.samples import VOICE_TO_VOICE
from reports.data.uncertainty import uncertain_reason
from reports.formatting import (
    AT_LEAST,
    NBSP,
    capitalize,
    count,
    format_ms_list,
    join_present,
    join_words,
    percent,
    plural,
    usd,
)
from reports.metrics.strata import Stratum
from reports.statistics.verdicts import turns_to_decide
from reports.text import cells, remarks
from reports.text.invalid import endings_text
from reports.text.notices import decision_notice
from reports.text.peak import peak_headline
from reports.text.phrases import as_sentence, interval
from reports.text.reasons import early_text, reason_text
from reports.text.validity import remedy_line, verdict_reason

WAITED_FOR = {VOICE_TO_VOICE: "a reply", "ttfa": "audio", "ttft": "text"}
"""What callers wait for by the main metric of a run; the transcript with any other metric."""


def main_results_of(summary: Summary) -> Sequence[MainResult]:
    """Return the results that the headline uses. They are those of voice_to_voice if any target has
    its median, or if no metric has a median and a reply was heard. Otherwise they are those of the
    main metrics.
    """
    is_heard = any(result.n > result.failed for result in summary.voice_to_voice)
    heard = summary.voice_to_voice if is_heard else summary.results
    return (
        heard
        if any(map(_has_median, heard)) or not any(map(_has_median, summary.results))
        else summary.results
    )


def _has_median(result: MainResult) -> bool:
    return result.turns > 0 and result.at(0.5).has_interval


def run_headline(summary: Summary) -> str:
    """Return the first sentence of a report: how long callers wait, and what changes a decision. It
    has at most 18 words, and no name of a metric. If there is no latency, return the reason.
    """
    if summary.validity.status == "invalid":
        return f"Do not use these results: {cells.cause(summary)}."
    if not summary.endings.started:
        if within_warmup(summary.run.metadata):
            return "Nothing was measured: the warm-up contains all turns."
        if not summary.endings.opened:
            return "This run contains no turns and no sessions."
        ending = max(summary.endings.sessions, key=lambda ending: sum(ending.counts))
        text = meaning(ending.outcome, of_session=True) or "all calls ended before it"
        return f"No turn started: {re.split(r' [(]|[;:] ', text)[0]}."
    if peak := peak_headline(summary.overload, named=summary.has_several_targets):
        return f"{peak}."
    if medians := headline_results(summary):
        return f"{_waits(medians, summary)}{_failed_clause(summary)}."
    results = [result for result in main_results_of(summary) if result.turns]
    return f"{_no_median(results, summary.endings)}."


def headline_results(summary: Summary) -> list[MainResult]:
    """Return the results with a median of the headline's metric, of those turns of which most
    started.
    """
    medians = list(filter(_has_median, main_results_of(summary)))
    most = max(medians, key=lambda result: result.turns, default=None)
    return [result for result in medians if most and result.stratum == most.stratum]


def _waits(results: Sequence[MainResult], summary: Summary) -> str:
    """Return how long callers wait, such as `Callers wait 0.70 s for a reply (median)`. The results
    are those of one stratum. Of more than two targets, only the lowest and the highest value are
    named.
    """
    lead, kind = "Callers wait", WAITED_FOR.get(results[0].metric, "the transcript")
    ordered = sorted(results, key=lambda result: result.at(0.5).reported_value)
    displayed = results if len(results) <= 2 else [ordered[0], ordered[-1]]
    times = [
        f"{cells.open_end_sign(result.at(0.5)).rstrip(NBSP)}{time}"
        for result, time in zip(
            displayed,
            format_ms_list(*(result.at(0.5).reported_value for result in displayed)),
            strict=True,
        )
    ]
    if len(results) > 2:
        low, _, _ = times[0].partition(NBSP)
        return f"{lead} {low} to {times[1]} for {kind} (median, {len(results)} targets)"
    on = [f" on {result.target}" if summary.has_several_targets else "" for result in displayed]
    parts = [f"{time}{where}" for time, where in zip(times, on, strict=True)]
    parts[0] = f"{times[0]} for {kind}{on[0]}"
    return f"{lead} {', '.join(parts)} (median)"


def _failed_clause(summary: Summary) -> str:
    """Return the second clause of the headline: a target without a successful turn, or the share of
    failed turns if it is at least FAIR; else "".
    """
    failed_targets = too_few_text(summary)
    if failed_targets:
        which = failed_targets[0] if len(failed_targets) == 1 else f"{len(failed_targets)} targets"
        return f"; no turn succeeded on {which}"
    outcomes = summary.endings
    is_much = outcomes.failed_or_not_started >= FAIR * outcomes.planned > 0
    share = percent(outcomes.failed_or_not_started, outcomes.planned)
    return f"; failed turns: {share}" if is_much else ""


def _no_median(results: Sequence[MainResult], outcomes: Outcomes) -> str:
    """Return why there is no median, and the values that are known."""
    unmet, planned = outcomes.failed_or_not_started, outcomes.planned
    if unmet and unmet == planned:
        return f"All {count(planned)} turns failed" if planned > 1 else "The only turn failed"
    if unmet and 2 * unmet >= planned:
        return f"At least half of the turns failed: {count(unmet)} of {count(planned)}"
    values = [end for a in results for end in (a.smallest, a.largest) if math.isfinite(end)]
    if not values and any(
        result.turns_planned > result.failed_or_not_started for result in results
    ):
        return "There is no latency: no event marks the first output of the successful turns"
    if not values:
        started = count(sum(a.turns for a in results))
        return f"No turn ended: {started} were cut by the end of the run"
    low, *high = dict.fromkeys(format_ms_list(min(values), max(values)))
    latency = f"{low.partition(NBSP)[0]} to {high[0]}" if high else low
    kind = WAITED_FOR.get(results[0].metric, "the transcript")
    heard = sum(a.n - a.failed for a in results)
    few = f"{count(unmet)} of {plural(planned, 'turn')} failed" if unmet else "too few for a median"
    return f"Callers waited {latency} for {kind} in {plural(heard, 'turn')}; {few}"


def run_essentials(summary: Summary, checked: str = "") -> str:
    """Return a run as one line. Example: `✓ VALID · Callers wait 0.48 s for audio (median) · 412
    turns, 3 failed · 1.32 USD`. `checked` is the badge of its check, and its result in words.
    """
    least = AT_LEAST if summary.cost.is_lower_bound else ""
    spent = (
        []
        if summary.simulated or math.isnan(summary.cost.usd)
        else [f"{least}{usd(summary.cost.usd)}"]
    )
    texts = [checked, run_headline(summary).rstrip("."), *_counted(summary), *spent]
    return join_present(" · ", *cells.run_badges(summary), *texts)


def _counted(summary: Summary) -> list[str]:
    """Return the numbers of turns as texts, such as `412 turns, 3 failed`. If no turn started,
    return the outcomes of sessions, such as `10 sessions connect_failed:401`.
    """
    outcomes = summary.endings
    if within_warmup(summary.run.metadata):
        return []
    if not outcomes.started and outcomes.sessions:
        ends = [
            f"{plural(sum(ending.counts), 'session')} {ending.outcome}"
            for ending in outcomes.sessions
        ]
        return [
            *ends,
            *(
                [f"{plural(outcomes.not_started, 'turn')} not started"]
                if outcomes.not_started
                else []
            ),
        ]
    unmet = count(outcomes.failed_or_not_started)
    failed = f"{unmet} of {count(outcomes.planned)} planned" if outcomes.not_started else unmet
    return [f"{plural(outcomes.started, 'turn')}, {failed} failed"]


EARLY_REMEDIES = {
    True: (
        "raise the script's reply_silence_ms, or set answer_min_ms to the minimum duration of an"
        " answer"
    ),
    False: "raise silence_duration_ms of the script's turn_detection",
}
"""The remedy for replies that are too early. The key is True if replies are detected only in the
audio."""
NAMED = 3
"""The maximum number of targets that a sentence names."""


def run_second(summary: Summary) -> str:
    """Return the sentences after the headline: the numbers of failed, stalled, and excluded
    turns. If no turn started, return how the sessions ended, or what the warm-up contains.
    """
    outcomes = summary.endings
    if not outcomes.started:
        if no_verdict := within_warmup(summary.run.metadata):
            return as_sentence(reason_text(no_verdict))
        ends = {ending.outcome: sum(ending.counts) for ending in outcomes.sessions}
        return f"{endings_text(ends)}." if ends else ""
    unfinished = sum(entry.turns_unfinished for entry in outcomes.targets)
    sentences = _failures(summary)
    stalls = [value for value in summary.counts if value.metric == "stall_rate"]
    replies = sum(value.n for value in stalls)
    stalled = sum(value.events for value in stalls)
    if stalled:
        reasons = (
            uncertain_reason(summary.run.uncertain_metrics, target, "stall_rate")
            for target in summary.targets
        )
        uncertain = reason_text(next(filter(None, reasons), None))
        text = f"{cells.stalled_cell(stalled, replies)}: {cells.LATE_AUDIO}"
        sentences.append(f"{join_present('; ', text, uncertain)}.")
    starved = sum(sum(ending.counts) for ending in outcomes.turns if ending.outcome == STARVED)
    prevented, calls = (
        sum(sum(ending.counts) for ending in endings if is_own_limit(ending.outcome))
        for endings in (outcomes.turns, outcomes.sessions)
    )
    if unfinished > starved + prevented:
        cut = unfinished - starved - prevented
        sentences.append(f"{_outcomes_text(cut)} cut by the end of the run and excluded.")
    if calls or prevented:
        excluded = join_words(
            [
                *([plural(calls, "call")] if calls else []),
                *([plural(prevented, "turn")] if prevented else []),
            ]
        )
        were = "was" if calls + prevented == 1 else "were"
        sentences.append(f"{excluded} {were} prevented by a limit of this machine and excluded.")
    if starved:
        reason = (
            "because the load generator was not running when a time limit expired: their outcome is"
            " unknown"
        )
        sentences.append(f"{_outcomes_text(starved)} excluded, {reason}.")
    if summary.validity.status == "no_verdict":
        reason = verdict_reason(summary.validity)
        sentences.append(f"No verdict: {reason}. It is unknown whether the load generator kept up.")
    return " ".join(sentences)


def played_failures(summary: Summary) -> str:
    """Return why a simulated service cut in and did not reply; "" if it did neither."""
    counts = {end.outcome: sum(end.counts) for end in summary.endings.turns}
    cut, missing = (counts.get(outcome, 0) for outcome in (CANCELLED_SPLIT, NO_REPLY))
    played = []
    if cut:
        played.append(
            f"in {plural(cut, 'turn')} it replied before the caller had finished (a cut-in)"
        )
    if missing:
        unstarted = summary.endings.not_started
        ended = (
            f", which ended the call, so {plural(unstarted, 'later turn')} did not start"
            if unstarted
            else ""
        )
        played.append(f"{plural(missing, 'turn')} got no reply{ended}")
    return (
        f"The simulated service behaves like real ones (`rtbench docs simulator`):"
        f" {join_words(played)}."
        if played and summary.simulated
        else ""
    )


def _outcomes_text(number: int) -> str:
    return f"{count(number)} {'was' if number == 1 else 'were'}"


def remedy(summary: Summary) -> str:
    """Return the remedy for the most frequent outcome. Return "" unless most of the planned turns
    failed or did not start.
    """
    remedies = summary.endings.remedies()
    outcomes = summary.endings
    mostly = 2 * outcomes.failed_or_not_started > outcomes.planned
    line = remedy_line(remedies[0]) if remedies and mostly else ""
    return f"How to fix {line}{'' if line.endswith('?') else '.'}" if line else ""


class LongerRun(NamedTuple):
    """A longer run. It would have enough sessions for a percentile for which this run has too few.

    - `options` are the options that make the run longer.
    - `amount` is its estimated duration and cost at the same load; "" if it cannot be repeated.
    - `command` is a command to paste into a shell; "" if it is unknown.
    """

    percentile: str
    options: str
    amount: str
    command: str


def longer_runs(summary: Summary) -> list[LongerRun]:
    """Return the longer runs that a median and p95 would need. Return [] if this run is long
    enough or invalid, or if its load has a peak.
    """
    if summary.validity.status == "invalid" or summary.overload:
        return []
    with_median = [result for result in summary.results if result.at(0.5).has_interval]
    short = [] if decision_notice(summary.run) else with_median or summary.results
    quantiles = (("a median", 0.5), ("p95", 0.95))
    longer = []
    for name, p in quantiles:
        needed = [(_required_sessions(summary, of, p), of.stratum) for of in short]
        kinds = {stratum for sessions, stratum in needed if sessions}
        which = f"{name} of every kind of turn" if len(kinds) > 1 else name
        if kinds:
            longer.append(_longer(summary, which, max(sessions for sessions, _ in needed)))
    return longer


SUPPORT = (
    "Failures rise with the length of the conversation: give the service’s support the turns of the"
    " section Failures by context length, with their instants, input tokens, outcomes and IDs."
)


MARGIN_OF_EXAMPLE = 1.2
"""The factor from the upper bound of a median to the limit of an example. The limit has two
digits."""


def next_step(summary: Summary) -> str:
    """Return the next step for the user, as sentences; "" for an invalid run, because its remedy is
    shown instead. `next_commands` has its commands.
    """
    if summary.validity.status == "invalid":
        return ""
    plays = "; ".join(
        f"for {run.percentile}, use {run.options} or more{run.amount}"
        for run in longer_runs(summary)
    )
    return join_present(
        " ",
        SUPPORT if summary.context_failures else "",
        f"{capitalize(plays)}." if plays else "",
        "Commands to paste:" if next_commands(summary) else "",
    )


def next_commands(summary: Summary, *, checked: bool = False) -> list[tuple[str, str]]:
    """Return (purpose, command) of each next step that a user can paste into a shell; [] for an
    invalid run. `checked` is True if the run was checked.
    """
    if summary.validity.status == "invalid":
        return []
    folder = summary.run.folder.resolve()
    run = f"{folder.parent.name}/{folder.name}"
    recorded = str(next(iter(summary.run.metadata.get("command") or ()), ""))
    program = shlex.quote(recorded if Path(recorded).name == "rtbench" else "rtbench")
    longer = {f"for {one.percentile}": one.command for one in longer_runs(summary)}
    with_median = [result for result in summary.results if result.at(0.5).has_interval]
    finite = next((result for result in with_median if math.isfinite(result.at(0.5).high)), None)
    steps = (
        {"a page for the support": f"report {run} --only failed"}
        if summary.context_failures
        else {}
    )
    if with_median and summary.has_several_targets:
        steps["to test the differences"] = f"compare {run}"
    elif with_median:
        if finite and not (checked or _tested(summary) or summary.overload):
            limit = _limit_above(finite, {result.stratum for result in summary.results})
            steps["to test a limit"] = f'check {run} --thresholds "{limit}"'
        steps["to compare with another run"] = f"compare {run} OTHER"
    own = {purpose: escape_control(f"{program} {step}") for purpose, step in steps.items()}
    return [(purpose, text) for purpose, text in {**longer, **own}.items() if text]


def _limit_above(result: MainResult, strata: Collection[Stratum]) -> str:
    """Return a limit on the median of a metric, which this result meets, as an example that can be
    pasted.

    It has the filters that leave out all other `strata` of the run, because they may have longer
    latencies.
    """
    filters = []
    left = list(strata)
    for key in (
        ("measured_from", "turn_type")
        if CATALOGUE[result.metric].begin == ORIGIN
        else ("turn_type",)
    ):
        own = result.stratum.labels[key]
        if {stratum.labels[key] for stratum in left} != {own}:
            filters.append(f"{key}:{own}")
        left = [stratum for stratum in left if stratum.labels[key] == own]
    metric = f"{result.metric}{{{','.join(filters)}}}" if filters else result.metric
    median_ms = result.at(0.5).high * MARGIN_OF_EXAMPLE
    step = 10 ** (math.floor(math.log10(median_ms)) - 1) if median_ms > 0 else 1
    return f"{metric}: p(50)<{math.ceil(median_ms / step) * step:g}"


def _required_sessions(summary: Summary, result: MainResult, p: float) -> int:
    """Return the number of sessions that a target needs for a percentile; 0 if the run has enough.
    The number includes sessions that have no turn with the metric.
    """
    estimate = result.at(p)
    required = estimate.required if estimate.status == "too_few_sessions" else 0
    if f"p({p * 100:g})" in _tested(summary) and 0 < result.n < turns_to_decide(p):
        required = max(required, math.ceil(turns_to_decide(p) * estimate.sessions / result.n))
    if not required or not estimate.sessions:
        return required
    played = int((summary.run.sessions["target"] == result.target).sum())
    return math.ceil(required * max(played, estimate.sessions) / estimate.sessions)


def _tested(summary: Summary) -> str:
    recorded = part_of(summary.run.metadata, "thresholds")
    return " ".join(str(text) for texts in recorded.values() for text in texts)


def _longer(summary: Summary, percentile: str, sessions: int) -> LongerRun:
    """Return a longer run with this number of sessions. Its options are `--sessions 45`, or
    `--run-time 5m`, or both. If the run has stages, or consists of recordings, only the number of
    sessions is returned.
    """
    if summary.recorded:
        return LongerRun(percentile, f"{count(sessions)} recorded calls", "", "")
    settings = part_of(summary.run.metadata, "settings")
    if settings.get("stages"):
        return LongerRun(percentile, f"{count(sessions)} sessions", "", "")
    options = dict[str, str]()
    run_time_s = settings.get("run_time")
    played = max(
        1, *(int((summary.run.sessions["target"] == target).sum()) for target in summary.targets)
    )
    times = sessions / played
    if run_time_s:
        options["--run-time"] = f"{math.ceil(float(run_time_s) * times / 60)}m"
    if settings.get("sessions") or not run_time_s:
        options["--sessions"] = str(sessions)
    option_text = " ".join(f"{flag} {value}" for flag, value in options.items())
    return LongerRun(
        percentile,
        f"`{option_text}`",
        _amount_of(summary, times, is_timed=bool(run_time_s)),
        _command(summary, options, sessions),
    )


def _amount_of(summary: Summary, times: float, *, is_timed: bool) -> str:
    """Return the duration and the cost of a run that has `times` as many sessions at the same load,
    in parentheses.

    If `is_timed` is True, an option states the duration.
    """
    parts = (
        [] if is_timed else [f"about {count(max(1, round(summary.measured_s * times / 60)))} min"]
    )
    if not summary.simulated and not math.isnan(summary.cost.usd):
        parts.append(
            f"about {usd(summary.cost.usd * times)}" if is_timed else usd(summary.cost.usd * times)
        )
    return f" ({', '.join(parts)})" if parts else ""


UNCONFIRMED = 20
CONFIRM = "--yes"
"""UNCONFIRMED is the maximum number of sessions on a service that start without confirmation.
CONFIRM is the option that confirms more."""


def _command(summary: Summary, options: Mapping[str, str], sessions: int) -> str:
    """Return the command of this run, but with these options changed; "" if the command is
    unknown.
    """
    command = summary.run.metadata.get("command")
    if not (isinstance(command, list) and command):
        return ""
    words = [str(word) for word in command]
    for flag, value in options.items():
        words = [word for word in words if not word.startswith(f"{flag}=")]
        index = words.index(flag) if flag in words else len(words)
        words[index : index + 2] = [flag, value]
    asks = (
        not summary.simulated
        and sessions * len(summary.targets) > UNCONFIRMED
        and "quickstart" not in words
    )
    return escape_control(shlex.join([*words, CONFIRM] if asks and CONFIRM not in words else words))


def _failures(summary: Summary) -> list[str]:
    """Return a sentence on the turns that failed or did not start; [] if no turns were planned.
    Example: `112 of 170 planned turns failed (65.9 %; 6 of 24 on a), most often as closed:1006
    (37); …`.
    """
    outcomes = summary.endings
    unmet = outcomes.failed_or_not_started
    planned = outcomes.planned
    not_started = outcomes.not_started
    if not planned:
        return []
    if not unmet:
        return [
            (
                "The turn did not fail."
                if planned == 1
                else f"None of the {count(planned)} turns failed."
            )
        ]
    rows = zip(summary.targets, outcomes.targets, strict=True)
    by_target = [
        f"{count(entry.failed_or_not_started)} of {count(entry.turns_planned)} on {name}"
        for name, entry in rows
        if entry.failed_or_not_started
    ]
    where = (
        f"; {join_words(by_target)}"
        if summary.has_several_targets and len(by_target) <= NAMED
        else ""
    )
    failed = [ending for ending in outcomes.turns if ending.kind == "failed"]
    how = f", {_mostly(failed)}" if failed else ""
    not_started_text = (
        f"; {count(not_started)} not started, their sessions ended"
        f" {_mostly(outcomes.not_started_turns)}"
        if not_started
        else ""
    )
    of = f"{count(unmet)} of {plural(planned, 'planned turn' if not_started else 'turn')}"
    return [f"{of} failed ({percent(unmet, planned)}{where}){how}{not_started_text}."]


def _mostly(endings: Sequence[OutcomeCount]) -> str:
    """Return the most frequent outcome and the number of the others, such as `most often as
    closed:1006 (17; others 3)`. If it is the only outcome, return a text such as `as closed:1006`;
    of two, return both.
    """
    ordered = sorted(endings, key=lambda ending: -sum(ending.counts))
    numbers = [sum(ending.counts) for ending in ordered]
    if len(ordered) == 1:
        return f"as {ordered[0].outcome}"
    if len(ordered) == 2:
        pairs = zip(ordered, numbers, strict=True)
        return f"as {join_words([f'{ending.outcome} ({count(n)})' for ending, n in pairs])}"
    others = f"{count(numbers[0])}; others {count(sum(numbers[1:]))}"
    return f"most often as {ordered[0].outcome} ({others})"


def too_few_text(summary: Summary) -> list[str]:
    """Return the names of the targets without a successful turn. Return [] if the run has only
    one target.
    """
    rows = zip(summary.targets, summary.endings.targets, strict=True)
    failed_targets = [
        name
        for name, entry in rows
        if 0 < entry.turns_planned == entry.failed_or_not_started and not entry.turns_unfinished
    ]
    return failed_targets if summary.has_several_targets else []


def early_replies(summary: Summary) -> list[str]:
    """Return a sentence for each target with replies that started before the end of the question.
    If too many of them did, it has the remedy. Otherwise it has what they can change.
    """
    certain = {metric.target: metric for metric in summary.run.uncertain_metrics if metric.is_early}
    counted = {entry.target: entry for entry in summary.run.early_replies}
    entries = target_entries(summary.run.metadata)
    texts = []
    for name in (name for name in summary.targets if name in certain or name in counted):
        whose = f"{name}: " if summary.has_several_targets else ""
        replies = counted.get(name)
        if replies is None:
            text = early_text(certain[name].numbers)
        else:
            ends = interval(*replies.interval, lambda end: percent(end, 100))
            limit = "limit" if name in certain else "not known to be above"
            text = (
                f"{count(replies.early)} of {plural(replies.replies, 'reply', 'replies')} started"
                f" before the question had ended ({percent(replies.percent, 100)};"
                f" 95{NBSP}% interval: {ends}; {limit} 1{NBSP}%)"
            )
        if name in certain:
            remedy_text = EARLY_REMEDIES[bool(entries.get(name, {}).get("full_duplex"))]
            text += ", so latencies may belong to the previous question and decide no verdict:"
            text += f" {remedy_text}"
        elif replies:
            calls = f"{count(replies.early_calls)} of {plural(replies.calls, 'call')}"
            text += f", so latencies of {calls} may belong to the previous question"
        texts.append(f"{whose}{text}.")
    return texts


SCRIPTS = 5
"""The maximum number of scripts that a sentence names."""


def load_line(summary: Summary) -> str:
    """Return the load, the numbers of calls and turns, the duration, and the targets as one line.
    Example: `8 users · 58 calls, 217 turns: text_turns 183, voice_turns 34 · 20 min measured · east
    and west`.
    """
    outcomes = summary.endings
    frame = summary.turns.frame
    played = f"{plural(outcomes.opened, 'call')}, {plural(outcomes.started, 'turn')}"
    scripts = (
        frame["script"].iloc[summary.turns.rows].value_counts().items() if "script" in frame else ()
    )
    named = [f"{name} {count(number)}" for name, number in scripts if number]
    more = [f"{len(named) - SCRIPTS} other scripts"] if len(named) > SCRIPTS else []
    played += f": {', '.join([*named[:SCRIPTS], *more])}" if len(named) > 1 else ""
    targets = join_words(list(summary.targets)) if summary.has_several_targets else ""
    return join_present(" · ", offered_load(summary), played, cells.lasted(summary), targets)


def offered_load(summary: Summary) -> str:
    """Return the offered load, such as `8 users`, `poisson, 30/min`, or `up to 20 users in
    stages`; "" if unknown.
    """
    if summary.arrivals is not None:
        return remarks.requested_load(summary.arrivals)
    settings = part_of(summary.run.metadata, "settings")
    users = settings.get("num_users")
    if settings.get("stages"):
        max_users = summary.run.metadata.get("concurrency")
        return (
            f"up to {plural(int(max_users), 'user')} in stages" if max_users else "users in stages"
        )
    return plural(int(users), "user") if users else ""
