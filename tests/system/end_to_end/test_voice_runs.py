"""Callers of every kind in real processes: each dialect without TLS, and one with it.

The runs are made once, so each requirement is a function of a run, and one test checks them all. The run with which
every user begins, GA without TLS, is a part of `tests/test_main_job.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.system.end_to_end.voice_claims import every_claim_holds, played

RUNS: dict[str, tuple[str, ...]] = {"preview": (), "voice-live": (), "ga over TLS": ("--tls",)}


def test_runs_with_each_kind_of_caller_meet_all_requirements(tmp_path: Path) -> None:
    every_claim_holds(played(tmp_path, RUNS))
