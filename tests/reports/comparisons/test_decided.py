"""A run that was ended by its looks is compared with their verdict first, on every output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest

from reports.comparisons import comparison as comparison_module
from reports.comparisons import outputs
from reports.comparisons.comparison import Comparison
from reports.comparisons.outputs import comparison_essentials, comparison_text
from reports.gate.check import check_of
from reports.looks.decision import decision_headline
from reports.sides.side import among, sides_of
from tests.reports.comparisons.build import quick, run, targets
from tests.reports.comparisons.invented import GATES
from tests.reports.edited import edit
from tests.reports.planned import LOOSE, TIGHT, TWO, UNDECIDED, planned
from tests.reports.synthetic import Plan

SHORT = replace(TWO, sessions=60)
SCHEMA = json.loads((Path(comparison_module.__file__).parent / "compare.schema.json").read_text(encoding="utf-8"))


def run_of(folder: Path, gates: dict[str, list[str]], plan: Plan = TWO, **document: Any) -> str:
    return run(folder, plan, sequential_plan=planned(gates), **document)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return quick(sides_of([run_of(tmp_path_factory.mktemp("tight") / "run", TIGHT)]))


@pytest.mark.parametrize(("gates", "status"), [(LOOSE, 0), (TIGHT, 1), (UNDECIDED, 3)])
def test_what_the_analyses_decided_is_the_status_of_compare_and_check(
    tmp_path: Path, tight: Comparison, gates: Any, status: int
) -> None:
    found = tight if gates is TIGHT else quick(sides_of([run_of(tmp_path / "run", gates)]))
    decision = found.decision

    assert decision is not None
    assert found.exit_status == decision.exit_status == check_of(decision.run).exit_status == status
    assert decision_headline(decision).replace("\u00a0", " ") in " ".join(comparison_text(found, 200).split())


def test_the_file_and_the_page_tell_the_decision(tight: Comparison, tmp_path: Path) -> None:
    paths = outputs.write_comparison(tight, tmp_path)
    data = json.loads(paths.json.read_text(encoding="utf-8"))

    jsonschema.validate(data, SCHEMA)
    assert (data["result"], data["verdicts"]) == ("fail", {"west": "regressed"})
    assert (data["sequential"]["exit_status"], data["sequential"]["analyses"], data["sequential"]["analysis"]) == (
        1,
        3,
        2,
    )
    assert data["headline"].startswith("west is slower than east: half of the turns take longer than ")
    assert "When was it decided?" in paths.html.read_text(encoding="utf-8")


def test_pairs_that_the_end_of_the_run_cut_are_counted(tmp_path: Path) -> None:
    folder = Path(run(tmp_path / "run", SHORT))
    whole = quick(targets(SHORT), questions=GATES)
    edit(
        folder, "sessions", lambda at, row: row | {"outcome": "unfinished"} if at < 3 else row
    )  # 2 of a pair, 1 of one

    assert not any("cut by the end" in notice for notice in whole.notices)
    assert any(
        notice.startswith("2\u00a0pairs of the 30 were cut by the end of the run")
        for notice in quick(sides_of([folder]), questions=GATES).notices
    )


def test_the_other_way_round_the_interim_analyses_do_not_count_and_that_is_said(tight: Comparison) -> None:
    found = quick(among(tight.sides[::-1]))

    assert found.decision is None
    assert any("was ended by interim analyses" in notice for notice in found.notices)


def test_a_variant_is_a_candidate_of_the_target_that_it_is_a_variant_of(tmp_path: Path) -> None:
    entries = [{"name": "east"}, {"name": "west", "variant_of": "east"}]
    found = quick(sides_of([run_of(tmp_path / "run", TIGHT, targets=entries)]))

    assert comparison_essentials(found).startswith("✕ REGRESSED")
    assert "west regressed: half of the turns now take longer than " in comparison_text(found)
