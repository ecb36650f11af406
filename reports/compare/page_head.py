"""The top of compare.html: badges, the answer, what makes it invalid. Verdicts are taken, never made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reports.compare import sentences
from reports.compare.comparison import Comparison, Design
from reports.compare.decided import LOOKED, brief
from reports.compare.forest_rows import GLYPHS
from reports.labels import all_called
from reports.numbers import count, listed, moment, plural
from reports.statistics.verdicts import Word
from reports.wording import unusable

STYLES: dict[Word, str] = {
    "regressed": "no",
    "improved": "in",
    "not regressed": "ok",
    "equivalent": "eq",
    "inconclusive": "hm",
}
DECIDED: tuple[Word, ...] = ("regressed", "not regressed")
DESIGNS: dict[Design, str] = {
    "pairs": "interleaved in one run, in pairs",
    "sessions": "sessions of each arm apart",
    "stored runs": "against stored runs",
}


def opening(comparison: Comparison, decision: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the head of the template names."""
    badges = list(_badges(comparison, decision))
    first, others = comparison.sides[0].label, [side.label for side in comparison.sides[1:]]
    words = [badges[0]["word"], *(["SIMULATED"] if comparison.simulated else [])]
    return {
        "title": f"{' · '.join(words)} · {listed(others)} against {first}",
        "badges": badges,
        "simulated": comparison.simulated,
        "invalid": bool(comparison.unfair),
        **_headline(comparison, decision),
        "meta": _meta(comparison),
        "remedies": unusable.remedies(comparison.causes),
        "notices": [*filter(None, [sentences.provisional(comparison)]), *comparison.notices],
    }


def _headline(comparison: Comparison, decision: Mapping[str, Any] | None) -> dict[str, str]:
    """What was decided while the run ran is its verdict; the bars of the whole run are beside it."""
    if comparison.unfair:
        return {"headline": sentences.headline(comparison), "second": ""}
    if decision is None:
        return {"headline": sentences.headline(comparison), "second": sentences.second(comparison)}
    sentence = str(decision["sentence"])
    said = f"{sentence[:1].upper() if sentence.startswith(('in', 'do not use')) else sentence[:1]}{sentence[1:]}."
    short = brief(comparison.decision) if comparison.decision is not None else said
    return {"headline": short, "second": LOOKED if short == said else f"{said} {LOOKED}"}


def _badges(comparison: Comparison, decision: Mapping[str, Any] | None) -> Iterable[dict[str, str]]:
    """The verdict first, which an invalid comparison does not have; then whether it was fair, and simulated."""
    judged = [check for check in comparison.checks if check.fair is not None]
    if comparison.unfair:
        beside = f"{len(comparison.unfair)} of {plural(len(judged), 'check')} failed"
        yield _unusable_badge(comparison, beside)
    else:
        yield _verdict_badge(comparison) if decision is None else _decision_badge(comparison, decision)
        beside = f"{plural(len(judged), 'check')} passed" if judged else "nothing was checked"
        yield {"style": "ok", "glyph": "✓", "word": "VALID COMPARISON", "beside": beside}
    if comparison.simulated:
        yield {"style": "sim", "glyph": "◇", "word": "SIMULATED", "beside": "rtbench simulate, no real service"}


def _unusable_badge(comparison: Comparison, beside: str) -> dict[str, str]:
    glyph, word = sentences.unusable_mark(comparison).split(" ", 1)
    return {"style": "no", "glyph": glyph, "word": word, "beside": beside}


def _verdict_badge(comparison: Comparison) -> dict[str, str]:
    gated, word = comparison.gated, sentences.overall(comparison.gated)
    if word is None:
        return {"style": "hm", "glyph": "?", "word": "NO VERDICT", "beside": "no gated figure"}
    same = sum(finding.verdict.word == word for finding in gated)
    provisional = "provisional · " if any(finding.verdict.provisional for finding in gated) else ""
    beside = f"{provisional}{same} of {len(gated)} gated"
    return {"style": STYLES[word], "glyph": GLYPHS[word], "word": word.upper(), "beside": beside}


def _decision_badge(comparison: Comparison, decision: Mapping[str, Any]) -> dict[str, str]:
    """The verdict of the looks."""
    looks, planned = decision.get("looks") or [], decision["plan"]["looks"]
    beside = f"look {len(looks)} of {len(planned)}"
    if decision.get("invalid"):
        return _unusable_badge(comparison, beside)
    if decision.get("reason") == "waiting":
        return {"style": "hm", "glyph": "?", "word": "NOT DECIDED YET", "beside": beside}
    word: Word = next((word for word in DECIDED if word == decision.get("reason")), "inconclusive")
    return {"style": STYLES[word], "glyph": GLYPHS[word], "word": word.upper(), "beside": beside}


def _meta(comparison: Comparison) -> str:
    """voice_turns · 20 Nov 2026, 09:14 UTC · interleaved in one run, in pairs · 200 sessions and 2,000 turns an arm."""
    documents = [side.run.document for side in comparison.sides]
    began = dict.fromkeys(moment(int(d["began_utc_ns"])) for d in documents if d.get("began_utc_ns"))
    parts = [listed(all_called(documents)), " and ".join(began), DESIGNS[comparison.method.design]]
    if comparison.findings:
        first = comparison.findings[0]
        parts.append(f"{_two(first.sessions, 'session')} and {_two(first.turns, 'turn')} in each arm")
    return " · ".join(filter(None, parts))


def _two(numbers: tuple[int, int], noun: str) -> str:
    base, candidate = numbers
    return plural(base, noun) if base == candidate else f"{count(base)} against {plural(candidate, noun)}"
