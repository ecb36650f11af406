"""Callers of every kind in real processes: with each dialect without TLS, and with one dialect with
TLS.

The runs are made once. Each requirement is a function of a run, and one test checks all
requirements. GA without TLS, the run with which every user begins, is a part of
`tests/test_main_job.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.system.end_to_end.voice_claims import every_claim_holds, played

RUNS: dict[str, tuple[str, ...]] = {"preview": (), "voice-live": (), "ga over TLS": ("--tls",)}


def test_runs_with_each_kind_of_caller_meet_all_requirements(tmp_path: Path) -> None:
    every_claim_holds(played(tmp_path, RUNS))
