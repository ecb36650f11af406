"""Sentences on targets, cost, limits, incidents, and the network. All forms of the report use them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec.structs import replace

from bench.base.units import NS_PER_MS
from bench.catalogue.pricing import dollars
from bench.files.sanitize import excerpt
from reports.analysis.summary.cost import RunCost, TargetCost, UnplayedAudio
from reports.analysis.summary.drift import PoolDrift
from reports.analysis.summary.load import ArrivalSummary, OfferedLoad, RateLimitSeries
from reports.analysis.summary.run_validity import HostCpu, Incident, Incidents
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.targets import Interleaving
from reports.data.runs import RunFrames
from reports.formatting import (
    NBSP,
    NONE,
    change,
    clock,
    count,
    format_duration,
    format_number,
    join_words,
    ms,
    percent,
    plural,
    quantity,
    usd,
)
from reports.statistics.quantiles import quantile
from reports.text.cells import as_sentence, interval, open_end_sign

WOULD = "SIMULATED: nothing was billed. This is what the same tokens would cost."
TRANSCRIPTION = "Input transcription is billed separately and is not included in this amount."
STRAY = "A response to noise between turns, or one that ended after its turn, belongs to no turn but is billed."
UNPLAYED = (
    "Audio of interrupted replies that was received but never played is billed: its share of the turn’s audio tokens "
    "is its share of the duration of the received audio."
)
UNPLAYED_REPLIES = ("interrupted replies", "audio never played, s", "its tokens", "USD", "USD per interruption")
PER_REPLY = (
    "At equal prices, costs of targets differ because their replies differ in length, not because of their regions."
)
NAMED_ERRORS = 3
"""The maximum number of errors of MCP calls that are named."""
ERROR_CHARACTERS = 100
NAMED = 6
"""The maximum number of targets. If there are more, only the total cost is listed."""
LATE_SHARE = 0.01
"""The minimum lateness of a simulator that is shown, as a share of the shortest median.

It is the same as the limit for uncertain timestamps.
"""
HOW_DRIFT = f"p50 by step (98{NBSP}% interval)"
BASE64 = 4 / 3
"""The number of bytes of base64 text for each byte of audio, before compression."""


def baseline_text(summary: Summary) -> list[str]:
    """Return a line for each target other than the baseline: the ratios of its quantiles to those of the baseline.

    If there are more than two targets, a line has only the first quantile. Return [] if the run is invalid.
    """
    differences = summary.differences if summary.validity.status != "invalid" else ()
    if len(summary.targets) > 2:
        differences = differences[:1]
    lines: list[str] = []
    for index, target in enumerate([name for name, _ in differences[0].others] if differences else ()):
        parts = []
        for metric, stratum in dict.fromkeys((ratio.metric, ratio.stratum) for ratio in differences):
            strata = {ratio.stratum for ratio in differences if ratio.metric == metric}
            of_metric = [ratio for ratio in differences if (ratio.metric, ratio.stratum) == (metric, stratum)]
            of = f"{metric}{f' of {stratum.turns_text(strata)}' if len(strata) > 1 else ''}"
            ratios = ", ".join(f"p{ratio.p * 100:g} {change(ratio.others[index][1])}" for ratio in of_metric)
            parts.append(f"{of} {ratios}")
        lines.append(f"{target} against {differences[0].baseline}: {'; '.join(parts)}")
    return lines


AT_LEAST = "at least "


def amounts(money: RunCost) -> list[str]:
    """Return the cost of a run as texts, such as `2.31 USD for 400 turns`, `0.0058 USD per turn`, `no price for gpt-x`.

    After the total there may be two parts of it: the cost of responses that belong to no turn, and the cost of unplayed
    audio in interrupted replies. If there are several targets, the cost of each comes before the total: `sweden 0.87
    USD (0.0109 per turn)`. There are then no rates per turn or minute for the total. An amount without the tokens of a
    backend that has no price is `at least 0.12 USD`.
    """
    missing = [unpriced(money)] if money.models_without_price else []
    if math.isnan(money.usd):
        return missing
    by_target = []
    for cost in _priced(money) if len(money.targets) > 1 else ():
        per_turn = "" if math.isnan(cost.usd_per_turn) else f" ({format_number(cost.usd_per_turn)} per turn)"
        by_target.append(f"{cost.target} {AT_LEAST if cost.is_lower_bound else ''}{usd(cost.usd)}{per_turn}")
    texts = by_target[:] if len(by_target) <= NAMED else []
    # a lower bound includes the minutes of turns whose tokens have no price
    least, turns = (AT_LEAST, money.turns) if money.is_lower_bound else ("", money.turns_priced)
    texts.append(f"{least}{usd(money.usd)} {'in total ' if by_target else ''}for {plural(turns, 'turn')}")
    if money.unattributed_usd:
        sessions = plural(money.unattributed_sessions, "session")
        texts.append(f"{usd(money.unattributed_usd)} of it for responses that belong to no turn ({sessions})")
    if (waste := money.unplayed_audio) is not None and waste.usd:
        wasted = f"{plural(waste.replies_priced, 'interruption')} ({format_number(waste.usd_per_reply)} each)"
        texts.append(f"{usd(waste.usd)} of it for unplayed audio of {wasted}")
    rates = {"turn": money.per_turn, "minute of conversation": money.per_minute} if not by_target else {}
    texts += [f"{format_number(rate)}{NBSP}USD per {of}" for of, rate in rates.items() if not math.isnan(rate)]
    return texts + missing


def _priced(money: RunCost) -> list[TargetCost]:
    return [cost for cost in money.targets if not math.isnan(cost.usd)]


def unplayed_audio(waste: UnplayedAudio) -> list[str]:
    """Return the values of unplayed audio of one target. They are in the order of the titles UNPLAYED_REPLIES."""
    amount = dollars(waste.usd) if waste.replies_priced else NONE
    return [
        count(waste.replies),
        format_number(waste.seconds),
        count(waste.audio_tokens),
        amount,
        format_number(waste.usd_per_reply),
    ]


BILLED_NOTHING = "◇ SIMULATED, nothing was billed"


def cost(money: RunCost, *, simulated: bool = False) -> list[str]:
    """Return the cost of a run with its estimate and budget, as texts.

    Return [] if the run has neither prices nor a budget.
    """
    if not money.prices.name and math.isnan(money.usd) and money.budget_usd is None:
        return []
    without_usage = [f"{plural(money.turns_without_usage, 'turn')} without usage"] if money.turns_without_usage else []
    if money.sessions_unconfirmed:
        without_usage.append(f"minutes of {plural(money.sessions_unconfirmed, 'session')} unconfirmed")
    budget = [f"budget {usd(money.budget_usd)}"] if money.budget_usd is not None else []
    estimate = [f"estimated before the run{_estimated(money)}"] if money.estimate_usd is not None else []
    texts = [*amounts(money), *without_usage, *budget, *estimate] if money.is_known or budget else []
    if not (texts and simulated):
        return texts
    if math.isnan(money.usd):
        return [*texts, BILLED_NOTHING]
    return [f"{BILLED_NOTHING}; the same tokens would cost {texts[0]}", *texts[1:]]


def unpriced(money: RunCost) -> str:
    """Return a text on models without a price, such as `no price for gpt-x (12 turns)`."""
    turns = money.turns - money.turns_priced
    return f"no price for {join_words(list(money.models_without_price))}" + (
        f" ({plural(turns, 'turn')})" if turns else ""
    )


def _estimated(money: RunCost) -> str:
    """Return the estimate. Estimates do not include the tokens of backends, whose tasks are unknown in advance."""
    ends = "" if money.estimate_usd is None else _between(money.estimate_usd)
    return f", without the tokens of backends: {ends}" if money.has_backends else f": {ends}"


def _between(ends: tuple[float, float]) -> str:
    return f"{usd(ends[0]).removesuffix(f'{NBSP}USD')} to {usd(ends[1])}"


def cost_notes(money: RunCost, *, simulated: bool) -> Iterable[str]:
    """Yield the sentences that explain the cost."""
    if simulated:
        yield WOULD
    if money.estimate_usd is not None:
        yield f"Estimated before the run{_estimated(money)}."
    if money.budget_usd is not None:
        known = money.budget_usd and not math.isnan(money.usd)
        spent = f"; {percent(money.usd, money.budget_usd)} of it was spent" if known else ""
        yield f"The budget was {usd(money.budget_usd)}{spent}."
    if money.models_without_price:
        yield (
            f"There is {unpriced(money)}: these tokens are counted, but not included in amounts. "
            "Set prices in targets.yaml, or pass a price table with --prices."
        )
    if money.sessions_unconfirmed:
        sessions = plural(money.sessions_unconfirmed, "session")
        yield f"The service did not report the billable duration of {sessions}: the duration of the connection counts."
    if money.turns_without_usage:
        have = "has" if money.turns_without_usage == 1 else "have"
        yield f"{plural(money.turns_without_usage, 'turn')} {have} no readable token counts: amounts exclude them."
    if len(_priced(money)) > 1:
        yield PER_REPLY
    if money.unattributed_usd:
        yield STRAY
    if (waste := money.unplayed_audio) is not None:
        unknown = waste.replies - waste.replies_with_usage
        yield f"{UNPLAYED} The tokens of {plural(unknown, 'reply', 'replies')} are unknown." if unknown else UNPLAYED
    if money.input_transcription_extra:
        yield TRANSCRIPTION
    if money.turns_priced:
        yield "All turns of the run are included, also warm-up and failed turns."


def limits_in_all(quota: RateLimitSeries) -> str:
    """Return a text on the rate limits of all targets together.

    Example: `3 turns throttled, Retry-After received 4 times (…), …`.
    """
    waits_s = sorted(wait for target in quota.targets for wait in target.waits_s)
    delay_s = sum(target.start_delay_s for target in quota.targets if target.start_delay_s > 0)
    turns, sessions, backed_off = (
        sum(getattr(target, name) for target in quota.targets)
        for name in ("throttled_turns", "throttled_sessions", "calls_backed_off")
    )
    counted = [plural(n, noun) for n, noun in ((turns, "turn"), (sessions, "session")) if n]
    parts = [f"{join_words(counted)} throttled"] if counted else []
    if waits_s:
        times = f"{count(len(waits_s))} times" if len(waits_s) > 1 else "once"
        median = quantile(np.array(waits_s), 0.5)
        parts.append(f"Retry-After received {times} (p50 {ms(1000 * median)}, longest {ms(1000 * waits_s[-1])})")
    if delay_s > 0:
        parts.append(f"starts delayed by {format_duration(delay_s)} in total")
    if backed_off > 0:
        parts.append(f"{plural(int(backed_off), 'call')} delayed after failures to connect")
    return ", ".join(parts)


def incident_kind(kind: str) -> str:
    """Return the name of a type of incident, such as `token refresh`."""
    return kind.replace("_", " ")


def incident_kinds(incidents: Incidents) -> str:
    """Return the number of incidents of each type, such as `token refresh × 3 and clock step × 1`."""
    return join_words([f"{incident_kind(kind)} × {n:,}" for kind, n in Counter(incidents.counts).most_common()])


def incidents_that_matter(summary: Summary) -> Incidents:
    """Return the incidents of a run, but without those in which a simulator was only slightly late.

    The limit is LATE_SHARE of the shortest median.

    If the lateness is larger, its share of this median is added to the text of the incident.
    """
    medians = [answer.at(0.5).value for answer in summary.answers if answer.at(0.5).has_interval]
    shortest, incidents, counts = min(medians, default=math.inf), list[Incident](), Counter(summary.incidents.counts)
    for incident in summary.incidents.listed:
        late = incident.late_ms
        if not (math.isfinite(late) and math.isfinite(shortest)):
            incidents.append(incident)
        elif late < LATE_SHARE * shortest:
            counts[incident.kind] -= 1
        else:
            share = f"{percent(late, shortest)} of the shortest median, {ms(shortest)}"
            incidents.append(replace(incident, text=f"{incident.text} ({share})"))
    return Incidents(tuple(incidents), +counts)


def incident_lines(summary: Summary, max_lines: int) -> list[str]:
    """Return the first incidents with their time and worker. If there are more, also return the number of each type."""
    incidents = incidents_that_matter(summary)
    times = [clock(incident.at_s, long=summary.window.duration_s > 180) for incident in incidents.listed[:max_lines]]
    timed = zip(times, incidents.listed, strict=False)
    first = [f"{at} worker {incident.worker} {incident_kind(incident.kind)}: {incident.text}" for at, incident in timed]
    return [*first, f"in total: {incident_kinds(incidents)}"] if incidents.total > len(first) else first


def auth_wait(summary: Summary) -> str:
    """Return a sentence on measured sessions that waited for a token; "" if none waited.

    Example: `3 of 120 sessions waited for a token (longest 1.2 s).`
    """
    waited = summary.sessions["auth_wait_ns"].fillna(0).to_numpy(dtype=np.float64)
    waiting = int((waited > 0).sum())
    if not waiting:
        return ""
    longest = ms(waited.max() / NS_PER_MS)
    return f"{count(waiting)} of {plural(waited.size, 'session')} waited for a token (longest {longest})."


def failed_mcp_calls(summary: Summary) -> list[str]:
    """Return the number of measured turns with a failed MCP call, and the most frequent errors; [] if none failed.

    Example: `3 of 40 turns with MCP calls had a failed call`, `docs.search: http_error 503: Busy (2)`.
    """
    frame = summary.run.turns
    failed = frame.loc[frame["measured"], "mcp_call_failed"].dropna()
    failures = sum(map(bool, failed))
    if not failures:
        return []
    errors = Counter(frame.loc[frame["measured"], "mcp_error"].dropna())
    turns = f"{count(failures)} of {plural(len(failed), 'turn')} with MCP calls had a failed call"
    return [turns, *(f"{excerpt(error, ERROR_CHARACTERS)} ({n:,})" for error, n in errors.most_common(NAMED_ERRORS))]


def proxy_text(summary: Summary) -> tuple[str, ...]:
    """Return the names of the targets that are behind a proxy. Their round trips are measured only to the proxy."""
    frame = summary.run.turns
    behind = frame.loc[(frame["rtt_scope"] == "proxy").to_numpy(), "target"].unique()
    return tuple(label for label in summary.targets if label in set(behind))


def round_trips(summary: Summary) -> str:
    """Return a sentence that names the end point of the measured round trips, and how they are measured."""
    called, behind = [calls.target for calls in summary.calls], proxy_text(summary)
    by_rtcp = "by RTCP, to the server that sends RTP"
    if summary.only_telephone:
        return f"Round trips are measured {by_rtcp}."
    where = f"to the nearest TLS terminator; on {join_words(list(behind))} to the proxy, so there is no ttfa_minus_rtt"
    if not behind:
        where = "to the nearest TLS terminator"
    elif len(behind) == len(summary.targets):
        where = "only to the proxy, so there is no ttfa_minus_rtt"
    on_calls = f"; on {join_words(called)} {by_rtcp}" if called else ""
    return f"Round trips are measured by the kernel, {where}{on_calls}."


def compression(summary: Summary) -> list[str]:
    """Return a sentence for each target with compression: the bytes on the wire for each byte of audio."""
    lines = []
    for facts in summary.target_facts:
        total = {rate.metric: rate.total_bytes for rate in summary.throughput if rate.target == facts.target}
        texts = [
            f"{format_number(wire / audio)} bytes on the wire per byte of audio {direction}"
            for direction in ("sent", "received")
            if (wire := total.get(f"wire_{direction}", 0)) and (audio := total.get(f"audio_{direction}", 0))
        ]
        if texts and facts.compression not in (None, "", "none"):
            ratios = f"{' and '.join(texts)} (base64 alone: {format_number(BASE64)})"
            lines.append(f"{facts.target}, {facts.compression}: {ratios}.")
    return lines


def throughput(summary: Summary) -> list[str]:
    """Return two lines on the data rates of all targets, one for audio and one for the wire.

    Example: `audio 325 kB/s sent (10.7 MB), 562 kB/s received (18.6 MB)`.
    """
    lines = []
    for kind in ("audio", "wire"):
        texts = []
        for direction in ("sent", "received"):
            rates = [rate for rate in summary.throughput if rate.metric == f"{kind}_{direction}"]
            if total := sum(rate.total_bytes for rate in rates):
                texts.append(
                    f"{quantity(sum(rate.mean_bytes_per_s for rate in rates))}/s {direction} ({quantity(total)})"
                )
        lines += [f"{kind} {', '.join(texts)}"] if texts else []
    return lines


def transcription(summary: Summary) -> list[str]:
    """Return the transcribed audio per second of each target, and how many turns lack a transcript or its parts."""
    texts = []
    for target in summary.transcription:
        name = f"{target.target}: " if len(summary.transcription) > 1 else ""
        has_lag = target.turns_without_lag < target.turns_transcribed
        rate = f"{format_number(target.audio_s_per_s)} s of audio per second ({format_number(target.audio_s)} s)"
        counts = [
            (target.turns - target.turns_transcribed, "without a transcript"),
            (target.turns_without_deltas, "without deltas"),
            (has_lag and target.turns_without_lag, "without a known lag"),
            (target.turns_split, "split by the VAD"),
        ]
        named = [f"{count(number)} {what}" for number, what in counts if number]
        of = f"; of {plural(target.turns, 'turn')}: " if named else ""
        texts.append(f"{name}{rate}{of}{', '.join(named)}")
    return texts


def machine(summary: Summary) -> str:
    """Return a text on the programs that used the CPU during an invalid run.

    Return "" if the run is not invalid, or if the use was not recorded. Example: `On red: load 7.2 to 14.6 on 4 cores;
    other programs used 61 % of them, this run 12 %, the hypervisor 3 % (9 % in its worst seconds); in the worst
    seconds, all together used 99 %.`
    """
    machines = summary.machines if summary.validity.status == "invalid" else ()
    usages = [(cpu.host, _had_cores(cpu, summary)) for cpu in machines]
    return " ".join(f"On {host}: {text}." if len(usages) > 1 else as_sentence(text) for host, text in usages)


MIN_SHARE = 0.01
"""The minimum share of CPU time that the hypervisor took in its worst seconds. If it took less, these seconds are not
mentioned."""


def _had_cores(cpu: HostCpu, summary: Summary) -> str:
    loads = [format_number(load) for load in (cpu.load_start, cpu.load_end) if not math.isnan(load)]
    load = f"load {' to '.join(loads)}" if loads else "load unknown"
    cores = f"{load} on {plural(cpu.cores, 'core')}"
    if math.isnan(cpu.other_programs):
        return f"{cores}; which programs used them is unknown on this system"
    simulator = " (including the simulator, if it ran here)" if summary.simulated else ""
    shares = (cpu.this_run, cpu.other_programs, cpu.steal, cpu.total_max)
    own, others, stolen, total = (percent(share, 1) for share in shares)
    worst = f" ({percent(cpu.steal_max, 1)} in its worst seconds)" if cpu.steal_max >= MIN_SHARE else ""
    return (
        f"{cores}; other programs used {others} of them{simulator}, this run {own}, the hypervisor "
        f"{stolen}{worst}; in the worst seconds, all together used {total}"
    )


DELAYS = ("service_time", "response_time")
OWN_SLOTS = (
    "Each of the {0} processes has its own slots: a call may have been blocked in one while another had a "
    "free slot. If the share of blocked calls matters, use one process, or more slots than the load needs."
)


def rate(per_s: float) -> str:
    """Return a rate as a text, such as `2/s`, `30/min`, or `4.5/h`.

    The first of these units is used in which it is at least about 1.
    """
    for size, name in ((1.0, "s"), (60.0, "min")):
        if per_s * size >= 0.995:
            return f"{format_number(per_s * size)}/{name}"
    return f"{format_number(per_s * 3600)}/h"


def calls_counted(load: OfferedLoad) -> str:
    """Return the numbers of calls as a text.

    Example: `39 calls arrived, 36 started, 3 blocked (7.7 %), 2 delayed, 1 failed to connect, 33 completed`.
    """
    parts = [f"{plural(load.offered, 'call')} arrived", f"{count(load.started)} started"]
    if load.blocked:
        parts.append(f"{count(load.blocked)} blocked ({percent(load.blocked, load.offered)})")
    counts = ((load.not_started, "not started"), (load.delayed, "delayed"), (load.connect_failed, "failed to connect"))
    parts += [f"{count(number)} {word}" for number, word in counts if number]
    return ", ".join([*parts, f"{count(load.completed)} completed"])


def offered_load(frame: ArrivalSummary, load: OfferedLoad) -> str:
    """Return the offered and the carried load of a target as a text.

    Example: `offered 4.1 erlangs (2.05/s of 2 s each), carried 3.8 on 6 slots; callers pause for 12 s per call`.
    """
    calls = f"{rate(load.per_s)} of {format_number(load.call_duration_s)}{NBSP}s each"
    offered = f"offered {format_number(load.offered_erlangs)}{NBSP}erlangs ({calls})"
    carried = f"carried {format_number(load.carried_erlangs)} on {plural(load.max_concurrent, 'slot')}"
    thinking = [format_duration(think_s) for think_s in frame.think_s if think_s]
    pauses = f"; callers pause for {join_words(thinking)} per call" if thinking else ""
    return f"{offered if load.call_duration_s == load.call_duration_s else rate(load.per_s)}, {carried}{pauses}"


def requested_load(frame: ArrivalSummary) -> str:
    """Return the requested arrival pattern and rate as a text, such as `poisson, 30/min`."""
    return frame.pattern if frame.per_s is None else f"{frame.pattern}, {rate(frame.per_s)}"


def arrivals(summary: Summary, frame: ArrivalSummary) -> list[str]:
    """Return lines for each target: the numbers of calls, the load, and the latencies that are measured from arrival.

    An example of the latter is `service_time p50 198 ms`.
    """
    lines = []
    for load in frame.targets:
        texts = [calls_counted(load), offered_load(frame, load)]
        for figures in (f for f in summary.connect_phases if f.metric in DELAYS and f.target == load.target):
            estimates = [e for e in map(figures.at, (0.5, 0.95)) if e.has_interval]
            percentiles = [f"p{e.p * 100:g} {open_end_sign(e)}{ms(e.reported_value)}" for e in estimates]
            texts += [f"{figures.metric} {', '.join(percentiles)}"] if percentiles else []
        lines += [f"{load.target}: {text}" if len(frame.targets) > 1 else text for text in texts]
    return lines


def divided(run: RunFrames, frame: ArrivalSummary) -> str:
    """Return a note that each process has its own slots; "" if no call was blocked, or if there is only one process."""
    workers = int(run.metadata.get("workers") or 1)
    blocked = any(load.blocked for load in frame.targets)
    return OWN_SLOTS.format(workers) if blocked and workers > 1 else ""


def interleaved(interleaving: Interleaving) -> str:
    """Return a sentence on the pairs of a run.

    Example: `Interleaved: 120 pairs; sessions of a pair started within 12 ms of each other`.
    """
    pair = "pair" if interleaving.targets == 2 else "group"
    pairs = (
        plural(interleaving.pairs, "pair")
        if interleaving.targets == 2
        else f"{plural(interleaving.pairs, 'group')} of {interleaving.targets}"
    )
    were = "was" if interleaving.incomplete == 1 else "were"
    incomplete = f", {count(interleaving.incomplete)} more {were} incomplete" if interleaving.incomplete else ""
    unopened = (
        f", of which {count(interleaving.not_opened)} had a session that never opened"
        if interleaving.not_opened
        else ""
    )
    began = f"sessions of a {pair} started within {ms(max(interleaving.max_start_gap_ms, 0.1))} of each other"
    return f"Interleaved: {pairs}{incomplete}{unopened}; {began}."


def drift_text(drifts: Sequence[PoolDrift]) -> str:
    """Return the drift of each pool, and whether drift is suspected, as a text; "" without pools.

    Example: `…: direct −1 % (−4 to +2 %). No drift …`.
    """
    if not drifts:
        return ""
    named = len(drifts) > 1
    parts = [f"{f'{drift.label} ' if named else ''}{_drift(drift)}" for drift in drifts]
    drifted = [drift.label for drift in drifts if drift.suspected]
    where = f" on {join_words(drifted)}" if named else ""
    end = f"No drift is suspected: that requires over 5{NBSP}%, an interval that excludes 0, and no uncertain value."
    end = f"Drift is suspected{where}: see latency over time." if drifted else end
    return f"Later half of the turns compared with the earlier half, {HOW_DRIFT}: {', '.join(parts)}. {end}"


def drift_suspected(drifts: Sequence[PoolDrift]) -> str:
    """Return a text on the pools in which drift is suspected; "" if there are none.

    Example: `suspected, later half of the turns compared with …: gateway +12 % (+7 to +18 %)`.
    """
    parts = [f"{drift.label} {_drift(drift)}" for drift in drifts if drift.suspected]
    how = f"later half of the turns compared with the earlier half, {HOW_DRIFT}"
    return f"suspected, {how}: {', '.join(parts)}" if parts else ""


def _drift(drift: PoolDrift) -> str:
    """Return a drift with its interval, such as `+12 % (+7 to +18 %)`."""
    return f"{change(drift.ratio)} ({interval(drift.low or None, drift.high or None, change)})"
