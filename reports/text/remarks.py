"""Sentences on targets, cost, limits, incidents, and the network. All forms of the report use
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.formatting import NBSP, change, count, format_number, join_words, ms, percent, plural
from reports.results.value import by_subject
from reports.text.phrases import as_sentence, interval

if TYPE_CHECKING:
    from reports.analysis.summary.drift import Drift
    from reports.analysis.summary.load import ArrivalSummary
    from reports.analysis.summary.run_validity import HostCpu
    from reports.analysis.summary.summary import Summary
    from reports.analysis.summary.targets import Interleaving

HOW_DRIFT = f"p50 by step (98{NBSP}% interval)"


def baseline_text(summary: Summary) -> list[str]:
    """Return a line for each target other than the baseline: the ratios of its quantiles to those
    of the baseline. If there are more than two targets, a line has only the first quantile. Return
    [] if the run is invalid.
    """
    differences = summary.differences if summary.validity.status != "invalid" else ()
    if len(summary.targets) > 2:
        differences = differences[:1]
    lines: list[str] = []
    for index, target in enumerate(
        [name for name, _ in differences[0].others] if differences else ()
    ):
        parts = []
        for metric, stratum in dict.fromkeys(
            (ratio.metric, ratio.stratum) for ratio in differences
        ):
            strata = {ratio.stratum for ratio in differences if ratio.metric == metric}
            of_metric = [
                ratio for ratio in differences if (ratio.metric, ratio.stratum) == (metric, stratum)
            ]
            of = f"{metric}{f' of {stratum.turns_text(strata)}' if len(strata) > 1 else ''}"
            ratios = ", ".join(
                f"p{ratio.p * 100:g} {change(ratio.others[index][1])}" for ratio in of_metric
            )
            parts.append(f"{of} {ratios}")
        lines.append(f"{target} against {differences[0].baseline}: {'; '.join(parts)}")
    return lines


def transcription(summary: Summary) -> list[str]:
    """Return the transcribed audio per second of each target, and how many turns lack a
    transcript or its parts.
    """
    texts = []
    targets = by_subject(summary.transcription)
    for subject, row in targets.items():
        turns, transcribed, no_lag = (
            row[name].n for name in ("turns", "turns_transcribed", "turns_without_lag")
        )
        audio_s, per_s = (format_number(row[name].value) for name in ("audio_s", "audio_s_per_s"))
        name = f"{subject.target}: " if len(targets) > 1 else ""
        rate = f"{per_s} s of audio per second ({audio_s} s)"
        counts = [
            (turns - transcribed, "without a transcript"),
            (row["turns_without_deltas"].n, "without deltas"),
            (no_lag < transcribed and no_lag, "without a known lag"),
            (row["turns_split"].n, "split by the VAD"),
        ]
        named = [f"{count(number)} {what}" for number, what in counts if number]
        of = f"; of {plural(turns, 'turn')}: " if named else ""
        texts.append(f"{name}{rate}{of}{', '.join(named)}")
    return texts


def interpreting(summary: Summary) -> list[str]:
    """Return, for each interpreter, how many segments lack a value, and how the lag of its text
    grows during a segment.
    """
    from reports.analysis.summary.transcription import LAG_GROWTH

    texts = []
    targets = by_subject(summary.interpreting)
    for subject, row in targets.items():
        counts = [
            (row["segments_early"].n, "heard before their end, so without voice_to_voice"),
            (row["segments_without_offset"].n, "without a known start_offset"),
            (row["segments_without_lag"].n, "without a known transcript_lag"),
            (row["segments_sent_late"].n, "with audio that left late, so their lags may be wrong"),
        ]
        named = [f"{count(number)} {what}" for number, what in counts if number]
        segments = plural(row["segments"].n, "segment")
        text = f"{segments}: {', '.join(named)}" if named else segments
        growth = row[LAG_GROWTH]
        if growth.n:
            ends = interval(growth.low, growth.high, ms)
            text += (
                f"; transcript_lag grows by {ms(growth.value)} during a segment ({ends};"
                f" {count(growth.n)} of 20 s or more)"
            )
            text += ": it drifts" if growth.low > 0 else ": no drift is shown"
        texts.append(f"{subject.target}: {text}" if len(targets) > 1 else text)
    return texts


def machine(summary: Summary) -> str:
    """Return a text on the programs that used the CPU during an invalid run.

    Return "" if the run is not invalid, or if the use was not recorded. Example: `On red: load 7.2
    to 14.6 on 4 cores; other programs used 61 % of them, this run 12 %, the hypervisor 3 % (9 % in
    its worst seconds); in the worst seconds, all together used 99 %.`
    """
    machines = summary.machines if summary.validity.status == "invalid" else ()
    usages = [(cpu["host"], _had_cores(cpu, summary)) for cpu in machines]
    return " ".join(
        f"On {host}: {text}." if len(usages) > 1 else as_sentence(text) for host, text in usages
    )


def _had_cores(cpu: HostCpu, summary: Summary) -> str:
    loads = [
        format_number(load) for load in (cpu["load_start"], cpu["load_end"]) if load is not None
    ]
    load = f"load {' to '.join(loads)}" if loads else "load unknown"
    cores = f"{load} on {plural(cpu['cores'], 'core')}"
    if cpu["other_programs"] is None:
        return f"{cores}; which programs used them is unknown on this system"
    simulator = " (including the simulator, if it ran here)" if summary.simulated else ""
    known = (cpu["this_run"], cpu["other_programs"], cpu["steal"], cpu["total_max"])
    own, others, stolen, total = (
        percent(math.nan if share is None else share, 1) for share in known
    )
    steal_max = cpu["steal_max"] or 0.0
    worst = (
        f" ({percent(steal_max, 1)} in its worst seconds)"
        if steal_max > (cpu["steal"] or 0.0)
        else ""
    )
    return (
        f"{cores}; other programs used {others} of them{simulator}, this run {own}, the hypervisor "
        f"{stolen}{worst}; in the worst seconds, all together used {total}"
    )


def rate(per_s: float) -> str:
    """Return a rate as a text, such as `2/s`, `30/min`, or `4.5/h`. The first of these units is
    used in which it is at least about 1.
    """
    for size, name in ((1.0, "s"), (60.0, "min")):
        if per_s * size >= 0.995:
            return f"{format_number(per_s * size)}/{name}"
    return f"{format_number(per_s * 3600)}/h"


def requested_load(frame: ArrivalSummary) -> str:
    """Return the requested arrival pattern and rate as a text, such as `poisson, 30/min`."""
    return frame.pattern if frame.per_s is None else f"{frame.pattern}, {rate(frame.per_s)}"


def interleaved(interleaving: Interleaving) -> str:
    """Return a sentence on the pairs of a run. Example: `Interleaved: 120 pairs; sessions of a pair
    started within 12 ms of each other`.
    """
    pair = "pair" if interleaving.targets == 2 else "group"
    pairs = (
        plural(interleaving.pairs, "pair")
        if interleaving.targets == 2
        else f"{plural(interleaving.pairs, 'group')} of {interleaving.targets}"
    )
    were = "was" if interleaving.incomplete == 1 else "were"
    incomplete = (
        f", {count(interleaving.incomplete)} more {were} incomplete"
        if interleaving.incomplete
        else ""
    )
    unopened = (
        f", of which {count(interleaving.not_opened)} had a session that never opened"
        if interleaving.not_opened
        else ""
    )
    began = (
        f"sessions of a {pair} started within {ms(max(interleaving.max_start_gap_ms, 0.1))} of each"
        " other"
    )
    return f"Interleaved: {pairs}{incomplete}{unopened}; {began}."


def drift_text(drifts: Sequence[Drift]) -> str:
    """Return the drift of each pool, and whether drift is suspected, as a text; "" without pools.
    Example: `…: direct −1 % (−4 to +2 %). No drift …`.
    """
    if not drifts:
        return ""
    named = len(drifts) > 1
    parts = [f"{f'{drift.title} ' if named else ''}{_drift(drift)}" for drift in drifts]
    drifted = [drift.title for drift in drifts if drift.suspected]
    where = f" on {join_words(drifted)}" if named else ""
    end = (
        f"No drift is suspected: that requires over 5{NBSP}%, an interval that excludes 0, and no"
        " uncertain value."
    )
    end = f"Drift is suspected{where}: see latency over time." if drifted else end
    return (
        f"Later half of the turns compared with the earlier half, {HOW_DRIFT}: {', '.join(parts)}."
        f" {end}"
    )


def drift_suspected(drifts: Sequence[Drift]) -> str:
    """Return a text on the pools in which drift is suspected; "" if there are none. Example:
    `suspected, later half of the turns compared with …: gateway +12 % (+7 to +18 %)`.
    """
    parts = [f"{drift.title} {_drift(drift)}" for drift in drifts if drift.suspected]
    how = f"later half of the turns compared with the earlier half, {HOW_DRIFT}"
    return f"suspected, {how}: {', '.join(parts)}" if parts else ""


def _drift(drift: Drift) -> str:
    return f"{change(drift.value)} ({interval(drift.low or None, drift.high or None, change)})"
