"""A caller with patience hangs up if the reply of a simulated service comes too late."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.openai.dialect import GA


def script(folder: Path, patience: str) -> CompiledScript:
    path = folder / "mine.yaml"
    path.write_text(f"patience: {patience}\nsteps:\n  - text: Hello\n", encoding="utf-8")
    return CompiledScript(load_script(path), GA)


def drawn(compiled: CompiledScript, sessions: int, seed: int = 1) -> list[float]:
    return [compiled.prepare_session(number, seed).limits.patience for number in range(sessions)]


def test_each_call_draws_its_patience_and_a_run_repeats_it(tmp_path: Path) -> None:
    compiled = script(tmp_path, "{p50: 4, p90: 9}")
    values = sorted(drawn(compiled, 2_000))

    assert values[1_000] == pytest.approx(4, rel=0.1)
    assert values[1_800] == pytest.approx(9, rel=0.15)
    assert drawn(compiled, 5) == drawn(compiled, 5)
    assert drawn(compiled, 5) != drawn(compiled, 5, seed=2)


def test_a_number_is_the_patience_of_every_call(tmp_path: Path) -> None:
    compiled = script(tmp_path, "2.5")

    assert drawn(compiled, 3) == [2.5] * 3
    limits = compiled.prepare_session(0, 1).limits
    assert replace(limits, patience=0.0) == compiled.script.timeouts


@pytest.mark.parametrize("patience", ["0", "-1", "{p50: 4}", "{p50: 4, p90: 3}", "soon"])
def test_another_patience_is_refused(tmp_path: Path, patience: str) -> None:
    with pytest.raises(UsageError, match=r"patience|p90"):
        script(tmp_path, patience)
