"""`rtbench init`: what it writes is good as it stands, and nothing of the user's is lost."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import forked


def test_a_folder_that_was_just_made_passes_the_doctor_offline(tmp_path: Path) -> None:
    def rtbench(*words: str) -> str:
        command = [sys.executable, "-m", "bench.cli.app", *words]
        ended = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        return str(ended.stdout)

    first, then = rtbench("init").splitlines()[-2:]
    assert first == "Next: rtbench doctor --offline"
    assert "rtbench run scenarios/scripts/voice_turns.yaml" in then
    found = rtbench("doctor", "--offline")

    assert "installation" in found
    assert "a token is asked for over the network" in found
    assert "was there already" in rtbench("init")
