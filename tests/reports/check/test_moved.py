"""Bounds that allow for the uncertainty of each value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import compare_targets
from reports.analysis.targets.named import parse_targets
from reports.engine.judge import Judged
from reports.text.check_sentences import why
from tests.reports import synthetic
from tests.reports.check.examples import ENOUGH, run, thresholds
from tests.reports.edited import Row, edit

MS = 1_000_000
FEW_MS, MOST_MS = 345, 5
"""The uncertainty of one turn in a hundred, and of all others."""
INEXACT = replace(ENOUGH, failed=0.0, inexact=("response_total",))


def with_errors(folder: Path, few_ms: int | None = FEW_MS, most_ms: int = MOST_MS) -> Path:
    """Set the uncertainty of the end of each response. That of one turn in a hundred is
    `few_ms`; None if unknown.
    """
    exact = dict.fromkeys(("request_sent_uncertainty_ns", "speech_end_uncertainty_ns"), 0)

    def changed(index: int, row: Row) -> Row:
        error_ms = most_ms if index % 100 else few_ms
        return (
            row
            | exact
            | {"response_done_uncertainty_ns": None if error_ms is None else error_ms * MS}
        )

    return edit(folder, "uncertainty", changed)


def limited(folder: Path, *limits: str) -> list[Judged]:
    return list(
        check_of(folder, thresholds(*(f"response_total: {limit}" for limit in limits))).thresholds
    )


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize("aggregate", ["med", "p(90)"])
def test_a_turn_with_a_large_uncertainty_does_not_widen_the_bounds_of_all_turns(
    tmp_path: Path, aggregate: str
) -> None:
    (exact,) = limited(with_errors(run(tmp_path / "zero", INEXACT), 0, 0), f"{aggregate}<9s")
    assert exact.estimate is not None
    above, below = (
        f"{aggregate}<{exact.estimate.upper + 40:.0f}",
        f"{aggregate}<{exact.estimate.lower - 40:.0f}",
    )
    passed, failed = limited(with_errors(run(tmp_path / "off", INEXACT)), above, below)

    assert (passed.result, failed.result) == ("pass", "fail")
    assert passed.estimate is not None
    assert passed.estimate.upper >= exact.estimate.upper + MOST_MS - 1e-6
    assert passed.estimate.lower <= exact.estimate.lower - MOST_MS + 1e-6
    assert "the bounds allow for the uncertainty of each value: up to 345 ms" in plain(why(passed))


def test_a_turn_of_unknown_uncertainty_may_have_any_value(tmp_path: Path) -> None:
    folder = with_errors(run(tmp_path, INEXACT), None)
    middle, tail = limited(folder, "med<9s", "p(99)<60s")

    assert middle.result == "pass"
    assert "up to 5 ms, unknown for 6 values" in plain(why(middle))
    assert tail.result == "inconclusive"


def test_a_share_by_a_deadline_allows_for_the_uncertainty_of_each_value(tmp_path: Path) -> None:
    folder = with_errors(run(tmp_path, INEXACT))

    assert [item.result for item in limited(folder, "within(60s)>0.9", "within(1)>0.1")] == [
        "pass",
        "fail",
    ]


def test_the_uncertainty_is_named_if_it_alone_makes_a_limit_inconclusive(tmp_path: Path) -> None:
    (exact,) = limited(with_errors(run(tmp_path / "zero", INEXACT), 0, 0), "med<9s")
    assert exact.estimate is not None
    limit = exact.estimate.high + 20
    (found,) = limited(with_errors(run(tmp_path / "off", INEXACT), 60, 60), f"med<{limit:.0f}")

    assert found.result == "inconclusive"
    assert found.estimate is not None
    assert found.estimate.order is None
    assert "between the bounds that allow for the uncertainty of each value, " in why(found)
    assert "parts of the run" not in why(found)


def test_a_metric_of_sessions_allows_for_the_uncertainty_of_each_session(tmp_path: Path) -> None:
    """The uncertainty of one session in a hundred is 345 ms."""
    plan = replace(ENOUGH, failed=0.0, inexact=("session_ready",))

    def found(name: str, few_ms: int, most_ms: int, *limits: str) -> list[Judged]:
        def changed(index: int, row: Row) -> Row:
            return row | {
                "session_created_uncertainty_ns": (most_ms if index % 100 else few_ms) * MS
            }

        folder = edit(run(tmp_path / name, plan), "sessions", changed)
        return list(
            check_of(
                folder, thresholds(*(f"session_ready: {limit}" for limit in limits))
            ).thresholds
        )

    (exact,) = found("zero", 0, 0, "med<9s")
    assert exact.estimate is not None
    above, below = f"med<{exact.estimate.upper + 40:.0f}", f"med<{exact.estimate.lower - 40:.0f}"
    passed, failed = found("off", FEW_MS, MOST_MS, above, below)

    assert (passed.result, failed.result) == ("pass", "fail")
    assert passed.estimate is not None
    assert passed.estimate.upper == pytest.approx(exact.estimate.upper + MOST_MS)
    assert "up to 345 ms" in plain(why(passed))


def compared(folder: Path, few_ms: int) -> Judged:
    plan = replace(INEXACT, sessions=120, targets=("a", "b"), paired=True)
    made = with_errors(synthetic.write(folder, plan, interleaved=True), few_ms)
    found = compare_targets(parse_targets([str(made)]), draws=300).comparisons
    return next(
        item for item in found if (item.spec.metric, item.spec.p) == ("response_total", 0.5)
    )


def test_a_turn_with_a_large_uncertainty_does_not_widen_a_comparison_of_all_turns(
    tmp_path: Path,
) -> None:
    known, found = compared(tmp_path / "most", MOST_MS), compared(tmp_path / "few", FEW_MS)
    assert known.difference is not None
    assert found.difference is not None

    assert found.difference.high < known.difference.high + 0.01
    assert found.difference.low > known.difference.low - 0.01
