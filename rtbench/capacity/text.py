"""The sentences of a capacity search: its reasons, its notes, and its result."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.record.validity import LOAD_GENERATOR_CHECKS, over_text
from reports.formatting import (
    NBSP,
    count,
    format_number,
    join_words,
    ms,
    percent,
    plural,
)
from reports.results.value import Reason
from reports.text import reasons
from reports.text.breakdown import SEGMENT_TEXTS, STOPPED
from reports.text.invalid import Numbers, Sentence, failed_check
from rtbench.capacity.document import CapacityDocument, Ended, LevelEntry
from rtbench.capacity.verification import MAX_LEVELS
from rtbench.load_display import SYMBOLS

EARLY_ENDS: dict[Ended, str] = {
    "time": "its time limit was reached",
    "budget": "its budget was spent",
    "interrupted": "it was interrupted",
}
"""The reasons why a search ended before it was complete."""


def concurrent(load: int) -> str:
    """Return a load with its unit, such as `300 concurrent calls`."""
    return plural(load, "concurrent call").replace(NBSP, " ")


def reason_text(reason: Reason | None) -> str:
    if reason is None or reason.code not in SENTENCES:
        return reasons.reason_text(reason)
    sentence = SENTENCES[reason.code]
    if not isinstance(sentence, str):
        return sentence(reason.numbers)
    texts = dict(reason.numbers)
    if "reason" in texts:
        texts["reason"] = reason_text(reasons.inner(reason.numbers))
    return sentence.format(**texts)


def result_word(level: LevelEntry) -> str:
    """Return the result of a level, or of a part of the ramps, as a word. If a level is not
    evaluated, the word is the cause.
    """
    if level.result == "not_evaluated":
        return "crashed" if level.crashed else "overloaded"
    return level.result or "ramp"


def result_text(level: LevelEntry) -> str:
    """Return the result as a word, with its symbol."""
    symbol = SYMBOLS[level.result][0] + NBSP if level.result else ""
    return symbol + result_word(level)


def percents(share: float) -> str:
    """Return a share in percent, without its unit."""
    return format_number(float(f"{100 * share:.2g}"))


def document_data(capacity: CapacityDocument) -> dict[str, Any]:
    """Return the content of capacity.json, with its texts."""
    headline = "; ".join(headline_parts(capacity)).replace(NBSP, " ")
    return reasons.document_data(msgspec.structs.replace(capacity, headline=headline), reason_text)


def headline_parts(capacity: CapacityDocument) -> list[str]:
    """Return the result as texts without a full stop: the answer, then its details."""
    parts = [_verified(capacity)] if capacity.levels else []
    if (point := capacity.breaking_point) is not None:
        parts.append(f"the breaking point is one of {point.code} ({reason_text(point)})")
    parts.append(reason_text(capacity.estimate))
    if capacity.ended in EARLY_ENDS:
        parts.append(f"the search ended early, because {EARLY_ENDS[capacity.ended]}")
    return parts


def _verified(capacity: CapacityDocument) -> str:
    """Return what the levels showed."""
    passes = capacity.highest_pass
    fails = capacity.lowest_fail
    answer = "no level passed or failed"
    if passes is not None and fails is not None:
        answer = f"passes at {count(passes)} and fails at {concurrent(fails)}"
    elif passes is not None:
        answer = f"passes at {concurrent(passes)}; no level failed"
    elif fails is not None:
        answer = f"fails at {concurrent(fails)}; no level passed"
    return f"{answer} ({', '.join(capacity.plan.thresholds)})"


def _check_failed(numbers: Numbers) -> str:
    check = failed_check(numbers["name"], numbers)
    load = f"with {count(numbers['calls_per_process'])} calls per process"
    more = (
        f"free cores of this machine, and add `-- --processes {2 * numbers['processes']}` or more"
    )
    remedy = more if check.name in LOAD_GENERATOR_CHECKS else check.remedy
    return f"INVALID: {over_text(check)} {load}; {remedy}"


def _breaking_point(numbers: Numbers) -> str:
    """Return the counts of the violated threshold and, for a quota, what remained of it."""
    turns = plural(numbers["turns"], "turn")
    slow = count(numbers["slow"])
    failed = count(numbers["failed"])
    counts = f"{numbers['threshold']}, {slow} of {turns} were too slow, {failed} failed"
    if (remaining := numbers.get("rate_limits_remaining")) is None:
        return counts
    left = ", ".join(f"{name} {percent(share, 1)}" for name, share in remaining.items())
    limits = (
        f"lowest remaining limits per minute: {left}" if left else "the service reported no limits"
    )
    return f"{counts}, of which the service throttled {count(numbers['throttled'])}; {limits}"


def _undecided(numbers: Numbers) -> str:
    loads = join_words([count(load) for load in numbers["loads"]])
    return f"inconclusive levels: {loads}; a longer --max-time decides more levels"


def _crossed(numbers: Numbers) -> str:
    """Return the answer, such as `p95 of voice_to_voice crosses 800 ms at about 18 concurrent
    calls (95 % interval 14 to 23)`.
    """
    low = numbers["low"]
    high = numbers["high"]
    load = round(numbers["load"])
    most = count(high) if high else f"more than {count(numbers['top'])}"
    about = f"at about {concurrent(load)}" if load else "below 1 concurrent call"
    interval = f"{percent(numbers['confidence'], 1)} interval {count(low)} to {most}"
    return f"{_limited(numbers, 'crosses')} {about} ({interval}){_cause(numbers)}"


def _not_crossed(numbers: Numbers) -> str:
    """Return the largest load that was reached and, if turns are too few to know that the threshold
    holds there, the largest one at which it is known to hold.
    """
    low, top = numbers["low"], numbers["top"]
    known = f"known to hold up to {count(low)} only" if low else "not known to hold for even 1"
    few = f"; with so few turns it is {known}: a longer --max-time shows more" if low < top else ""
    return f"{_limited(numbers, 'did not cross')} up to {concurrent(top)}{few}"


def _fails_at_first(numbers: Numbers) -> str:
    """Return that the first load violates the threshold, with the cause and the remedy."""
    turns, violated, fastest_ms = (
        numbers["at_first"][key] for key in ("turns", "violated", "fastest_ms")
    )
    first = numbers["high"]
    which = "all" if violated == turns else f"{count(violated)} of"
    values = f" ({ms(fastest_ms)} or more)" if fastest_ms is not None else ""
    missed = f"{which} {plural(turns, 'turn')}{values} violate {numbers['threshold']}"
    is_vad = (numbers.get("part") or {}).get("name") == SEGMENT_TEXTS[STOPPED]
    remedy = "choose another limit, or a script without VAD" if is_vad else "choose another limit"
    loads = "no load" if first == 1 else f"no load of {count(first)} or more"
    fewer = "" if first == 1 else "; `--from 1` tries one call alone"
    found = f"{concurrent(first)}: {missed}{_cause(numbers, 'calls fail')}"
    return f"{found}; {loads} can pass: {remedy}{fewer}"


def _unknown(numbers: Numbers) -> str:
    """Return why the ramps show nothing about the service."""
    reason = reasons.inner(numbers)
    ours = (
        "" if reason.code == "time_over" else "the load generator, not the service, was the limit: "
    )
    return f"nothing is known about the service: {ours}{reason_text(reason)}"


def _limited(numbers: Numbers, verb: str) -> str:
    return f"{numbers['title']} {verb} {numbers['limit']}"


def _cause(numbers: Numbers, failing: str = "above it, calls fail") -> str:
    if failed := numbers.get("failed"):
        if (always := numbers.get("at_all_loads")) is None:
            return f"; {failing}: {failed}"
        turns = f"{count(always['failed'])} of {count(always['turns'])} turns"
        permits = f"; p({always['p'] * 100:g}) permits them" if always["p"] else ""
        return f"; {turns} fail, as often at low loads: {failed}{permits}"
    if (part := numbers.get("part")) is None:
        return ""
    setting = (
        f" (silence_duration_ms: {format_number(part['silence_ms'])})" if part["silence_ms"] else ""
    )
    return f"; {ms(part['mean_ms'])} of it are {part['name']}{setting}"


SENTENCES: Mapping[str, Sentence] = {
    # why a level shows nothing about the service, or is inconclusive
    "slow_connections": (
        "{load:,} calls need {warm_s:.0f} s to connect at this rate of connections, but the"
        " level lasts {level_s:.0f} s: use a longer --max-time, or `-- --connect-rate N`"
    ),
    "crashed": "{message}",
    "check_failed": _check_failed,
    "above_calibration": "{message}",
    "time_over": "the search's time ended before this run was finalized",
    "starts_delayed": (
        "starts were delayed for {delayed_s:.0f} s because of the service's quota: only"
        " {in_progress:.0f} calls were in progress"
    ),
    "callers_waited": (
        "calls were refused, and on average {waiting:.2g} of {callers:,.0f} callers waited before"
        " their next call: if they had called, more turns than allowed might have violated the"
        " threshold"
    ),
    "limit_exhausted": (
        "the service's limit of {limit} was being used up: at this rate it is exhausted in"
        " {left_s:.0f} s"
    ),
    "futile": "ended early, because its remaining time was unlikely to decide it",
    # why the lowest failing level failed
    **dict.fromkeys(("latency", "failures", "quota"), _breaking_point),
    # the answer of the ramps
    "crossed": _crossed,
    "not_crossed": _not_crossed,
    "fails_at_first": _fails_at_first,
    "unknown": _unknown,
    "no_turns": (
        "no turn with a value of the threshold ended, so nothing is known: use a metric that these"
        " calls have (`rtbench report` of a ramp's run lists them), or a longer --max-time"
    ),
    "ramp_silent": "the {number} ramp is not used: {reason}",
    # notes on the result
    "verify": (
        f"this range is no verdict: `--verify` adds up to {MAX_LEVELS} levels at its ends, which"
        " pass or fail"
    ),
    "level_silent": "the level of {load:,} shows nothing about the service: {reason}",
    "undecided": _undecided,
}
"""The sentence of each code, which contains the numbers of the reason, or a function that writes
it."""
