"""The names in Locust's statistics are checked before the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.load.planning.lacking import missing_features
from bench.load.planning.locust_entries import MAX_NAMES, check_entries
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.openai.dialect import GA


def checked(folder: Path, steps: str, *metrics: str) -> None:
    (folder / "script.yaml").write_text(f"session: {{output: audio}}\nsteps:\n{steps}")
    compiled = CompiledScript(load_script(folder / "script.yaml"), GA)
    check_entries(metrics, [compiled], [missing_features(compiled, arrives=False)], ["here"])


def texts(count: int) -> str:
    return "".join(f"  - {{text: Hello., name: step_{number}}}\n" for number in range(count))


def test_names_up_to_the_limit_are_accepted_and_one_more_is_refused(tmp_path: Path) -> None:
    most = (MAX_NAMES - 2) // 2  # besides the target, and the turns that did not start
    checked(tmp_path, texts(most), "ttfa")
    with pytest.raises(
        UsageError, match=f"would have {MAX_NAMES + 2} names \\({most + 1} of metrics\\)"
    ):
        checked(tmp_path, texts(most + 1), "ttfa")
    checked(tmp_path, texts(MAX_NAMES + 5))


def test_a_metric_that_no_turn_can_have_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no turn can have voice_to_voice, because the script has no voice turn"
    ):
        checked(tmp_path, texts(2), "ttfa", "voice_to_voice")
