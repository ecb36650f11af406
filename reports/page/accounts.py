"""The sections of the page on what was measured, what it cost, what the service limited and what else happened.

Nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.money import dollars
from reports.blocks import Block, Cell, Column, Fold, Line, Paragraph, Row, Section, Strong, row_of, table
from reports.numbers import NONE, clock, count, ms, percent, span, three
from reports.page import panels
from reports.page.pieces import capital, line, marked_target, plot_figure
from reports.statistics.quantiles import quantile
from reports.summary.money import CACHED, INPUT, OUTPUT, Charge, Cost, Money, PriceTable
from reports.summary.quota import Quota, Throttling
from reports.summary.summary import Summary
from reports.wording import remarks, words
from reports.wording.settings import FACTS

NAMED = 2
"""So many targets are named one by one in a sentence."""


def arms(summary: Summary) -> Section | None:
    """What each target was, side by side; None where the run says nothing of them."""
    rows = [(fact, [getattr(arm, key) or "" for arm in summary.arms]) for key, fact in FACTS.items()]
    known = [(fact, texts) for fact, texts in rows if any(texts)]
    if not known:
        return None
    columns = [Column(name, left=True, target=i, marked=True) for i, name in enumerate(summary.targets)]
    interleaved = remarks.interleaved(summary.interleaving) if summary.interleaving else ""
    facts = table([Column("setting", style="vh"), *columns], [_fact(*fact) for fact in known], style="facts")
    return Section("targets", "Targets", "What was measured?", [*line(interleaved), facts])


def _fact(fact: str, texts: Sequence[str]) -> Row:
    differs = "differs" if len(set(texts)) > 1 else ""
    cells = [text or ("none" if fact == FACTS["settings_of_its_own"] else NONE) for text in texts]
    return row_of([Cell(fact, differs), *cells], differs)


def whole_cost(summary: Summary) -> list[str]:
    """0.42 USD in all, …; nothing where nothing has a price."""
    said = remarks.cost(summary.money) if _shown(summary.money) else []
    return [*said, "◇ SIMULATED: not billed"] if said and summary.simulated else said


def _shown(money: Money) -> bool:
    """Whether usage was told, or a budget set."""
    return bool(money.told) or money.budget_usd is not None


def money(summary: Summary) -> Section | None:
    """Tokens and what they cost; None where no usage was told, and no budget set."""
    found = summary.money
    if not _shown(found):
        return None
    said = words.as_sentence(", ".join(remarks.amounts(found)))
    simulated = (Strong("◇ SIMULATED."), " ") if summary.simulated else ""
    blocks: list[Block] = [Paragraph((simulated, said))]
    if found.costs:
        costs = table(
            (*COSTS, *(["image in"] if found.has_images else []), *OF_COSTS),
            [_cost(summary, *cost) for cost in enumerate(found.costs)],
        )
        blocks += [costs, Paragraph(TOKENS, "note")]
    if found.waste is not None:
        wasted = [
            row_of([marked_target(summary, at), *remarks.wasted(cost.waste)]) for at, cost in enumerate(found.costs)
        ]
        blocks.append(table(("target", *remarks.WASTES), wasted))
    blocks += [Paragraph(text, "note") for text in remarks.money_notes(summary)]
    prices = [_prices(summary, place, charge) for place, cost in enumerate(found.costs) for charge in cost.charges]
    blocks += [Fold("The prices", [table((*PRICES, *_shown_prices(found).values()), prices)])] if prices else []
    return Section("money", "Cost", "What did it cost?", blocks)


COSTS = ("target", "USD", "a turn", "a session", "a minute", "turns", "no usage", "text in", "audio in")
OF_COSTS = ("cached, of input", "text out", "audio out")
TOKENS = (
    "Tokens are as the service reported them in each turn’s usage. A minute is one of conversation: of a session, "
    "from its opened connection to its end."
)
PRICES = ("USD per million tokens", Column("model", left=True), Column("source", left=True))
OF_TOKENS = {
    **{"text_in": "text in", "text_cached": "cached", "text_out": "text out"},
    **{"audio_in": "audio in", "audio_cached": "cached", "audio_out": "audio out"},
}
OF_IMAGES = {"image_in": "image in", "image_cached": "cached"}
OF_MINUTES = {"usd_per_minute": "USD a minute"}


def _shown_prices(money: Money) -> dict[str, str]:
    """The prices that are shown, with their heads: those of images and of minutes where there were any."""
    return OF_TOKENS | (OF_IMAGES if money.has_images else {}) | (OF_MINUTES if money.by_minute else {})


def _prices(summary: Summary, place: int, charge: Charge) -> Line:
    found = summary.money
    prices = [getattr(charge.prices, name, None) for name in _shown_prices(found)]
    shown = [NONE if price is None else f"{price:g}" for price in prices]
    return [
        marked_target(summary, place),
        charge.model,
        _source(charge.source, found.prices),
        *shown,
    ]


def _source(source: str, of: PriceTable) -> str:
    words = {"own": "the target’s own", "table": f"{of.table or 'table'}{f', as of {of.as_of}' if of.as_of else ''}"}
    return words.get(source, "no price known")


def _cost(summary: Summary, place: int, cost: Cost) -> Line:
    rates = (cost.per_turn, cost.per_session, cost.per_minute)
    amounts = [NONE if math.isnan(cost.usd) else dollars(cost.usd), *map(three, rates)]
    read = summary.money.kinds_read
    taken, made = ([count(cost.tokens(kind)) for kind in kinds] for kinds in (read, OUTPUT))
    cached = percent(cost.tokens(*CACHED), cost.tokens(*INPUT))
    return [marked_target(summary, place), *amounts, count(cost.turns), count(cost.silent), *taken, cached, *made]


def quota(summary: Summary) -> Section | None:
    """The service's limits; None where nothing was throttled and no limit told."""
    found = summary.quota
    if not found.any:
        return None
    drawn = [plot_figure(panels.limit_panels(found), _reading(found))] if found.drawable else []
    limits = table(LIMITS, [_limits(summary, *one) for one in enumerate(found.targets)])
    said = Paragraph(_limited(summary) or "Nothing was throttled.")
    return Section("limits", "Limits", "Did the service limit the rate?", [said, *drawn, limits])


LIMITS = (
    *("target", "throttled turns", "throttled sessions", "waits asked for", "p50", "longest", "starts held, s"),
    *("least of tokens left", "of requests"),
)


def _reading(quota: Quota) -> str:
    bin_ = span(quota.bin_s)
    told = (
        f"Lines: the least share of a limit that remained in each {bin_}, as the service reported it; solid "
        "tokens, dashed requests. "
    )
    counted = f"Red: throttled turns and sessions in each {bin_}. "
    parts = (
        told if any(target.remaining for target in quota.targets) else "",
        counted if any(target.counts.any() for target in quota.targets) else "",
    )
    return f"{''.join(parts)}Warm-up is shown too."


def _limited(summary: Summary) -> str:
    """Target by target where there are two, all together where there are more: the table tells them apart."""
    few = len(summary.targets) <= NAMED
    return (
        capital(remarks.limits(summary.quota), summary)
        if few
        else words.as_sentence(remarks.limits_in_all(summary.quota))
    )


def _limits(summary: Summary, place: int, one: Throttling) -> Line:
    waits = np.array(one.waits_s)
    least = {part.limit: percent(float(part.share.min()), 1) for part in one.remaining}
    return [
        marked_target(summary, place),
        *(count(number) for number in (one.turns, one.sessions, len(one.waits_s))),
        ms(1000 * quantile(waits, 0.5)) if waits.size else NONE,
        ms(1000 * waits[-1]) if waits.size else NONE,
        three(one.held_s) if one.held_s == one.held_s else NONE,
        *(least.get(limit, NONE) for limit in ("tokens", "requests")),
    ]


def incidents(summary: Summary) -> Section | None:
    """What happened beside the measuring; None where nothing did."""
    found, long = summary.incidents, summary.window.length_s > 180
    rows: list[Row | Line] = [
        [clock(one.at_s, long=long), count(one.worker), Cell(one.what, style="nowrap"), Cell(one.text, style="wrap")]
        for one in found.kept
    ]
    more = f" The words of {count(len(rows))} were kept." if found.total > len(rows) else ""
    heads = ("when", "worker", Column("what", left=True), Column("in words", left=True))
    blocks: list[Block] = [Paragraph(f"{found.kinds}.{more}"), table(heads, rows)]
    return Section("incidents", "Incidents", "What else happened?", blocks) if rows else None
