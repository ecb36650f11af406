"""What `rtbench compare` prints: at most so many columns, colour only where it is wanted."""

from __future__ import annotations

from collections.abc import Iterable

from bench.errors import INVALID_STATUS
from reports import blocks
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import ForestRow, finding_row, with_unit
from reports.labels import all_called, labels_of
from reports.marks import MARKS, marked
from reports.numbers import NBSP, count, listed, percent, plural
from reports.page.svg import glyph
from reports.sides.fairness import Check
from reports.text.lines import Badges, Grid, Named, Part, lines_of
from reports.wording.differences import figure

NAME_LEAST, ENDING = 14, 6
"""Letters of a figure's name where there is no room for it, and those of them that are its end."""


def comparison_text(comparison: Comparison, width: int = 100, colour: bool = False) -> str:
    """The comparison as text: the verdict first."""
    table = [_table(comparison)] if comparison.findings else []
    return lines_of((_opening(comparison), table, _closing(comparison)), width, colour)


def comparison_essentials(comparison: Comparison) -> str:
    """✕ REGRESSED · ✓ VALID · ◇ SIMULATED · gateway against direct: the comparison in one line."""
    base, *others = [side.label for side in comparison.sides]
    badges = [text for text, _ in badges_of(comparison)]
    return " · ".join([*badges, f"{listed(others)} against {base}"]).replace(NBSP, " ")


def badges_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Each badge with its style: the verdict, whether it may be used, simulated, provisional."""
    if comparison.unfair or (comparison.status == INVALID_STATUS and comparison.decision is not None):
        word = sentences.unusable_word(comparison)
        judged = [(marked(word), MARKS[word].ink)]
    else:
        word = sentences.verdict(comparison) or "NO VERDICT"
        judged = [(marked(word).upper(), MARKS[word].ink), (marked("VALID"), MARKS["VALID"].ink)]
    simulated = [("◇ SIMULATED", "sim")] if comparison.simulated else []
    doubted = any(finding.verdict.provisional for finding in comparison.gated) and not comparison.unfair
    assumed = [("PROVISIONAL", "warn")] if doubted else []
    return [*judged, *simulated, *assumed]


def _opening(comparison: Comparison) -> Iterable[Part]:
    badges = badges_of(comparison)
    yield blocks.Paragraph(sentences.comparison_headline(comparison), f"{badges[0][1]} bold")
    yield Badges(badges, design(comparison))
    yield blocks.Paragraph(sentences.comparison_second(comparison))


def design(comparison: Comparison) -> str:
    """200 pairs, interleaved in one run; 100 sessions in each arm; 100 and 120 sessions."""
    sizes = [side.sessions for side in comparison.sides]
    if comparison.method.design == "pairs":
        return f"{plural(sizes[0], 'pair')}, interleaved in one run"
    if len(set(sizes)) == 1:
        return f"{plural(sizes[0], 'session')} in each arm"
    return f"{listed([count(size) for size in sizes])} sessions"


FIGURE, BASELINE, CANDIDATE, DIFFERENCE, CHANGE, MARGIN, JUDGED, VERDICT = range(8)
LAYOUTS = (
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, MARGIN, JUDGED),
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, MARGIN, VERDICT),
    (FIGURE, BASELINE, CANDIDATE, DIFFERENCE, VERDICT),
    (FIGURE, DIFFERENCE, MARGIN, VERDICT),
    (FIGURE, DIFFERENCE, VERDICT),
    (FIGURE, CHANGE, VERDICT),
)
"""From the widest to the narrowest."""


def _table(comparison: Comparison) -> Grid:
    """For each candidate the gated figures, then the others."""
    places = {side.label: place for place, side in enumerate(comparison.sides)}
    findings = [finding_row(finding, comparison) for finding in comparison.findings]
    difference = f"difference ({percent(1 - 2 * comparison.method.level, 1)})"
    heads = ("figure", "baseline", "candidate", difference, "difference", "margin", "verdict", "verdict")
    rows: list[blocks.Row] = []
    for label, _ in sentences.candidates(comparison):
        title = f"{glyph(places[label])} {label} against {glyph(0)} {comparison.sides[0].label}"
        rows += [*([blocks.row_of([""])] if rows else []), blocks.row_of([title]), blocks.row_of(list(heads), "soft")]
        own = [row for row in findings if row.candidate == label]
        rows += [_line(row) for row in own if row.finding.question.gated]
        others = [_line(row) for row in own if not row.finding.question.gated]
        rows += [*([blocks.row_of([blocks.Cell("not gated", style="soft")])] if others else []), *others]
    return Grid(rows, (FIGURE, JUDGED, VERDICT), LAYOUTS, indent="  ", least=NAME_LEAST, ending=ENDING)


def _line(row: ForestRow) -> blocks.Row:
    values = [with_unit(value, row.unit) for value in row.values]
    style = MARKS[row.word].ink if row.finding.question.gated else "soft"
    verdicts = [blocks.Cell(verdict, style=style) for verdict in (row.judged, row.verdict)]
    return blocks.row_of([figure(row.finding.question), *values, row.told, row.change, row.margin_text, *verdicts])


def _closing(comparison: Comparison) -> Iterable[Part]:
    """Why gated figures are not settled; whether it was fair; what differs; what to know."""
    several = len(comparison.sides) > 2
    for row in (finding_row(finding, comparison) for finding in comparison.gated):
        if row.why and comparison.decision is None:
            whose = f" on {row.candidate}" if several else ""
            yield Named("unsettled", [f"{figure(row.finding.question)}{whose}: {row.why}"])
    for worst in sentences.worst_steps(comparison):
        yield Named("worst step", [worst])
    yield Named("reached", _reached(comparison))
    documents = [side.run.document for side in comparison.sides]
    if any(labels_of(document) for document in documents):
        yield Named("of", [listed(all_called(documents))])
    yield Named("fair", [f"✓ {check.name}" for check in comparison.checks if check.fair])
    yield Named("not fair", [f"✕ {check.name}" for check in comparison.unfair], "bad")
    for check in comparison.checks:
        if check.fair is None and len(set(check.texts)) > 1:
            yield Named("differs", [_difference(check, comparison)])
    for notice in (sentences.assumption(comparison), *comparison.notices):
        yield Named("note", [notice])


def _reached(comparison: Comparison) -> list[str]:
    """ttfa by 71.2 % of what was wanted on a, by 99 % on b: of each gated wait that some turns never reached."""
    base, told = comparison.sides[0].label, list[str]()
    for finding in comparison.gated:
        if min(finding.reached) < 1:
            first, second = (percent(share, 1) for share in finding.reached)
            measure, of = finding.question.measure, f"{first} of what was wanted on {base}"
            told.append(f"{measure} by {of}, by {second} on {finding.candidate}")
    return list(dict.fromkeys(told))


def _difference(check: Check, comparison: Comparison) -> str:
    """What differs on which side: model: a gpt-realtime, b gpt-realtime-mini."""
    texts = [f"{side.label} {text}" for side, text in zip(comparison.sides, check.texts, strict=True)]
    return f"{check.name}: {', '.join(texts)}"
