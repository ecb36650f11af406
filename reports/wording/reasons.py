"""Why nothing is decided by a figure, in words; the same in compare, check and decide."""

from __future__ import annotations

from reports.numbers import NBSP, count, listed, plural
from reports.statistics.verdicts import DRIFTS, Reason, unequal

NOUNS = {
    "failures": "failure", "throttled": "throttled turn", "stalled": "stalled reply", "cut_off_rate": "turn cut off",
    "false_yield_rate": "false yield", "false_response_rate": "false response",
    "input_wer": "word error", "reply_wer": "word error",
}  # fmt: skip


def said(reason: Reason | None) -> str:
    """too few turns to decide: p95 needs 400 in each arm, 96 on new; empty where the interval says it all."""
    return ": ".join(filter(None, parts(reason)))


def parts(reason: Reason | None) -> tuple[str, str]:
    """What is lacking, and how much of it there is: (too few turns to decide, p95 needs 400 in each arm, 96 there)."""
    if reason is None:
        return "", ""
    match reason.kind:
        case "too few":
            return _few(reason)
        case "unequal":
            return unequal(reason.there[0], reason.worth, reason.unit), f"{reason.needed} needed"
        case "none seen":
            return _none_seen(reason)
        case "no turns":
            return "", f"no {reason.measure} on {listed(list(reason.arms))}"
        case "not exact":
            return "", reason.text
        case "no look":
            return "no look was held", f"{count(reason.there[0])} of {plural(reason.needed, 'pair')} ended"
        case "would stay":
            return "", f"would stay so at {reason.needed} pairs"
    return "", {
        "no figure": "no such figure in both arms",
        "no ratio": "no ratio to 0, which stored runs have",
        "failed share": "quantile in the failed share",
        "failed share, decides": "the quantile lies in the failed share: the failure rate decides",
        "after Holm": "over the margin, not after Holm",
        "drifts": DRIFTS,
        "not positive": "a mean is not positive",
    }[reason.kind]


def _few(reason: Reason) -> tuple[str, str]:
    lead = f"too few {reason.unit}s to decide"
    if reason.unit == "pair":
        return lead, f"{reason.needed} needed, {min(reason.there):,} there"
    if reason.p is None:
        return lead, f"{reason.needed} needed in each arm, {_lacking(reason)}"
    return lead, f"p{reason.p * 100:g} needs {reason.needed:,} in each arm, {_lacking(reason)}"


def _lacking(reason: Reason) -> str:
    """96 on new; 96 on old and 120 on new; 96 there, where it is not said or the same in all of them."""
    if not reason.arms or len(set(reason.there)) == 1:
        return f"{min(reason.there):,} there"
    both = zip(reason.there, reason.arms, strict=True)
    return " and ".join(f"{n:,} on {arm}" for n, arm in both if n < reason.needed)


def _none_seen(reason: Reason) -> tuple[str, str]:
    """(with no failure in 100 sessions the rate may still be up to 3.0 %, it takes about 299 sessions)."""
    left = 100 * reason.upper
    shown = f"{left:.1f}" if left >= 1 else f"{left:.2g}"
    noun = NOUNS.get(reason.measure, f"{reason.measure} turn")
    told = f"with no {noun} in {plural(reason.there[0], 'session')} the rate may still be up to {shown}{NBSP}%"
    return (told, f"it takes about {plural(reason.needed, 'session')}") if reason.needed else ("", told)
