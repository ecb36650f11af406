"""Runs of calls to a simulator, with the tables of the run and the ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.record.folder import read_table
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import AUDIO
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.telephone_truth import STOPPED, ReplyStart, reply_starts

GREETING, DIGIT, THANKS = "wait_for: greeting", "send: {type: dtmf, digit: '5'}", "text: Thank you."
NUMBER = f"audio: {AUDIO / 'order_number.wav'}"
BARGE_IN = f"interrupt: {{{NUMBER}, after: 0.5}}"


def script(*steps: str, session: str = "turn_detection: full_duplex") -> str:
    return f"session: {{{session}}}\nreply_silence_ms: 300\nsteps:\n" + "".join(
        f"  - {step}\n" for step in steps
    )


@dataclass(frozen=True)
class Calls:
    """A folder with one run, and with the ground truth of its simulator."""

    folder: Path
    output: str

    @property
    def run(self) -> Path:
        (run,) = (self.folder / "runs").iterdir()
        return run

    @cached_property
    def turns(self) -> pd.DataFrame:
        return read_table(self.run, "turns").to_pandas()

    @cached_property
    def sessions(self) -> pd.DataFrame:
        return read_table(self.run, "sessions").to_pandas()

    @cached_property
    def truth(self) -> list[dict[str, Any]]:
        return list(read_truth(self.folder / "truth.jsonl"))

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [line for line in self.truth if line.get("direction") == "out"]

    def replies(self) -> list[ReplyStart]:
        """Return the starts of all replies. If none has a truth, skip the test."""
        replies = reply_starts(self.run, self.folder / "truth.jsonl")
        if not any(reply.has_truth for reply in replies):
            pytest.skip(STOPPED)
        return replies


def play(
    folder: Path, script: str, url: str, calls: int, targets: Mapping[str, str], *options: str
) -> Calls:
    """Run this number of calls to each of the targets, of which the other keys are given."""
    texts = (f"  {name}: {{url: '{url}', {keys}}}\n" for name, keys in targets.items())
    (folder / "targets.yaml").write_text("targets:\n" + "".join(texts), encoding="utf-8")
    (folder / "call.yaml").write_text(script, encoding="utf-8")
    load = ("-u", calls * len(targets), "--sessions", calls, "--targets", ",".join(targets))
    result = rtbench("run", "call.yaml", *load, "--name", "calls", *options, cwd=folder)
    assert result.returncode in ENDS_WELL, result.stderr
    return Calls(folder, result.stdout + result.stderr)
