"""Which figures a history is of: what a user names, else the headline ones; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bench.errors import UsageError
from bench.measures import SLOPE
from reports.histories.entry import SHOWN, Entry
from reports.question import Question
from reports.statistics.differences import Margin
from reports.strata import Stratum
from reports.thresholds.gated import gated, quoted
from reports.thresholds.grammar import SIGNED

MAINS = ("ttfa", "ttft")
HEARD = "voice_to_voice"
HEADLINE = (0.5, 0.95)


def asked(text: str) -> Question:
    """ttfa:p95, voice_to_voice:med, failures. Raises UsageError that says what is allowed."""
    name, _, aggregate = text.partition(":")
    of = gated(name.strip())
    if of.unit == "share":
        if aggregate not in ("", "rate"):
            raise UsageError(f"{of.name} is a rate: write --measure {of.name}")
        return Question(of.name, "rate", Margin())
    if of.unit == SLOPE or of.name in SIGNED:
        raise UsageError(f"{of.name} may be 0 or less, and a history compares by ratios: choose another measure")
    match = re.fullmatch(r"p\(?(\d+(?:\.\d+)?)\)?|(med)", aggregate.strip() or "p50")
    p = (0.5 if match[2] else float(match[1]) / 100) if match else 0.0
    if p not in SHOWN:
        known = ", ".join(f"{of.name}:p{100 * known:g}" for known in SHOWN)
        raise UsageError(f"{quoted(text)} is in no summary of a run: allowed are {known}")
    return Question(of.name, "quantile", Margin(), p)


def headline(entries: Sequence[Entry]) -> list[Question]:
    """p50 and p95 of what callers wait for, and the failures."""
    told = {of.measure for entry in entries for of in entry.quantiles}
    main = next((name for name in MAINS if name in told), MAINS[0])
    waits = [main, *([HEARD] if HEARD in told else [])]
    return [
        *(Question(name, "quantile", Margin(), p) for name in waits for p in HEADLINE),
        Question("failures", "rate", Margin()),
    ]


def of_turns(question: Question, entries: Iterable[Entry]) -> Question:
    """The question about the commonest turns that these runs have of its measure; as it is where they are all alike."""
    turns = Counter[Stratum]()
    for entry in entries:
        for of, quantiles in entry.quantiles.items():
            if of.measure == question.measure:
                turns[of.stratum] += max(told.n for told in quantiles.values())
    if question.kind == "rate" or len(turns) < 2:
        return question
    (commonest, _), *_ = turns.most_common(1)
    return Question(question.measure, question.kind, question.margin, question.p, stratum=commonest)
