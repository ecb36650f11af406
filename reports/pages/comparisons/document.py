"""The document compare.json, the frame of a comparison, and the writing of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from msgspec import Meta, structs

from reports.analysis.comparisons.comparison import Comparison, Method
from reports.analysis.metric_comparison import ComparisonEntry
from reports.analysis.targets.fairness import FairnessCheck, definitions_version
from reports.data.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.data.runs import run_id_of
from reports.pages.comparisons.page import comparison_page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Version, described, entry_from, text_of
from reports.results.reason import Reason
from reports.results.verdict import RESULT_OF_STATUS, Conclusion, ValidityEntry, VerdictName
from reports.text import comparison_sentences as sentences
from reports.text.decision_sentences import decision_sentence
from reports.text.metric_sentences import comparison_entry
from reports.text.reasons import document_data, use
from reports.text.validity import validity_entry

COMPARE_VERSION: Literal[5] = 5


class ComparedTargetEntry(ClosedJsonEntry, frozen=True):
    """A compared target."""

    title: str
    target: Known
    run_id: str
    folder: Annotated[str, described("name of the run's folder")]
    sessions: Annotated[Count, described("sessions that count; in an interleaved run, those of complete pairs")]
    turns: Count
    pairs_incomplete: Annotated[Count, described("incomplete pairs, which do not count")]
    simulated: bool
    recorded: bool


class SequentialEntry(Conclusion, frozen=True, forbid_unknown_fields=True):
    """The decision of planned interim analyses; decision.json has all of it."""

    analysis: Annotated[int | None, described("interim analyses made so far; null if unknown")]
    analyses: Annotated[int, described("interim analyses planned")]
    pairs: Annotated[int, described("pairs in the verdict")]


class CompareDocument(Conclusion, frozen=True, forbid_unknown_fields=True):
    """A comparison of targets. The first one is the baseline. Values that do not exist are null."""

    schema: Literal[5]
    validity: Annotated[
        ValidityEntry, described("whether and why not the targets may be compared; if invalid, use no value")
    ]
    simulated: bool
    recorded: bool
    definitions_version: Version
    compared: Annotated[list[ComparedTargetEntry], Meta(min_length=2)]
    verdicts: Annotated[
        dict[str, VerdictName | None],
        described("verdict on all primary metrics per candidate, the worst first; null if it has none"),
    ]
    comparisons: list[ComparisonEntry]
    steps: Annotated[
        list[ComparisonEntry],
        described(
            "p50 of each step, without effect on the verdict, with Holm's correction; per candidate, the worst first"
        ),
    ]
    sequential: Annotated[
        SequentialEntry | None,
        described(
            "the result of interim analyses, which is then the overall verdict; `comparisons` has one test over "
            "all pairs"
        ),
    ]
    fairness_checks: list[FairnessCheck]
    method: Method
    notices: list[Reason]


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Return the document compare.json as lists, dictionaries, strings and numbers."""
    planned = None
    if (decision := comparison.decision) is not None:
        planned = entry_from(
            SequentialEntry,
            decision,
            headline=decision_sentence(decision),
            analysis=decision.analyses_made,
            analyses=len(decision.plan["analyses"]),
        )
    return document_data(
        entry_from(
            CompareDocument,
            comparison,
            schema=COMPARE_VERSION,
            result=RESULT_OF_STATUS[comparison.exit_status],
            validity=validity_entry("valid", comparison.invalid_reasons),
            headline=sentences.comparison_headline(comparison),
            definitions_version=definitions_version(comparison.targets[0]),
            compared=[
                entry_from(
                    ComparedTargetEntry,
                    target,
                    title=target.label,
                    target=target.name,
                    run_id=run_id_of(target.run),
                    folder=target.run.folder_name,
                    turns=int(target.turn_mask.sum()),
                    pairs_incomplete=target.clusters.cut,
                    recorded=target.run.recorded,
                )
                for target in comparison.targets
            ],
            verdicts=dict(sentences.candidates(comparison)),
            comparisons=[*map(comparison_entry, comparison.comparisons)],
            steps=[*map(comparison_entry, comparison.steps)],
            sequential=planned,
            fairness_checks=[sentences.written_check(check) for check in comparison.checks],
            notices=sentences.all_notices(comparison),
        )
    )


DTYPES = dtypes_of(
    (TEXT, ("run_id", "candidate", "title", "metric", "measured_from", "turn_type", "script", "step")),
    (NUMBER, ("p",)),
    (TEXT, ("unit",)),
    (FLAG, ("primary",)),
    (TEXT, ("verdict",)),
    (FLAG, ("passes", "provisional", "published", "usable")),
    (TEXT, REASON),
    (NUMBER, ("baseline", "value", "difference", "low", "high")),
    (TEXT, ("scale",)),
    (COUNT, ("baseline_turns", "turns", "baseline_sessions", "sessions", "baseline_failed", "failed", "more_sessions")),
)
"""The columns of a comparison's frame, with their dtypes."""


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each comparison of a metric, with primary metrics first, then a row for the p50 of each step.

    A row is the flattened entry of compare.json. The column `scale` determines the unit of `difference`, `low` and
    `high`. If it is `ratio`, they are shares of the baseline's value (0.2 is +20 %). If it is `points`, they are
    differences of shares (0.2 is 20 points). If it is `slope`, they are in the unit of the metric. An unbounded end is
    NaN. If the comparison is not fair, `usable` is false and `verdict` is `not_evaluated`. `run_id` is the ID of the
    candidate's run.
    """
    invalid = comparison.invalid_reasons
    run_ids = {target.label: run_id_of(target.run) for target in comparison.targets}
    of_steps = {name: labels for target in comparison.targets for name, labels in target.turns.row_labels.items()}
    rows = []
    for compared in (*comparison.comparisons, *comparison.steps):
        spec, entry = compared.spec, comparison_entry(compared)
        difference = entry.difference
        row = structs.asdict(entry) | dict(
            zip(("script", "step"), of_steps.get(spec.step, (None, spec.step)), strict=True)
        )
        row |= {"run_id": run_ids[compared.candidate], "title": spec.name, "scale": spec.scale, "difference": None}
        if difference is not None:
            row |= structs.asdict(difference) | {"value": difference.candidate, "difference": difference.estimate}
            row["candidate"] = compared.candidate
        for name in ("turns", "sessions", "failed"):
            row |= {f"baseline_{name}": row[name].baseline, name: row[name].candidate}
        row |= use(entry.reason, published=difference is not None, invalid=invalid)
        rows.append(row | ({"verdict": "not_evaluated", "passes": False} if comparison.failed_checks else {}))
    return frame_of(rows, DTYPES)


def write_comparison(comparison: Comparison, folder: Path) -> PagePaths:
    """Write compare.html, compare.md and compare.json. Raise UsageError if the folder is not writable."""
    paths = PagePaths(*(folder / f"compare.{ending}" for ending in ("html", "md", "json")))
    return write_page(comparison_page(comparison), text_of(comparison_data(comparison)), paths, "the comparison")
