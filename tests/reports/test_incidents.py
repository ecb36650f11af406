"""Which incidents are shown with the figures of a run."""

from __future__ import annotations

import pytest

from bench.run.recorder import SIMULATOR_WAS_LATE
from reports.text.terminal import report_text
from tests.reports import synthetic
from tests.reports.forms import run_forms
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan


@pytest.mark.parametrize(("late_ms", "shown"), [(5.1, False), (6.3, True)])
@pytest.mark.parametrize("text", [SIMULATOR_WAS_LATE, "{}: the simulator was late: p99 ≤ {:.1f} ms since it listens"])
def test_a_simulator_that_was_late_is_noted_if_that_matters_for_the_figures(
    late_ms: float, shown: bool, text: str
) -> None:
    """By 1 % of the shortest median, which is 540 ms here, or more."""
    late = {"at_utc_ns": synthetic.BEGAN_NS, "worker": 0, "kind": "simulator_late", "text": text.format("sim", late_ms)}
    summary = summary_of(Plan(), incidents=[late])
    median = min(answer.figures.at(0.5).value for answer in summary.answers)

    assert 0.01 * median == pytest.approx(5.7, abs=0.5)
    for form in (report_text(summary), *run_forms(summary)):
        said = " ".join(form.replace("\u00a0", " ").split())
        assert ("6.3 ms" in said) == shown
        assert ("of the shortest median" in said) == shown
        assert "do not trust" not in said
        assert ("simulator late" in said) == shown
    assert len(summary.incidents.kept) == 1
