"""The sentences on targets, cost, limits, incidents, and the network, shared by all forms of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec.structs import replace

from bench.pricing import dollars
from bench.units import NS_PER_MS
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
from reports.runs import RunFrames
from reports.statistics.quantiles import quantile
from reports.summary.cost import RunCost, TargetCost, UnplayedAudio
from reports.summary.drift import PoolDrift
from reports.summary.load import ArrivalSummary, OfferedLoad, RateLimitSeries
from reports.summary.run_validity import HostCpu, Incident, Incidents, late_ms
from reports.summary.summary import Summary
from reports.summary.targets import Interleaving
from reports.wording.cells import as_sentence, interval, open_end_sign

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
NAMED = 6
"""The maximum number of targets whose costs are listed separately."""
LATE_SHARE = 0.01
"""The minimum lateness of a simulator to show, as a share of a median; the same limit as for uncertain timestamps."""
HOW_DRIFT = f"p50 by step (98{NBSP}% interval)"
BASE64 = 4 / 3
"""The bytes of base64 text for a byte of audio, before compression."""


def baseline_text(summary: Summary) -> list[str]:
    """Return the differences of targets in a run that is not invalid; with more than two, only of the first metric."""
    found = summary.differences if summary.validity.status != "invalid" else ()
    if len(summary.targets) > 2:
        found = found[:1]
    told: list[str] = []
    for place, target in enumerate([name for name, _ in found[0].others] if found else ()):
        parts = []
        for metric, stratum in dict.fromkeys((one.metric, one.stratum) for one in found):
            strata = {one.stratum for one in found if one.metric == metric}
            mine = [one for one in found if (one.metric, one.stratum) == (metric, stratum)]
            of = f"{metric}{f' of {stratum.turns_text(strata)}' if len(strata) > 1 else ''}"
            parts.append(f"{of} {', '.join(f'p{one.p * 100:g} {change(one.others[place][1])}' for one in mine)}")
        told.append(f"{target} against {found[0].baseline}: {'; '.join(parts)}")
    return told


def amounts(money: RunCost) -> list[str]:
    """Return amounts, such as `2.31 USD for 400 turns`, `0.0058 USD per turn`, `no price for gpt-x`.

    After the first, if there is any: the cost of responses that belong to no turn, and of audio that interruptions
    wasted. With several targets, each target comes first with its own rate: `sweden 0.87 USD (0.0109 per turn)`.
    """
    missing = [unpriced(money)] if money.models_without_price else []
    if math.isnan(money.usd):
        return missing
    arms = []
    for cost in _priced(money) if len(money.targets) > 1 else ():
        each = "" if math.isnan(cost.usd_per_turn) else f" ({format_number(cost.usd_per_turn)} per turn)"
        arms.append(f"{cost.target} {usd(cost.usd)}{each}")
    told = arms[:] if len(arms) <= NAMED else []
    told.append(f"{usd(money.usd)} {'in total ' if arms else ''}for {plural(money.turns_priced, 'turn')}")
    if money.unattributed_usd:
        sessions = plural(money.unattributed_sessions, "session")
        told.append(f"{usd(money.unattributed_usd)} of it for responses that belong to no turn ({sessions})")
    if (waste := money.unplayed_audio) is not None and waste.usd:
        wasted = f"{plural(waste.replies_priced, 'interruption')} ({format_number(waste.usd_per_reply)} each)"
        told.append(f"{usd(waste.usd)} of it for unplayed audio of {wasted}")
    rates = {"turn": money.per_turn, "minute of conversation": money.per_minute} if not arms else {}
    told += [f"{format_number(rate)}{NBSP}USD per {of}" for of, rate in rates.items() if not math.isnan(rate)]
    return told + missing


def _priced(money: RunCost) -> list[TargetCost]:
    return [cost for cost in money.targets if not math.isnan(cost.usd)]


def unplayed_audio(waste: UnplayedAudio) -> list[str]:
    """Return the unplayed audio of one target's interrupted replies: the cells below UNPLAYED_REPLIES."""
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
    """Return the amounts with the estimate and the budget; empty if a run has neither prices nor a budget."""
    if not money.prices.name and math.isnan(money.usd) and money.budget_usd is None:
        return []
    silent = [f"{plural(money.turns_without_usage, 'turn')} without usage"] if money.turns_without_usage else []
    budget = [f"budget {usd(money.budget_usd)}"] if money.budget_usd is not None else []
    estimate = [f"estimated before the run: {_between(money.estimate_usd)}"] if money.estimate_usd is not None else []
    told = [*amounts(money), *silent, *budget, *estimate] if money.is_known or budget else []
    if not (told and simulated):
        return told
    if math.isnan(money.usd):
        return [*told, BILLED_NOTHING]
    return [f"{BILLED_NOTHING}; the same tokens would cost {told[0]}", *told[1:]]


def unpriced(money: RunCost) -> str:
    """Return `no price for gpt-x (12 turns)`."""
    turns = money.turns - money.turns_priced
    return f"no price for {join_words(list(money.models_without_price))}" + (
        f" ({plural(turns, 'turn')})" if turns else ""
    )


def _between(ends: tuple[float, float]) -> str:
    return f"{usd(ends[0]).removesuffix(f'{NBSP}USD')} to {usd(ends[1])}"


def cost_notes(found: RunCost, *, simulated: bool) -> Iterable[str]:
    """Yield what the reader must know about the amounts, in sentences."""
    if simulated:
        yield WOULD
    if found.estimate_usd is not None:
        yield f"Estimated before the run: {_between(found.estimate_usd)}."
    if found.budget_usd is not None:
        known = found.budget_usd and not math.isnan(found.usd)
        spent = f"; {percent(found.usd, found.budget_usd)} of it was spent" if known else ""
        yield f"The budget was {usd(found.budget_usd)}{spent}."
    if found.models_without_price:
        yield (
            f"There is {unpriced(found)}: these tokens are counted, but not included in amounts. "
            "Set prices in targets.yaml, or pass a price table with --prices."
        )
    if found.turns_without_usage:
        have = "has" if found.turns_without_usage == 1 else "have"
        yield f"{plural(found.turns_without_usage, 'turn')} {have} no readable token counts: amounts exclude them."
    if len(_priced(found)) > 1:
        yield PER_REPLY
    if found.unattributed_usd:
        yield STRAY
    if (waste := found.unplayed_audio) is not None:
        untold = waste.replies - waste.replies_with_usage
        yield f"{UNPLAYED} The tokens of {plural(untold, 'reply', 'replies')} are unknown." if untold else UNPLAYED
    if found.input_transcription_extra:
        yield TRANSCRIPTION
    if found.turns_priced:
        yield "All turns of the run are included, also warm-up and failed turns."


def limits_in_all(quota: RateLimitSeries) -> str:
    """Return the throttling of all targets, such as `3 turns throttled, asked 4 times to wait (…), …`."""
    waits_s = sorted(wait for one in quota.targets for wait in one.waits_s)
    held_s = sum(one.start_delay_s for one in quota.targets if one.start_delay_s > 0)
    turns, sessions, backed_off = (
        sum(getattr(one, name) for one in quota.targets)
        for name in ("throttled_turns", "throttled_sessions", "calls_backed_off")
    )
    counted = [plural(n, noun) for n, noun in ((turns, "turn"), (sessions, "session")) if n]
    parts = [f"{join_words(counted)} throttled"] if counted else []
    if waits_s:
        times = f"{count(len(waits_s))} times" if len(waits_s) > 1 else "once"
        median = quantile(np.array(waits_s), 0.5)
        parts.append(f"Retry-After received {times} (p50 {ms(1000 * median)}, longest {ms(1000 * waits_s[-1])})")
    if held_s > 0:
        parts.append(f"starts delayed by {format_duration(held_s)} in total")
    if backed_off > 0:
        parts.append(f"{plural(int(backed_off), 'call')} delayed after failures to connect")
    return ", ".join(parts)


def incident_kind(kind: str) -> str:
    """Return the kind of an incident in words, such as `token refresh`."""
    return kind.replace("_", " ")


def incident_kinds(found: Incidents) -> str:
    """Return the counts of each kind, such as `token refresh × 3 and clock step × 1`."""
    return join_words([f"{incident_kind(kind)} × {n:,}" for kind, n in Counter(found.counts).most_common()])


def incidents_that_matter(summary: Summary) -> Incidents:
    """Return all incidents except a simulator's lateness below 1 % of the shortest median; add the share."""
    medians = [answer.at(0.5).value for answer in summary.answers if answer.at(0.5).has_interval]
    shortest, kept, counts = min(medians, default=math.inf), list[Incident](), Counter(summary.incidents.counts)
    for one in summary.incidents.listed:
        late = late_ms(one) if math.isfinite(shortest) else None
        if late is None:
            kept.append(one)
        elif late < LATE_SHARE * shortest:
            counts[one.kind] -= 1
        else:
            share = f"{percent(late, shortest)} of the shortest median, {ms(shortest)}"
            kept.append(replace(one, text=f"{one.text} ({share})"))
    return Incidents(tuple(kept), +counts)


def incident_lines(summary: Summary, most: int) -> list[str]:
    """Return the first incidents with time and worker; if there are more, also the number of each kind."""
    found = incidents_that_matter(summary)
    times = [clock(one.at_s, long=summary.window.duration_s > 180) for one in found.listed[:most]]
    shown = zip(times, found.listed, strict=False)
    first = [f"{at} worker {one.worker} {incident_kind(one.kind)}: {one.text}" for at, one in shown]
    return [*first, f"in total: {incident_kinds(found)}"] if found.total > len(first) else first


def auth_wait(summary: Summary) -> str:
    """Return `3 of 120 sessions waited for a token, the longest 1.2 s.`, in the measured phase."""
    waited = summary.sessions["auth_wait_ns"].fillna(0).to_numpy(dtype=np.float64)
    many = int((waited > 0).sum())
    if not many:
        return ""
    longest = ms(waited.max() / NS_PER_MS)
    return f"{count(many)} of {plural(waited.size, 'session')} waited for a token (longest {longest})."


def proxy_text(summary: Summary) -> tuple[str, ...]:
    """Return the targets with round trips that end at a proxy."""
    frame = summary.run.turns
    behind = frame.loc[(frame["rtt_scope"] == "proxy").to_numpy(), "target"].unique()
    return tuple(label for label in summary.targets if label in set(behind))


def round_trips(summary: Summary) -> str:
    """Return the far end of the measured round trips."""
    behind = proxy_text(summary)
    where = f"to the nearest TLS terminator; on {join_words(list(behind))} to the proxy, so there is no ttfa_minus_rtt"
    if not behind:
        where = "to the nearest TLS terminator"
    elif len(behind) == len(summary.targets):
        where = "only to the proxy, so there is no ttfa_minus_rtt"
    return f"Round trips are measured by the kernel, {where}."


def compression(summary: Summary) -> list[str]:
    """Return the effect of compression on the audio, for targets with compression."""
    told = []
    for arm in summary.target_facts:
        total = {rate.metric: rate.total_bytes for rate in summary.throughput if rate.target == arm.target}
        said = [
            f"{format_number(wire / audio)} bytes on the wire per byte of audio {way}"
            for way in ("sent", "received")
            if (wire := total.get(f"wire_{way}", 0)) and (audio := total.get(f"audio_{way}", 0))
        ]
        if said and arm.compression not in (None, "", "none"):
            ratios = f"{' and '.join(said)} (base64 alone: {format_number(BASE64)})"
            told.append(f"{arm.target}, {arm.compression}: {ratios}.")
    return told


def throughput(summary: Summary) -> list[str]:
    """Return `audio 325 kB/s sent (10.7 MB), 562 kB/s received (18.6 MB)` and the same of the wire."""
    told = []
    for kind in ("audio", "wire"):
        ways = []
        for way in ("sent", "received"):
            rates = [rate for rate in summary.throughput if rate.metric == f"{kind}_{way}"]
            if total := sum(rate.total_bytes for rate in rates):
                ways.append(f"{quantity(sum(rate.mean_bytes_per_s for rate in rates))}/s {way} ({quantity(total)})")
        told += [f"{kind} {', '.join(ways)}"] if ways else []
    return told


def machine(summary: Summary) -> str:
    """Return which programs used the CPU during an invalid run; "" for other runs, and if it was not recorded.

    Such as: On red: load 7.2 to 14.6 on 4 cores; other programs had 61 % of them, this run 12 %, the hypervisor took 3
    % (9 % in its worst seconds); in the worst seconds all together had 99 %.
    """
    machines = summary.machines if summary.validity.status == "invalid" else ()
    told = [(one.host, _had_cores(one, summary)) for one in machines]
    return " ".join(f"On {host}: {said}." if len(told) > 1 else as_sentence(said) for host, said in told)


MIN_SHARE = 0.01
"""The minimum share of CPU time in the worst seconds from which a user of the CPU is mentioned."""


def _had_cores(one: HostCpu, summary: Summary) -> str:
    loads = [format_number(load) for load in (one.load_start, one.load_end) if not math.isnan(load)]
    load = f"load {' to '.join(loads)}" if loads else "load unknown"
    cores = f"{load} on {plural(one.cores, 'core')}"
    if math.isnan(one.other_programs):
        return f"{cores}; which programs used them is unknown on this system"
    simulator = " (including the simulator, if it ran here)" if summary.simulated else ""
    shares = (one.this_run, one.other_programs, one.steal, one.total_max)
    own, others, stolen, most = (percent(share, 1) for share in shares)
    worst = f" ({percent(one.steal_max, 1)} in its worst seconds)" if one.steal_max >= MIN_SHARE else ""
    return (
        f"{cores}; other programs used {others} of them{simulator}, this run {own}, the hypervisor "
        f"{stolen}{worst}; in the worst seconds, all together used {most}"
    )


DELAYS = ("service_time", "response_time")
OWN_SLOTS = (
    "Each of the {0} processes has its own slots: a call may have been blocked in one while another had a "
    "free slot. If the share of blocked calls matters, use one process, or more slots than the load needs."
)


def rate(per_s: float) -> str:
    """Return `2/s`, `30/min`, or `4.5/h`: a rate in the largest unit in which it is about 1 or more."""
    for size, name in ((1.0, "s"), (60.0, "min")):
        if per_s * size >= 0.995:
            return f"{format_number(per_s * size)}/{name}"
    return f"{format_number(per_s * 3600)}/h"


def calls_counted(one: OfferedLoad) -> str:
    """Return `39 calls arrived, 36 started, 3 blocked (7.7 %), 2 delayed, 1 failed to connect, 33 completed`."""
    parts = [f"{plural(one.offered, 'call')} arrived", f"{count(one.started)} started"]
    if one.blocked:
        parts.append(f"{count(one.blocked)} blocked ({percent(one.blocked, one.offered)})")
    counts = ((one.not_started, "not started"), (one.delayed, "delayed"), (one.connect_failed, "failed to connect"))
    parts += [f"{count(number)} {word}" for number, word in counts if number]
    return ", ".join([*parts, f"{count(one.completed)} completed"])


def offered_load(frame: ArrivalSummary, one: OfferedLoad) -> str:
    """Return `offered 4.1 erlangs (2.05/s of 2 s each), carried 3.8 on 6 slots; callers think for 12 s of a call`."""
    each = f"{rate(one.per_s)} of {format_number(one.call_duration_s)}{NBSP}s each"
    offered = f"offered {format_number(one.offered_erlangs)}{NBSP}erlangs ({each})"
    carried = f"carried {format_number(one.carried_erlangs)} on {plural(one.max_concurrent, 'slot')}"
    thinking = [format_duration(think_s) for think_s in frame.think_s if think_s]
    thought = f"; callers pause for {join_words(thinking)} per call" if thinking else ""
    return f"{offered if one.call_duration_s == one.call_duration_s else rate(one.per_s)}, {carried}{thought}"


def requested_load(frame: ArrivalSummary) -> str:
    """Return the arrival pattern and rate, such as `poisson, 30/min`."""
    return frame.pattern if frame.per_s is None else f"{frame.pattern}, {rate(frame.per_s)}"


def arrivals(summary: Summary, frame: ArrivalSummary) -> list[str]:
    """Return the counts, the load, and the latency from arrival of each target, such as `service_time p50 198 ms`."""
    said = []
    for one in frame.targets:
        parts = [calls_counted(one), offered_load(frame, one)]
        for figures in (f for f in summary.connect_phases if f.metric in DELAYS and f.target == one.target):
            shown = [e for e in map(figures.at, (0.5, 0.95)) if e.has_interval]
            told = [f"p{e.p * 100:g} {open_end_sign(e)}{ms(e.reported_value)}" for e in shown]
            parts += [f"{figures.metric} {', '.join(told)}"] if told else []
        said += [f"{one.target}: {part}" if len(frame.targets) > 1 else part for part in parts]
    return said


def divided(run: RunFrames, frame: ArrivalSummary) -> str:
    """Return the note that each process has its own slots; "" if no call was blocked, or there is one process."""
    workers = int(run.metadata.get("workers") or 1)
    blocked = any(one.blocked for one in frame.targets)
    return OWN_SLOTS.format(workers) if blocked and workers > 1 else ""


def interleaved(one: Interleaving) -> str:
    """Return `Interleaved: 120 pairs; sessions of a pair began within 12 ms of each other`."""
    pair = "pair" if one.targets == 2 else "group"
    many = plural(one.pairs, "pair") if one.targets == 2 else f"{plural(one.pairs, 'group')} of {one.targets}"
    were = "was" if one.incomplete == 1 else "were"
    cut = f", {count(one.incomplete)} more {were} incomplete" if one.incomplete else ""
    unopened = f", of which {count(one.not_opened)} had a session that never opened" if one.not_opened else ""
    began = f"sessions of a {pair} started within {ms(max(one.max_start_gap_ms, 0.1))} of each other"
    return f"Interleaved: {many}{cut}{unopened}; {began}."


def drift_text(found: Sequence[PoolDrift]) -> str:
    """Return the drift of all pools and its result, such as `…: direct −1 % (−4 to +2 %). No drift …`."""
    if not found:
        return ""
    named = len(found) > 1
    parts = [f"{f'{one.label} ' if named else ''}{_drift(one)}" for one in found]
    drifted = [one.label for one in found if one.suspected]
    where = f" on {join_words(drifted)}" if named else ""
    end = f"No drift is suspected: that requires over 5{NBSP}%, an interval that excludes 0, and no uncertain value."
    end = f"Drift is suspected{where}: see latency over time." if drifted else end
    return f"Later half of the turns compared with the earlier half, {HOW_DRIFT}: {', '.join(parts)}. {end}"


def drift_suspected(found: Sequence[PoolDrift]) -> str:
    """Return `suspected, later half of the turns against the earlier half, …: gateway +12 % (+7 to +18 %)`."""
    parts = [f"{one.label} {_drift(one)}" for one in found if one.suspected]
    how = f"later half of the turns compared with the earlier half, {HOW_DRIFT}"
    return f"suspected, {how}: {', '.join(parts)}" if parts else ""


def _drift(one: PoolDrift) -> str:
    """Return `+12 % (+7 to +18 %)`."""
    return f"{change(one.ratio)} ({interval(one.low or None, one.high or None, change)})"
