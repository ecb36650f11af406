"""What sessions carry, in bytes per second: shown, gated and compared like a latency."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reports
from bench.errors import UsageError
from bench.run.measured import CARRIED
from reports.gate.check import checked
from reports.samples import session_sample
from reports.thresholds import parse
from tests.reports.gate.made import ENOUGH, run, thresholds

pytestmark = pytest.mark.usefixtures("few_draws")


def test_a_sessions_rate_is_its_bytes_over_its_length(tmp_path: Path) -> None:
    sessions = reports.load(run(tmp_path, replace(ENOUGH, refused=3))).sessions
    lasted_s = (sessions["ended_at_ns"] - sessions["upgrade_done_at_ns"]).to_numpy(dtype=float, na_value=np.nan) / 1e9
    for name, column in CARRIED.items():
        opened = sessions["session_updated_at_ns"].notna().to_numpy()
        wanted = sessions[column].to_numpy(dtype=float) / lasted_s

        assert sessions.loc[opened, name].to_numpy() == pytest.approx(wanted[opened])
        assert sessions.loc[~opened, name].isna().all()
        assert (~opened).sum() == 3


def test_what_a_session_carried_counts_whether_it_failed_or_not(tmp_path: Path) -> None:
    sessions = reports.load(run(tmp_path, replace(ENOUGH, refused=3))).sessions
    failed = sessions.assign(outcome_class=sessions["outcome_class"].where(sessions.index % 2 == 0, "failed"))
    sample = session_sample(failed, "audio_received")

    assert sample is not None
    assert sample.values.tolist() == sorted(sessions["audio_received"].dropna())


def test_a_run_of_text_has_no_rate_of_audio(tmp_path: Path) -> None:
    text = run(tmp_path, replace(ENOUGH, text=True))
    found = checked(text, thresholds("audio_received: med>1kB/s", "wire_received: med>1kB/s"))

    assert [(item.verdict or item.result) for item in found.thresholds][1] == "pass"
    assert found.thresholds[0].result != "pass"
    assert found.exit_status == 4


@pytest.mark.parametrize("written", ["30kB/s", "30000", "30000B/s", "0.03MB/s", "30 kB/s"])
def test_a_limit_is_written_with_or_without_its_unit(written: str) -> None:
    assert parse("audio_received", f"med>{written}").limit == 30_000


@pytest.mark.parametrize(
    ("metric", "text", "why"),
    [
        ("audio_received", "med<30kB/s", "more of it is better: write >"),
        ("audio_received", "med>30kb", "write it as 30000, 30kB/s or 0.03MB/s"),
        ("audio_received", "med>+10%", "write -10%"),
        ("audio_received{step:greeting}", "med>30kB/s", "have no step"),
        ("audio_received", "rate>30", "no aggregate of audio_received; allowed"),
    ],
)
def test_a_slip_is_said(metric: str, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(metric, text)


def test_a_limit_is_kept_or_broken_by_the_interval_over_sessions(tmp_path: Path) -> None:
    median = np.median(reports.load(run(tmp_path)).sessions["audio_received"])
    below, above = (f"audio_received: med>{median * factor:.0f}" for factor in (0.8, 1.2))
    found = checked(tmp_path, thresholds(below, above, "audio_sent: p(50)>1kB/s"))

    assert [(item.verdict or item.result) for item in found.thresholds] == ["pass", "fail", "pass"]
    assert [item.unit for item in found.thresholds] == ["B/s"] * 3
    assert found.thresholds[0].value == pytest.approx(median, rel=1e-4)
    assert found.thresholds[0].sessions == 60
