"""What `rtbench compare` prints: at most so many columns, colour only where it is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.errors import INVALID_STATUS
from reports import blocks
from reports.blocks import Block, Bullets, Cell, Code, Fold, Heading, Paragraph, Strong, Table
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import MARKS, ForestRow, row_of, with_unit
from reports.labels import all_called, labels_of
from reports.numbers import NBSP, count, listed, percent, plural, three
from reports.page.svg import glyph
from reports.sides.fairness import Check
from reports.text.lines import Badges, Grid, Named, Part, pour
from reports.text.markup import SIMULATED, table
from reports.text.markup import pour as markup_pour
from reports.wording.differences import figure

NAME_LEAST, ENDING = 14, 6
"""Letters of a figure's name where there is no room for it, and those of them that are its end."""


def terminal(comparison: Comparison, width: int = 100, colour: bool = False) -> str:
    """The comparison as text: the verdict first."""
    table = [_table(comparison)] if comparison.findings else []
    return pour((_opening(comparison), table, _closing(comparison)), width, colour)


def essentials(comparison: Comparison) -> str:
    """✕ REGRESSED · ✓ VALID · ◇ SIMULATED · gateway against direct: the comparison in one line."""
    base, *others = [side.label for side in comparison.sides]
    badges = [text for text, _ in badges_of(comparison)]
    return " · ".join([*badges, f"{listed(others)} against {base}"]).replace(NBSP, " ")


def badges_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Each badge with its style: the verdict, whether it may be used, simulated, provisional."""
    if comparison.unfair or (comparison.status == INVALID_STATUS and comparison.decision is not None):
        judged = [(sentences.unusable_mark(comparison), "bad")]
    else:
        word = sentences.verdict(comparison)
        verdict = (f"{MARKS[word].glyph} {word.upper()}", MARKS[word].ink) if word else ("? NO VERDICT", "warn")
        judged = [verdict, ("✓ VALID", "good")]
    simulated = [("◇ SIMULATED", "sim")] if comparison.simulated else []
    doubted = any(finding.verdict.provisional for finding in comparison.gated) and not comparison.unfair
    assumed = [("PROVISIONAL", "warn")] if doubted else []
    return [*judged, *simulated, *assumed]


def _opening(comparison: Comparison) -> Iterable[Part]:
    badges = badges_of(comparison)
    yield blocks.Paragraph(sentences.headline(comparison), f"{badges[0][1]} bold")
    yield Badges(badges, design(comparison))
    yield blocks.Paragraph(sentences.second(comparison))


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
    findings = [row_of(finding, comparison) for finding in comparison.findings]
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
    for row in (row_of(finding, comparison) for finding in comparison.gated):
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
    for notice in (sentences.provisional(comparison), *comparison.notices):
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


ROWS_MOST = 10


def markdown(comparison: Comparison) -> str:
    """The file's text."""
    return markup_pour((*_head(comparison), *_tables(comparison)))


def _head(comparison: Comparison) -> Iterable[Block]:
    yield Heading(sentences.title(comparison))
    valid = sentences.unusable_mark(comparison) if comparison.unfair else "✓ VALID"
    named = listed(all_called(side.run.document for side in comparison.sides))
    about = " · ".join(filter(None, (valid, named, design(comparison))))
    status = Code("rtbench check"), f" exits with {comparison.status}"
    yield Paragraph((SIMULATED if comparison.simulated else "", f"{about} · ", *status))
    if not comparison.unfair:
        yield Paragraph(" ".join(filter(None, (sentences.headline(comparison), sentences.second(comparison)))))
    elif remedies := sentences.second(comparison):
        yield Paragraph((Strong("What to do:"), f" {remedies}"))
    yield Paragraph(sentences.provisional(comparison))


def _tables(comparison: Comparison) -> Iterable[Block]:
    """The gated figures, ten at most and those that did not pass first; all else is folded away."""
    rows = sorted(_rows(comparison, gated=True), key=lambda row: sentences.WORST.index(row.word) > 1)
    yield _comment_table(comparison, rows[:ROWS_MOST], "gated figure")
    if len(rows) > ROWS_MOST:
        yield Paragraph(f"{len(rows) - ROWS_MOST} more gated figures: below.")
    yield Fold("More gated figures", [_comment_table(comparison, rows[ROWS_MOST:], "gated figure")])
    yield Fold("Figures that are not gated", [_comment_table(comparison, _rows(comparison, gated=False), "figure")])
    steps = _comment_table(comparison, [row_of(step, comparison) for step in comparison.steps], "step")
    yield Fold("Which step changed most? Not gated", [Bullets(sentences.worst_steps(comparison)), steps])
    yield Fold("Was the comparison fair?", [_fairness(comparison)])
    yield Fold("Notes", [Bullets(comparison.notices)])
    yield Fold("Method", [Paragraph(_method(comparison))])


def _rows(comparison: Comparison, *, gated: bool) -> list[ForestRow]:
    return [row_of(finding, comparison) for finding in comparison.findings if finding.question.gated == gated]


def _comment_table(comparison: Comparison, rows: Sequence[ForestRow], first: str) -> Table:
    several, style = len(comparison.sides) > 2, "struck" if comparison.unfair else ""
    base, candidate = (side.label for side in comparison.sides[:2])
    whose = ["candidate"] if several else []
    interval = f"difference ({percent(1 - 2 * comparison.method.level, 1)} interval)"
    return table(
        [first, *whose, base, "it" if several else candidate, interval, "margin", "verdict"],
        (
            [
                figure(row.finding.question),
                *([row.candidate] if several else []),
                *(Cell(with_unit(value, row.unit), style=style) for value in row.values),
                Cell(row.told, style=style),
                row.margin_text,
                row.judged + (f": {row.why}" if row.why else ""),
            ]
            for row in rows
        ),
        left=(*range(1 + len(whose)), -1),
    )


def _fairness(comparison: Comparison) -> Table:
    words = {True: "✓ passed", False: "✕ failed", None: "for information"}
    labels = [side.label for side in comparison.sides]
    rows = [[check.name, *check.texts, words[check.fair]] for check in comparison.checks]
    return table(["check", *labels, "result"], rows, left=range(len(labels) + 2))


def _method(comparison: Comparison) -> str:
    """Enough to compute it again."""
    method = comparison.method
    unit = "pairs of sessions" if method.design == "pairs" else "sessions"
    assumed = f" {three(100 * method.run_sd)}{NBSP}% of run-to-run spread was assumed." if method.run_sd else ""
    return (
        f"{count(method.draws)} resamples of {unit}, seed {method.seed}, one-sided level {percent(method.level, 1)}, "
        f"Holm over {plural(method.holm, 'gated figure')}.{assumed}"
    )
