"""The sections of the page on what was measured, what it cost, what the service limited and what else happened.

Nothing is computed here.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import numpy as np

from bench.money import dollars
from reports.numbers import NONE, clock, count, ms, percent, span, three
from reports.page import gauges
from reports.page.sections import NOT_DRAWN, capital, drawn
from reports.statistics.quantiles import quantile
from reports.summary.arms import FACTS
from reports.summary.money import CACHED, INPUT, OUTPUT, Cost
from reports.summary.quota import Throttling
from reports.summary.summary import Summary
from reports.wording import remarks, words

NAMED = 2
"""So many targets are named one by one in a sentence."""


def arms(summary: Summary) -> dict[str, Any] | None:
    """What each target was, side by side; None where the run says nothing of them."""
    rows = [(fact, [arm.facts[fact] for arm in summary.arms]) for fact in FACTS]
    told = [(fact, texts) for fact, texts in rows if any(texts)]
    several = len(summary.targets) > 1
    return (
        {
            "several": several,
            "rows": [
                {
                    "fact": fact,
                    "texts": [text or ("none" if fact == FACTS[-1] else NONE) for text in texts],
                    "differs": several and len(set(texts)) > 1,
                }
                for fact, texts in told
            ],
            "interleaved": summary.interleaving.sentence if summary.interleaving else "",
        }
        if told
        else None
    )


def apart(summary: Summary) -> dict[str, Any] | None:
    """How far apart the arms' waits lie; None where there is one arm, or nothing that may be told."""
    said = remarks.differences(summary)
    if not said:
        return None
    interleaved = summary.interleaving.sentence if summary.interleaving else ""
    return {"said": said, "note": f"{interleaved} {'' if summary.decided else remarks.NO_TEST}".strip()}


def money(summary: Summary) -> dict[str, Any] | None:
    """Tokens and what they cost; None where no usage was told, and no budget set."""
    found = summary.money
    if not found.told and found.budget_usd is None:
        return None
    said = remarks.cost(found)
    prices = [
        {"colour": place, "model": charge.model, "source": _source(charge.source, found.table, found.as_of)}
        | {"cells": [f"{price:g}" for price in astuple(charge.prices)] if charge.prices else [NONE] * 6}
        for place, cost in enumerate(found.costs)
        for charge in cost.charges
    ]
    return {
        "line": words.sentence(", ".join(remarks.amounts(found))),
        "whole": f"{'◇ SIMULATED cost' if summary.simulated else 'Cost'}: {', '.join(said)}." if said else "",
        "rows": [_cost(place, cost) for place, cost in enumerate(found.costs)],
        "prices": prices,
        "notes": list(remarks.money(summary)),
    }


def _source(source: str, table: str, as_of: str) -> str:
    words = {"own": "the target’s own", "table": f"{table or 'table'}{f', as of {as_of}' if as_of else ''}"}
    return words.get(source, "no price known")


def _cost(place: int, cost: Cost) -> dict[str, Any]:
    rates = (cost.per_turn, cost.per_session, cost.per_minute)
    tokens = [cost.tokens(kind) for kind in (*INPUT, *OUTPUT)]
    return {
        "colour": place,
        "amounts": [NONE if math.isnan(cost.usd) else dollars(cost.usd), *map(three, rates)],
        "turns": count(cost.turns),
        "silent": count(cost.silent),
        "tokens": [count(number) for number in tokens],
        "cached": percent(cost.tokens(*CACHED), cost.tokens(*INPUT)),
    }


def quota(summary: Summary) -> dict[str, Any] | None:
    """The service's limits; None where nothing was throttled and no limit told."""
    found = summary.quota
    if not found.any:
        return None
    figure = drawn(gauges.limits(found)) if found.drawable else NOT_DRAWN
    return figure | {
        "line": _limited(summary) or "Nothing was throttled.",
        "bin": span(found.bin_s),
        "told": any(one.remaining for one in found.targets),
        "counted": any(one.counts.any() for one in found.targets),
        "rows_of": [_limits(place, one) for place, one in enumerate(found.targets)],
    }


def _limited(summary: Summary) -> str:
    """Target by target where there are two, all together where there are more: the table tells them apart."""
    few = len(summary.targets) <= NAMED
    return (
        capital(remarks.limits(summary.quota), summary) if few else words.sentence(remarks.limits_in_all(summary.quota))
    )


def _limits(place: int, one: Throttling) -> dict[str, Any]:
    waits = np.array(one.waits_s)
    least = {part.limit: percent(float(part.share.min()), 1) for part in one.remaining}
    return {
        "colour": place,
        "turns": count(one.turns),
        "sessions": count(one.sessions),
        "asked": count(len(one.waits_s)),
        "median": ms(1000 * quantile(waits, 0.5)) if waits.size else NONE,
        "longest": ms(1000 * waits[-1]) if waits.size else NONE,
        "held": three(one.held_s) if one.held_s == one.held_s else NONE,
        "least": [least.get(limit, NONE) for limit in ("tokens", "requests")],
    }


def incidents(summary: Summary) -> dict[str, Any] | None:
    """What happened beside the measuring; None where nothing did."""
    found, long = summary.incidents, summary.window.length_s > 180
    rows = [
        {"at": clock(one.at_s, long=long), "worker": count(one.worker), "kind": one.what, "text": one.text}
        for one in found.kept
    ]
    more = f" The words of {count(len(rows))} were kept." if found.total > len(rows) else ""
    return {"line": f"{found.kinds}.{more}", "rows": rows} if rows else None
