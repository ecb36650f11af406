"""The notebook runs from top to bottom on the folder of a real run.

A notebook is plain JSON (nbformat 4.5), so a new interpreter executes its code cells in order, as
one program. This needs no Jupyter, and Jupyter is not among the dependencies.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.reports import synthetic
from tests.reports.synthetic import Plan

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
STORED = ROOT / "tests" / "reports" / "stored"


def cells(notebook: Path, kind: str) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def execute(notebook: Path, run: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Execute all code cells and return the process, with the printed output but not the
    displayed values.
    """
    program = "\n\n".join("".join(cell["source"]) for cell in cells(notebook, "code"))
    command = [sys.executable, "-W", "error", "-c", program]
    environment = os.environ | {"RTBENCH_RUN": str(run)}
    return forked.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_notebook_runs_completely_on_real_and_synthetic_runs(tmp_path: Path) -> None:
    others = [Plan(text=True, failed=0.2, warmup_s=5), Plan(targets=("a", "b")), Plan(valid=None)]
    runs = [
        STORED,
        *(synthetic.write(tmp_path / str(number), plan) for number, plan in enumerate(others)),
    ]
    (notebook,) = NOTEBOOKS
    ended = [execute(notebook, run, tmp_path) for run in runs]

    assert [one.stderr for one in ended if one.returncode] == []
    assert ended[0].stdout.splitlines() == ["SIMULATED", "validity: valid []"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_no_outputs_and_no_local_paths(notebook: Path) -> None:
    code = cells(notebook, "code")

    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not re.search(
        r'["\'\s](/|~/|[A-Z]:\\)\w', "\n".join("".join(cell["source"]) for cell in code)
    )
    assert len({cell["id"] for cell in code}) == len(code)
