"""`rtbench calibrate`, with steps that nobody plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.calibrate import climb
from bench.cli.app import app
from bench.run.calibration import Kind, Outcome, Step, file_name, load
from tests.calibrate.builders import build_step

CAPACITY = 650


def calibrate(monkeypatch: pytest.MonkeyPatch, state: Path, *options: str, play: Any) -> Result:
    """The command where a step is what `play` makes of its kind and sessions."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr(climb, "played", lambda kind, sessions, **_: play(kind, sessions))
    return CliRunner().invoke(app, ["calibrate", *options])


def carries_some(kind: Kind, sessions: int) -> Step:
    return build_step(sessions, "good" if sessions <= CAPACITY else "bad", kind=kind, p99=0.001 * sessions)


def test_the_answer_is_the_last_line_and_is_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = calibrate(monkeypatch, tmp_path, play=carries_some)
    saved = load(tmp_path / "rtbench" / file_name(tls=False))

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-2:] == [
        "errors are within 100 µs (p99) up to 100 sessions per process",
        "trust this machine up to 600 sessions per process",
    ]
    assert saved is not None
    assert [step.sessions for step in saved.steps if step.kind == "talking"] == [100, 200, 400, 800, 600, 700]


def test_the_page_and_the_data_are_written_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calibrate(monkeypatch, tmp_path, "--quick", "--tls", "--out", str(tmp_path / "here"), play=carries_some)
    name = Path(file_name(tls=True))

    for folder in (tmp_path / "here", tmp_path / "rtbench"):
        assert load(folder / name) is not None
        assert "<svg" in (folder / name.with_suffix(".html")).read_text()


@pytest.mark.parametrize("outcome", ["late", "busy"])
def test_without_a_conclusion_nothing_is_saved_and_the_status_is_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome
) -> None:
    result = calibrate(monkeypatch, tmp_path, play=lambda kind, sessions: build_step(sessions, outcome, kind=kind))

    assert result.exit_code == 4
    assert result.output.splitlines()[-1].startswith("no conclusion for listening and talking sessions: ")
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_that_is_interrupted_says_what_it_knows_and_saves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(kind: Kind, sessions: int) -> Step:
        if sessions > 200:
            raise KeyboardInterrupt
        return carries_some(kind, sessions)

    result = calibrate(monkeypatch, tmp_path, play=interrupted)

    assert result.exit_code != 0
    assert "listening: ttfa" in result.output
    assert "interrupted: nothing is concluded, and nothing saved" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outcome", ["good", "late"])
def test_every_line_before_the_answer_fits_a_hundred_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome
) -> None:
    result = calibrate(monkeypatch, tmp_path, play=lambda kind, sessions: build_step(sessions, outcome, kind=kind))
    *lines, _ = result.output.splitlines()

    assert [line for line in lines if len(line) > 100 and str(tmp_path) not in line] == []
    assert "\x1b" not in result.output


def test_no_more_sessions_are_tried_than_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = calibrate(monkeypatch, tmp_path, "--most", "40", play=carries_some)

    assert result.output.splitlines()[-1] == "trust this machine up to 40 sessions per process"
    assert calibrate(monkeypatch, tmp_path, "--most", "0", play=carries_some).exit_code == 2
