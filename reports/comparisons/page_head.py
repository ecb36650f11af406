"""The top of compare.html: badges, the answer, what makes it invalid. Verdicts are taken, never made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.blocks import Alarm, Block, Bullets, Paragraph, Strong
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison, Design
from reports.comparisons.decided import LOOKED, brief, said, word_of
from reports.comparisons.forest_rows import MARKS
from reports.labels import all_called
from reports.looks.decision import Decision
from reports.numbers import count, listed, moment, plural
from reports.page.html import SIMULATED, Badge
from reports.wording import unusable

DESIGNS: dict[Design, str] = {
    "pairs": "interleaved in one run, in pairs",
    "sessions": "sessions of each arm apart",
}


def title(comparison: Comparison, badges: Sequence[Badge]) -> str:
    """REGRESSED · SIMULATED · gateway against direct."""
    first, *others = [side.label for side in comparison.sides]
    words = [badges[0].word, *(["SIMULATED"] if comparison.simulated else [])]
    return f"{' · '.join(words)} · {listed(others)} against {first}"


def headline(comparison: Comparison) -> str:
    """What was decided while the run ran is its verdict."""
    if comparison.unfair or comparison.decision is None:
        return sentences.headline(comparison)
    return brief(comparison.decision)


def lead(comparison: Comparison) -> list[Block]:
    """What forbids the figures, the rest of the answer, what was compared, and what to know before the figures."""
    remedies = unusable.remedies(comparison.causes)
    second = _second(comparison)
    notices = [*filter(None, [sentences.provisional(comparison)]), *comparison.notices]
    return [
        *([Alarm([(Strong("What to do:"), f" {remedies}")])] if remedies else []),
        *([Paragraph(second, "lead")] if second else []),
        Paragraph(_meta(comparison), "meta"),
        *([Bullets(notices)] if notices else []),
    ]


def _second(comparison: Comparison) -> str:
    """Beside the verdict of looks: that the bars are of the whole run."""
    if comparison.unfair:
        return ""
    if comparison.decision is None:
        return sentences.second(comparison)
    sentence = said(comparison.decision)
    return LOOKED if headline(comparison) == sentence else f"{sentence} {LOOKED}"


def badges(comparison: Comparison) -> Iterable[Badge]:
    """The verdict first, which an invalid comparison does not have; then whether it was fair, and simulated."""
    judged = [check for check in comparison.checks if check.fair is not None]
    if comparison.unfair:
        beside = f"{len(comparison.unfair)} of {plural(len(judged), 'check')} failed"
        yield _unusable_badge(comparison, beside)
    else:
        decision = comparison.decision
        yield _verdict_badge(comparison) if decision is None else _decision_badge(comparison, decision)
        beside = f"{plural(len(judged), 'check')} passed" if judged else "nothing was checked"
        yield Badge("ok", "✓", "VALID COMPARISON", beside)
    if comparison.simulated:
        yield SIMULATED


def _unusable_badge(comparison: Comparison, beside: str) -> Badge:
    glyph, word = sentences.unusable_mark(comparison).split(" ", 1)
    return Badge("no", glyph, word, beside)


def _verdict_badge(comparison: Comparison) -> Badge:
    gated, word = comparison.gated, sentences.overall(comparison.gated)
    if word is None:
        return Badge("hm", "?", "NO VERDICT", "no gated figure")
    same = sum(finding.verdict.word == word for finding in gated)
    provisional = "provisional · " if any(finding.verdict.provisional for finding in gated) else ""
    beside = f"{provisional}{same} of {len(gated)} gated"
    return Badge(MARKS[word].badge, MARKS[word].glyph, word.upper(), beside)


def _decision_badge(comparison: Comparison, decision: Decision) -> Badge:
    """The verdict of the looks."""
    beside = f"look {len(decision.course.looks)} of {len(decision.plan.looks)}"
    if decision.invalid:
        return _unusable_badge(comparison, beside)
    if decision.course.reason == "waiting":
        return Badge("hm", "?", "NOT DECIDED YET", beside)
    word = word_of(decision)
    return Badge(MARKS[word].badge, MARKS[word].glyph, word.upper(), beside)


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
