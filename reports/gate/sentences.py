"""A check in sentences: the verdict first, then what an exit status means; the same words on every output."""

from __future__ import annotations

from functools import partial

from bench.metrics import SLOPE
from reports.finding_rows import NOT_JUDGED, shown_word
from reports.gate.items import FAILED, INCONCLUSIVE, PASSED, VOID, Checked, Item
from reports.numbers import NBSP, NONE, count, percent, plural, three
from reports.render.blocks import MARKS, with_marker
from reports.statistics.differences import Scale
from reports.summary.trust import WORDS
from reports.wording import validity
from reports.wording.validity import Cause
from reports.wording.verdicts import difference_interval, known_word, share, signed, within
from reports.wording.words import INFINITE, few_words, interval


def in_unit(unit: str, value: float | None) -> str:
    """A figure in its unit: 640 ms, 1.20 %, 1.31 ×."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{share(value)}{NBSP}%"
    return three(value) if unit == "n" else f"{three(value)}{NBSP}{unit}"


def value_text(item: Item) -> str:
    """The figure, or ∞ where it lies among the failures."""
    if item.required and _without_figure(item):
        return few_text(item)
    return INFINITE if item.in_failures else in_unit(item.unit, item.value)


def reached_text(item: Item) -> str:
    """71.2 %: the share of what was wanted that has the figure; a dash where it is not one of a wait."""
    return NONE if item.completed_share is None else percent(item.completed_share, 1)


def few_text(item: Item) -> str:
    """n/a (440 turns; needs 500), n/a (20 sessions; needs 40)."""
    return f"n/a ({few_words(item.available or 0, item.required_unit.removesuffix('s'), item.required or 0)})"


def _without_figure(item: Item) -> bool:
    """Whether it is the target itself that has too few of them, and not its baseline."""
    return (item.sessions if item.required_unit == "sessions" else item.turns) < (item.required or 0)


def interval_text(item: Item) -> str:
    """590 to 690 ms; +4 % (−3 to +12 %); 4,000 ms to open. What lies in the failed share is ∞."""
    if item.required:
        return "–" if _without_figure(item) else few_text(item)
    told = (item.baseline, item.difference) if item.relative else (item.value, item.in_failures or None)
    if item.result == "not_evaluated" or all(figure is None for figure in (*told, item.low, item.high)):
        return "–"
    if item.low_infinite:
        return INFINITE
    if item.relative and item.baseline == 0 and item.value and item_scale(item) == "ratio":
        return "no ratio to 0"
    if not item.relative:
        return interval(item.low, item.high, partial(in_unit, item.unit))
    apart = INFINITE if item.in_failures and item.baseline is not None else "–"
    apart = apart if item.difference is None else signed(item.difference, item_scale(item))
    return f"{apart} ({difference_interval(item.low, item.high, item_scale(item))})"


def corrected_text(item: Item) -> str:
    """+45 %: the difference without what stopping early adds; empty where no look decided."""
    return "" if item.corrected is None else signed(item.corrected, item_scale(item))


def item_scale(item: Item) -> Scale:
    """How its differences are told."""
    scales: dict[str, Scale] = {"share": "points", SLOPE: "slope"}
    return scales.get(item.unit, "ratio")


def limit_text(item: Item) -> str:
    """The limit with its sign as it was written: < 800 ms; the margin of a relative one."""
    if item.relative:
        return item.margin
    sign = {"<=": "≤", ">=": "≥"}.get(item.operator, item.operator)
    limit = (
        f"{three(100 * item.limit)}{NBSP}%" if item.unit == "share" and item.limit else in_unit(item.unit, item.limit)
    )
    return f"{sign}{NBSP}{limit}"


MEANINGS = {
    PASSED: "pass",
    FAILED: "a threshold failed or a metric regressed",
    INCONCLUSIVE: "inconclusive",
    VOID: "not evaluated",
}


def check_glyph(checked: Checked) -> str:
    """The glyph of the whole check's verdict."""
    bad = checked.exit_status in (VOID, FAILED)
    return MARKS["fail" if bad else "inconclusive" if checked.of("inconclusive") else "pass"].glyph


def check_headline(checked: Checked) -> str:
    """One sentence that tells the verdict: that of the comparison, where what decides was compared."""
    if checked.exit_status == VOID:
        if why := _why_void(checked):
            return f"{validity.LEAD if checked.causes else 'no verdict'}: {_first(why, 'reason')}"
        return f"no verdict: {_first([item_said(item) for item in checked.of('not_evaluated')], 'threshold')}"
    deciding = checked.of("fail") or checked.of("inconclusive") or checked.thresholds
    if checked.answer and all(item.relative for item in deciding):
        return checked.answer.removesuffix(".")
    if failed := checked.of("fail"):
        return _first([item_said(item) for item in failed], "threshold")
    if unsure := checked.of("inconclusive"):
        return f"inconclusive: {_first([unsettled(item) for item in unsure], 'threshold')}"
    if len(checked.thresholds) == 1:
        return "pass: 1 of 1 threshold"
    return f"pass: all {plural(len(checked.thresholds), 'threshold')}"


def item_said(item: Item) -> str:
    """Return an item in a sentence: ttfa p95 of b is over its limit: 1,580 ms (1,420 to 1,690 ms), limit < 800 ms."""
    word = (
        f"is {'over' if item.operator in ('<', '<=') else 'under'} its limit"
        if item.result == "fail" and not item.relative
        else shown_of(item)
    )
    if item.result == "not_evaluated":
        return f"{item.title} of {item.target} has no data: {item.reason}"
    if item.sentence:
        return item.sentence
    why = f" ({item.reason})" if item.reason else ""
    return f"{item.title} of {item.target} {word}{why}: {figures_text(item)}{more(item)}"


def figures_text(item: Item) -> str:
    """1,580 ms (1,420 to 1,690 ms), limit < 800 ms; +65 % (+47 to +87 %), margin +20 %.

    Of a run that was ended by a look with the corrected difference.
    """
    if item.required:
        return f"{few_text(item)}, {'margin' if item.relative else 'limit'} {limit_text(item)}"
    if item.relative:
        corrected = f", corrected {corrected_text(item)}" if corrected_text(item) else ""
        return f"{interval_text(item)}{corrected}, margin {limit_text(item)}"
    return f"{value_text(item)} ({interval_text(item)}), limit {limit_text(item)}"


def unsettled(item: Item) -> str:
    """ttfa p95 of b, too few turns to decide: p95 needs 400, this run has 120."""
    why = item.reason or figures_text(item)
    return f"{item.title} of {item.target}: {why}{more(item)}"


def more(item: Item) -> str:
    """How many sessions would settle it, where the reason does not say it."""
    if item.more_sessions is None or item.reason or item.result != "inconclusive":
        return ""
    return f"; about {count(item.sessions + item.more_sessions)} sessions per target are needed"


def reason(item: Item) -> str:
    """Why an item is what it is, where its figures do not say it; empty else."""
    corrected = f"corrected {corrected_text(item)}, analysis {item.analysis}" if corrected_text(item) else ""
    reached = "" if item.completed_share in (None, 1.0) else f"{reached_text(item)} of the planned turns have it"
    return "; ".join(filter(None, (corrected, f"{item.reason}{more(item)}".removeprefix("; "), reached)))


def ending(checked: Checked) -> str:
    """Return `exit status 1: a threshold failed or a metric regressed`."""
    unsure, meaning = len(checked.of("inconclusive")), MEANINGS[checked.exit_status]
    if checked.exit_status == PASSED and unsure == len(checked.thresholds):
        meaning = f"inconclusive, accepted by --on-inconclusive {checked.on_inconclusive}"
    elif checked.exit_status == PASSED and unsure:
        meaning = f"pass, {count(unsure)} inconclusive accepted by --on-inconclusive {checked.on_inconclusive}"
    return f"exit status {checked.exit_status}: {meaning}"


def remarks(checked: Checked) -> list[str]:
    """Why a check says nothing, and what else to know."""
    return [*_why_void(checked), *checked.notices]


def beside(checked: Checked) -> list[str]:
    """What to know beside the headline, which tells the first reason of a check that says nothing."""
    return [*_why_void(checked)[1:], *checked.notices]


def is_judged(item: Item, checked: Checked) -> bool:
    """Whether an item counts at all: of a run that is invalid, or was not compared fairly, none does.

    Where stored baselines were made under other conditions, limits still do.
    """
    return not (checked.causes or (checked.differs and item.relative))


def mark(item: Item, checked: Checked) -> str:
    """✓ equivalent (within 40 %); – not evaluated, where the run says nothing."""
    return f"{MARKS[item.result].glyph} {item_word(item)}" if is_judged(item, checked) else NOT_JUDGED


def item_word(item: Item) -> str:
    """equivalent (slower, within 40 %)."""
    accepted = limit_text(item).lstrip("+−")
    known = known_word(item.direction, item.metric)
    return f"{shown_of(item)}{within(item.verdict or '', item.difference, item_scale(item), accepted, known)}"


def shown_of(item: Item) -> str:
    """Return the verdict on a relative threshold as screens show it: slower, not regressed."""
    return shown_word(item.verdict or item.result, item.metric, peers=item.peers)


def _why_void(checked: Checked) -> list[str]:
    return [cause.line for cause in check_causes(checked)]


def check_causes(checked: Checked) -> list[Cause]:
    """Return why a check is invalid; a difference of the stored baselines' conditions comes last."""
    differs = "; ".join(checked.differs)
    text = f"The stored baselines were measured under other conditions: {differs}"
    remedy = "Save new ones, or allow the difference"
    return [*checked.causes, *([Cause("conditions_differ", text, remedy)] if differs else [])]


def check_badges(checked: Checked) -> list[str]:
    """✓ VALID, ◇ SIMULATED."""
    usable = not (checked.causes and checked.baseline)
    return [
        with_marker(validity.run_word(WORDS[checked.validity], usable=usable)),
        *(["◇ SIMULATED"] if checked.simulated else []),
    ]


def _first(texts: list[str], noun: str) -> str:
    """The first of several, and how many more there are of what."""
    rest = f" (and {plural(len(texts) - 1, f'more {noun}')})" if len(texts) > 1 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to judge'}{rest}"
