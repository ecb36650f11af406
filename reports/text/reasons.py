"""The sentences of reasons, here and in the modules of `OTHERS`. Every reason has a code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from reports.formatting import (
    NBSP,
    breakable,
    count,
    excerpt,
    format_duration,
    format_number,
    join_present,
    join_words,
    plural,
)
from reports.metrics import step_names
from reports.results.json_entries import JsonEntry, map_values, to_json_data
from reports.results.value import Reason, unique
from reports.statistics.verdicts import LATE
from reports.text.phrases import CHECKS, as_sentence, interval
from reports.text.verdicts import in_unit, share

if TYPE_CHECKING:
    from reports.text.invalid import Numbers

NOT_STORED = ("no_run_stored", "only_checked_run_stored", "stored_by_older_version")
"""The codes of the reasons why a target has no stored baseline."""
EXPLAINING = (
    "several_limits",
    "unequal_lengths",
    "dependent_sessions",
    "run_sd_assumed",
    "drift_in_analyses",
    "metrics_drifted",
    "metrics_had_bursts",
    "by_length",
    "widened",
)
"""The codes of the reasons that explain the error rates of verdicts. A page folds them."""
NOUNS = {
    "failure_rate": "failure",
    "throttle_rate": "throttled turn",
    "abandonment_rate": "abandoned call",
    "stall_rate": "stalled reply",
    "cut_off_rate": "turn cut off",
    "crossed_audio_rate": "call with crossed audio",
    "taken_for_mailbox_rate": "person taken for a mailbox",
    "taken_for_person_rate": "mailbox taken for a person",
    "early_message_rate": "early message",
    "false_yield_rate": "false yield",
    "false_reply_rate": "false response",
    "input_wer": "word error",
    "reply_wer": "word error",
    **{name: name for name in LATE.values()},
}
BOUNDS = {
    "uncertainty": "that allow for the uncertainty of each value",
    "parts": "that parts of the run give",
    "sessions": "that the variance between sessions gives",
}
"""The causes of bounds that lie outside the printed interval."""


def reason_text(reason: Reason | None) -> str:
    """Return a reason as a text; "" if there is none. Example: `too few turns to decide: p95 needs
    400 per target, 96 on new`.
    """
    return join_present(": ", *parts(reason))


def parts(reason: Reason | None) -> tuple[str, str]:
    """Return a reason as two texts: the reason, and its numbers. The first one is "" if a reason
    has one text only. Example: `too few turns to decide` and `p95 needs 400 per target, 96
    measured`.
    """
    if reason is None:
        return "", ""
    if reason.text:  # it was read from a document
        return "", reason.text
    written = _sentence(reason.code)
    if isinstance(written, str):
        return "", written
    text = written(reason.numbers)
    return ("", text) if isinstance(text, str) else text


def reason_line(reason: Reason) -> str:
    """Return a reason with its remedy, such as `the run is INVALID: audio was sent late (…).
    Lower the load.`.
    """
    return join_present(" ", f"{reason_text(reason).rstrip('.')}.", remedies_text([reason]))


def reasons_text(reasons: Iterable[Reason]) -> str:
    """Return the texts of reasons, each text once."""
    return "; ".join(dict.fromkeys(map(reason_text, reasons)))


def remedies(reasons: Iterable[Reason]) -> list[str]:
    """Return the known remedies of reasons, each one once and without a full stop."""
    from reports.text.invalid import REMEDIES

    written = ((REMEDIES.get(reason.code, ""), reason.numbers) for reason in reasons)
    texts = (remedy if isinstance(remedy, str) else remedy(numbers) for remedy, numbers in written)
    return list(dict.fromkeys(text.rstrip(". ") for text in texts if text))


def remedies_text(reasons: Iterable[Reason]) -> str:
    """Return all remedies as sentences, each one once; "" if none is known."""
    return " ".join(map(as_sentence, remedies(reasons)))


def document_data(
    document: JsonEntry, write: Callable[[Reason], str] = reason_text, findings: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a document as lists, dictionaries, strings, and numbers. Each of its reasons has a
    text from `write`. `findings` are the keys of its findings, which are written without keys that
    are null.
    """

    def with_text(reason: Reason) -> Reason:
        numbers = map_values(reason.numbers, Reason, with_text)
        return Reason(reason.code, numbers, breakable(write(reason)))

    data = to_json_data(map_values(document, Reason, with_text))
    return data | {key: [*map(_known, data[key])] for key in findings}


def _known(entry: dict[str, Any]) -> dict[str, Any]:
    values = {
        key: _known(of) for key in ("value", "against") if isinstance(of := entry.get(key), dict)
    }
    return {key: of for key, of in entry.items() if of is not None or key == "value"} | values


def use(
    *missing: Reason | None, published: bool, invalid: Iterable[Reason] = (), note: str = ""
) -> dict[str, Any]:
    """Return the columns of `frames.USE` for one value. `missing` is the reasons why there is no
    value or no verdict. `invalid` is the reasons why the value may not be used. `note` is a remark
    that the text contains, too.
    """
    refused = unique(invalid)
    absent = unique(filter(None, missing))
    first = next(iter((*refused, *absent)), None)
    texts = filter(None, (*map(reason_text, absent), note, *map(reason_text, refused)))
    return {
        "published": published,
        "usable": published and not refused,
        "reason": first and first.code,
        "reason_numbers": first and msgspec.json.encode(first.numbers).decode(),
        "reason_text": breakable("; ".join(texts)),
    }


def units(reason: Reason) -> str:
    """Return the unit of a reason in the plural. Words of scripts without spaces are characters."""
    return "words or characters" if reason.unit == "word" else f"{reason.unit}s"


def uncertainty_text(metric: Numbers) -> str:
    """Return the uncertainty of a metric as text, such as `by 31 ms (p99; limit 20 ms)`."""
    value = metric["value"]
    unit = metric["unit"]
    host = metric.get("host")
    amount = "by an unknown amount" if value is None else f"by {format_number(value)}{NBSP}{unit}"
    on = f" on {host}" if host else ""
    return f"{amount} (p99; limit {format_number(metric['limit'])}{NBSP}{unit}){on}"


def early_text(metric: Numbers) -> str:
    """Return the text `12 % of the replies started before their question had ended (limit 1 %)`,
    with its numbers.
    """
    early, limit = (f"{format_number(metric[name] or 0.0)}{NBSP}%" for name in ("value", "limit"))
    return f"{early} of the replies started before their question had ended (limit {limit})"


def _uncertain(numbers: Numbers) -> str:
    from bench.record.validity import EARLY_REPLIES

    texts = []
    for metric in numbers["metrics"]:
        is_early = metric.get("reason") == EARLY_REPLIES
        why = early_text(metric) if is_early else f"it may be off {uncertainty_text(metric)}"
        on = f" on {metric['on']}" if metric.get("on") else ""
        texts.append(f"uncertain in this run: {why}{on}")
    named = f"{numbers['metric']} is " if "metric" in numbers else ""
    return f"{named}{'; '.join(texts)}"


def unscored_text(of: Numbers) -> str:
    """Return the number of unscored turns, sessions or words as a text, such as `30 of 60 turns
    could not be scored`.
    """
    from reports.metrics.rate_metrics import RATES

    on = f" on {of['on']}" if of.get("on") else ""
    named = f"{count(of['unscored'])} of {count(of['of'])}{NBSP}{of['unit']}{on}"
    return f"{named} could not be scored" if of["metric"] in RATES else f"{named} have no value"


def _unscored(numbers: Numbers) -> str:
    texts = join_words([*map(unscored_text, numbers["metrics"])])
    named = f"{numbers['metric']}: " if "metric" in numbers else ""
    return f"{named}{texts}: any result of these is possible"


BECAUSE = {
    "task_success_rate": "the reply has no words",
    "reply_wer": "the reply has no transcript",
    "input_wer": "the service did not transcribe the recording",
    "stall_rate": "the audio has no player",
    "cut_off_rate": "the turn ended before the speech did",
    "mcp_failure_rate": "the turn ended before the call did",
    "yield_rate": "the turn failed before the player was silent",
    "false_yield_rate": "the turn failed within 1 s",
    "truncation_correct_rate": "the session ended before the check did",
    "crossed_audio_rate": "the caller heard no mark",
    "preamble_rate": "no event marks the answer",
    **dict.fromkeys(
        ("taken_for_mailbox_rate", "taken_for_person_rate", "early_message_rate"),
        "the call ended before it was known",
    ),
}
"""Why a rate of a turn is unknown."""


def _unscored_rate(numbers: Numbers) -> str:
    name = numbers["metric"]
    unscored = f"{count(numbers['unscored'])} of {count(numbers['of'])}{NBSP}{numbers['unit']}"
    where = "" if numbers["unit"] == "turns" else f", in {plural(numbers['turns'], 'turn')}"
    where += f" of {count(numbers['applies'])}" if where else ""
    causes = [f"{count(turns)} failed: {cause}" for cause, turns in numbers["causes"].items()]
    because = join_present(" ", BECAUSE[name], f"({'; '.join(causes)})" if causes else "")
    on = f"{numbers['target']}: " if numbers["target"] else ""
    return (
        f"{on}{name}: {unscored} could not be scored{where}: {because}. The interval holds for any"
        " result of these, and no threshold passes that they could break."
    )


def _cached_above_input(numbers: Numbers) -> str:
    on = f"{numbers['target']}: " if numbers["target"] else ""
    return (
        f"{on}The service reported more cached tokens than input tokens in"
        f" {count(numbers['turns'])} of {plural(numbers['of'], 'turn')}. This is a fault of the"
        " service: cached_share of these turns is unknown."
    )


def _too_few(numbers: Numbers) -> tuple[str, str] | str:
    reason = Reason("too_few", dict(numbers))
    unit = reason.unit
    p = numbers.get("p")
    about = numbers.get("about_sessions")
    there = numbers["there"]
    if side := numbers.get("interval"):  # the whole interval is on one side of a limit
        on = "" if p is None else f" on p{p * 100:g}"
        sessions = f" (about {plural(about, 'session')})" if about else ""
        needs = f"needs {plural(reason.needed, unit)}{sessions}"
        return (
            f"the interval is {side} the limit, but a verdict{on} {needs}; this run has"
            f" {count(there[0])}"
        )
    if (events := numbers.get("events")) is not None:
        lead = f"too few {units(reason)} to decide"
        rate = f"a rate needs {reason.needed} {units(reason)}"
        return lead, f"{events} of {there[0]}; {rate}"
    lead = f"too few {unit}s to decide"
    if unit == "pair":
        return lead, f"{reason.needed} needed, {reason.there:,} measured"
    needs = f"needs {reason.needed:,}" if p is None else f"p{p * 100:g} needs {reason.needed:,}"
    if len(there) == 1:  # the number of one target, compared with a limit
        return (
            lead,
            f"{needs}{f' (about {about:,} sessions)' if about else ''}, this run has {there[0]:,}",
        )
    needed = f"{reason.needed} needed" if p is None else needs
    return lead, f"{needed} per target, {_existing(reason)}"


def _existing(reason: Reason) -> str:
    """Return the existing numbers that are too small, such as `96 on new` or `96 on old and 120 on
    new`.

    Return `96 measured` if all targets have the same number, or if the targets are unknown.
    """
    there = reason.numbers["there"]
    targets = reason.numbers.get("targets")
    if not targets or len(set(there)) == 1:
        return f"{min(there):,} measured"
    both = zip(there, targets, strict=True)
    return " and ".join(f"{n:,} on {target}" for n, target in both if n < reason.needed)


def _unequal(numbers: Numbers) -> tuple[str, str]:
    from reports.text.check_reasons import unequal_reason

    unit = numbers["unit"]
    return (
        unequal_reason(numbers["there"][0], numbers["effective_sessions"], unit),
        f"{numbers['needed']} needed",
    )


def _no_event(numbers: Numbers, *, is_limit: bool) -> tuple[str, str]:
    # with no failure in 100 sessions the rate may still be up to 2.95 %: about 299 sessions are
    # needed
    metric = numbers["metric"]
    end = numbers["upper"]
    observed = (
        f"with no {NOUNS.get(metric, f'{metric} turn')} in {plural(numbers['there'][0], 'session')}"
    )
    may_be = "the upper bound is" if is_limit else "the rate may still be up to"
    if metric in LATE.values():  # the rate is that of the other turns
        may_be = "the lower bound is" if is_limit else "the rate may still be as low as"
        end = 1 - end
    bound = f"{observed} {may_be} {share(end)}{NBSP}%"
    needed = numbers.get("needed")
    return (bound, f"about {plural(needed, 'session')} are needed") if needed else ("", bound)


def _few_baseline(numbers: Numbers) -> tuple[str, str]:
    lead = (
        f"worse than the margin, but the baseline has only {plural(numbers['there'][0], 'session')}"
    )
    return lead, f"it needs about {count(numbers['needed'])}"


def _within_bounds(numbers: Numbers) -> str:
    if not numbers:
        return "the limit lies within the interval"
    lower = numbers["lower"]
    upper = numbers["upper"]
    bounds = interval(lower, upper, partial(in_unit, numbers["unit"]), " and ")
    return f"the limit lies between the bounds {BOUNDS[numbers['bounds_from']]}, {bounds}"


def _no_step(numbers: Numbers) -> str:
    step = numbers["step"]
    steps = [(script, own) for script, own in numbers["steps"]]
    return str(step_names.refusal(step, steps, f"no turn of a step {step} was measured"))


def _save(what: str, numbers: Numbers) -> str:
    return (
        f"save {what} with `rtbench baseline save RUN --baselines-dir {numbers['baselines_dir']}`"
    )


def _no_run_stored(numbers: Numbers) -> str:
    known = excerpt(", ".join(numbers.get("known", ())), 200)
    other = f" (stored: {known}; a run and its stored runs need the same --name)" if known else ""
    return f"no run is stored in {numbers['folder']} yet{other}: {_save('one', numbers)}"


def _older_version(numbers: Numbers) -> str:
    runs = plural(numbers["stored_runs"], "stored run")
    return (
        f"{runs} of an older version cannot show bursts or drift during a run:"
        f" {_save('the run again', numbers)}"
    )


def inner(numbers: Numbers) -> Reason:
    """Return the reason in the numbers of another one. In a document it is an object."""
    inner = numbers["reason"]
    return inner if isinstance(inner, Reason) else Reason(inner["code"], inner["numbers"])


def _cannot_pass(numbers: Numbers) -> str:
    pairs = count(numbers["pairs"])
    enough = numbers.get("needed")
    text = (
        f"{numbers['threshold']} cannot pass with {pairs} pairs, because"
        f" {reason_text(inner(numbers))}"
    )
    return f"{text}: raise --sessions to {enough} or more, or widen the margin" if enough else text


def _too_few_runs(numbers: Numbers) -> str:
    from reports.statistics.change_points import MIN_SIDE_RUNS

    runs = plural(numbers["there"][0], "run")
    side = MIN_SIDE_RUNS
    return (
        f"{runs} to compare; finding a change requires {numbers['needed']}: {side} before and"
        f" {side} after it"
    )


PARTS = {
    "before": "before the peak",
    "peak": "for the peak",
    "after": "after the peak",
    "before the events": "before the events",
}
NOT_RUN = {"peak": "the run ended before the peak", "after": "the run ended in the peak"}
"""Why a part of a run with a peak is missing."""
OF_PARTS = {
    "late": "the load generator started its callers too late",
    "blocked": "the load generator stood still",
    "cpu": "the load generator used all of a core",
}


def _part_invalid(numbers: Numbers) -> str:
    cause = numbers["cause"]
    part = PARTS.get(numbers["part"], f"from {numbers['part']} on")
    return f"INVALID {part}: {OF_PARTS.get(cause) or CHECKS[cause].failure}"


SENTENCES: Mapping[str, str | Callable[[Numbers], tuple[str, str] | str]] = {
    "too_few": _too_few,
    "too_few_to_print": lambda n: f"needs {count(n['needed'])}{NBSP}{units(Reason('', dict(n)))}",
    "unequal": _unequal,
    "none_seen": partial(_no_event, is_limit=False),
    "no_event": partial(_no_event, is_limit=True),
    "few_baseline": _few_baseline,
    "no_turns": lambda n: f"no {n['metric']} on {join_words(n['targets'])}",
    "no_analysis": lambda n: (
        "no interim analysis",
        f"{count(n['there'][0])} of {plural(n['needed'], 'pair')} ended",
    ),
    "would_stay_inconclusive": lambda n: f"would stay inconclusive at {n['needed']} pairs",
    "uncertain": _uncertain,
    "unscored": _unscored,
    "unscored_rate": _unscored_rate,
    "cached_above_input": _cached_above_input,
    "no_step": _no_step,
    "within_bounds": _within_bounds,
    "nothing_succeeded": "no turn succeeded",
    "no_value": "not measured on both targets",
    "part_invalid": _part_invalid,
    "part_not_run": lambda n: NOT_RUN.get(n["part"], f"the run ended before {n['part']}"),
    "not_monotone": "the values of the settings go up and down",
    "few_probe_turns": "probe callers had too few turns before or after the peak",
    "few_before_event": "too few calls or turns before the event: place it later",
    "few_at_event": "too few calls or turns from the event on",
    "failed_later": lambda n: (
        f"{plural(n['calls'], 'call')} failed later than {format_duration(n['after_s'])}"
        " after it, which the time before is too short to compare with"
    ),
    "few_turns_of_event": lambda n: (
        f"too few turns: at a steady load it needs {n['before_turns']} in {n['before_s']:g} s or"
        f" more before the first event, and {n['after_turns']} in {n['after_s']:g} s or more after"
        " the event"
    ),
    "not_recovered_event": "not shown within the run: more time after the event, or more calls,"
    " may show it",
    "never_left": "latency never left the margin",
    "not_recovered": "not shown within the run (a longer --after, more --probes or a larger"
    " --margin may show it)",
    "no_value_here": "the run or its baseline has no such value",
    "no_ratio": "the value of the stored runs is 0, so there is no ratio",
    "in_failures": "the quantile is infinite: too many turns failed",
    "failure_rate_decides": (
        "the quantile is infinite because too many turns failed: failure_rate decides"
    ),
    "after_holm": "worse than the margin by itself, but not after Holm’s correction",
    "drift": "latency of one target drifted during the run",
    "bursts": "failures or slow turns of one target occurred in bursts",
    "not_positive": "a mean is not positive",
    "no_run_stored": _no_run_stored,
    "only_checked_run_stored": lambda n: (
        f"the only run stored in {n['folder']} is the checked run: {_save('another', n)}"
    ),
    "stored_by_older_version": _older_version,
    "conditions_differ": lambda n: (
        "The stored baselines were measured under other conditions:"
        f" {'; '.join(map(reason_text, n['conditions']))}"
    ),
    "not_reported": "not reported",
    "provisional": lambda n: f"{reason_text(inner(n))} The verdicts are provisional.",
    "unbounded": lambda n: (
        f"needs {plural(n['needed'], 'session')}" if n else "the interval is unbounded"
    ),
    "too_few_runs": _too_few_runs,
    "found_again": lambda n: (
        f"{plural(n['targets'], 'target')} of runs found more than once, shown once."
    ),
    "cannot_pass": _cannot_pass,
}
"""The sentence of a code, or a function that writes it from the numbers of the reason. `OTHERS` has
the modules with the sentences of the other codes."""
OTHERS = ("check_reasons", "invalid", "comparability")


def _sentence(code: str) -> str | Callable[[Numbers], tuple[str, str] | str]:
    """Return the sentence of a code. Import only the modules up to the one that has it: most
    documents contain few reasons.
    """
    if code not in SENTENCES:
        others = (import_module(f"reports.text.{name}").SENTENCES for name in OTHERS)
        found: str | Callable[[Numbers], tuple[str, str] | str] = next(
            sentences[code] for sentences in others if code in sentences
        )
        return found
    return SENTENCES[code]
