"""`rtbench calibrate`, with simulated steps."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from bench.base.errors import UsageError
from bench.record.calibration import LoadStep, Outcome, SessionKind, file_name, load_calibration
from rtbench.calibrate import load_steps
from tests.calibrate.builders import build_step
from tests.command_line import call

CAPACITY = 650


def calibrate(monkeypatch: pytest.MonkeyPatch, state: Path, *options: str, play: Any) -> Result:
    """Run the command. `play(kind, sessions)` returns the step for a kind of session and a
    number of sessions.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr(
        load_steps, "run_load_step", lambda kind, sessions, **_: play(kind, sessions)
    )
    return call("calibrate", *options)


def passing_to_600_sessions(kind: SessionKind, sessions: int) -> LoadStep:
    return build_step(
        sessions, "pass" if sessions <= CAPACITY else "fail", kind=kind, p99=0.001 * sessions
    )


def test_the_conclusion_is_the_last_line_and_is_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = calibrate(monkeypatch, tmp_path, play=passing_to_600_sessions)
    saved = load_calibration(tmp_path / "rtbench" / file_name(tls=False))

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-2:] == [
        "errors are within 100 µs (p99) up to 100 sessions per process",
        "trust this machine up to 566 sessions per process",
    ]
    assert saved is not None
    assert [step.sessions for step in saved.steps if step.kind == "voice"] == [
        100,
        200,
        400,
        800,
        800,
        566,
        673,
        673,
    ]


def test_a_calibration_is_saved_if_it_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rtbench.calibrate.text.conclusions", lambda _: 1 / 0)
    result = calibrate(monkeypatch, tmp_path, play=passing_to_600_sessions)

    assert isinstance(result.exception, ZeroDivisionError)
    assert [*tmp_path.rglob("calibration*.json")]


def test_a_calibration_with_another_dialect_is_saved_in_a_separate_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calibrate(monkeypatch, tmp_path, play=passing_to_600_sessions)
    result = calibrate(monkeypatch, tmp_path, "--dialect", "twilio", play=passing_to_600_sessions)
    saved, default = (
        load_calibration(tmp_path / "rtbench" / file_name(tls=False, dialect=dialect))
        for dialect in ("twilio", "ga")
    )

    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "SIMULATED: twilio sessions, up to 1,600 in one process"
    assert result.output.splitlines()[-1] == "trust this machine up to 566 sessions per process"
    assert saved is not None
    assert {step.kind for step in saved.steps} == {"twilio"}
    assert default is not None
    assert {step.kind for step in default.steps} == {"text", "voice"}
    assert (
        "<svg"
        in (tmp_path / "rtbench" / file_name(tls=False, dialect="twilio"))
        .with_suffix(".html")
        .read_text()
    )


def test_the_page_and_the_data_are_written_to_the_out_folder_and_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calibrate(
        monkeypatch,
        tmp_path,
        "--quick",
        "--tls",
        "--out",
        str(tmp_path / "here"),
        play=passing_to_600_sessions,
    )
    name = Path(file_name(tls=True))

    for folder in (tmp_path / "here", tmp_path / "rtbench"):
        assert load_calibration(folder / name) is not None
        assert "<svg" in (folder / name.with_suffix(".html")).read_text()


def refuse(folder: Path) -> Path:
    """Create a file at this path, so that no folder can be created there."""
    folder.write_text("")
    return folder


def test_no_step_is_run_if_the_result_cannot_be_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loads: list[int] = []

    def record_and_pass(kind: SessionKind, sessions: int) -> LoadStep:
        loads.append(sessions)
        return passing_to_600_sessions(kind, sessions)

    state = calibrate(monkeypatch, refuse(tmp_path / "state"), play=record_and_pass)
    out = calibrate(
        monkeypatch, tmp_path, "--out", str(refuse(tmp_path / "out")), play=record_and_pass
    )
    monkeypatch.delenv("HOME", raising=False)
    homeless = calibrate(monkeypatch, Path("relative"), play=record_and_pass)

    for result, expected in (
        (state, "cannot be saved"),
        (out, "cannot be saved"),
        (homeless, "set XDG_STATE_HOME"),
    ):
        assert isinstance(result.exception, UsageError)
        assert expected in str(result.exception)
    assert loads == []


def test_an_unwritable_state_folder_gives_one_warning_if_out_is_writable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = calibrate(
        monkeypatch,
        refuse(tmp_path / "state"),
        "--out",
        str(tmp_path / "out"),
        play=passing_to_600_sessions,
    )
    folder = tmp_path / "state" / "rtbench"

    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"{folder}: the calibration cannot be saved: Not a directory; later runs will not cite this"
        " calibration"
    ]
    assert load_calibration(tmp_path / "out" / file_name(tls=False)) is not None


@pytest.mark.parametrize(("gone", "status"), [("out", 2), ("state/rtbench", 0)])
def test_the_conclusion_is_printed_if_a_folder_becomes_unwritable_during_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: str, status: int
) -> None:
    def remove_folder_and_pass(kind: SessionKind, sessions: int) -> LoadStep:
        if (tmp_path / gone).is_dir():
            (tmp_path / gone).rmdir()
            refuse(tmp_path / gone)
        return passing_to_600_sessions(kind, sessions)

    result = calibrate(
        monkeypatch, tmp_path / "state", "--out", str(tmp_path / "out"), play=remove_folder_and_pass
    )
    kept = ({"out", "state/rtbench"} - {gone}).pop()

    assert result.exit_code == status
    assert result.stdout.splitlines()[-1] == "trust this machine up to 566 sessions per process"
    assert "cannot be saved" in result.stderr
    assert load_calibration(tmp_path / kept / file_name(tls=False)) is not None


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("outcome", ["simulator_late", "machine_busy"])
def test_without_a_conclusion_nothing_is_saved_and_the_status_is_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome
) -> None:
    result = calibrate(
        monkeypatch, tmp_path, play=lambda kind, sessions: build_step(sessions, outcome, kind=kind)
    )

    assert result.exit_code == 4
    assert result.output.splitlines()[-1].startswith("no conclusion for text and voice sessions: ")
    assert files_in(tmp_path) == []


def test_an_interrupted_calibration_prints_its_results_and_saves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt_above_200(kind: SessionKind, sessions: int) -> LoadStep:
        if sessions > 200:
            raise KeyboardInterrupt
        return passing_to_600_sessions(kind, sessions)

    result = calibrate(monkeypatch, tmp_path, play=interrupt_above_200)

    assert result.exit_code != 0
    assert "text: ttfa" in result.output
    assert "interrupted: there is no result, and nothing was saved" in result.output
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("outcome", ["pass", "simulator_late"])
def test_every_line_before_the_answer_fits_a_hundred_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Outcome
) -> None:
    result = calibrate(
        monkeypatch, tmp_path, play=lambda kind, sessions: build_step(sessions, outcome, kind=kind)
    )
    *lines, _ = result.output.splitlines()

    assert [line for line in lines if len(line) > 100 and str(tmp_path) not in line] == []
    assert "\x1b" not in result.output


def test_max_sessions_limits_the_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = calibrate(monkeypatch, tmp_path, "--max-sessions", "40", play=passing_to_600_sessions)

    assert result.output.splitlines()[-1].startswith(
        "trust this machine up to at least 40 sessions per process; --max-sessions"
    )
    assert (
        calibrate(
            monkeypatch, tmp_path, "--max-sessions", "0", play=passing_to_600_sessions
        ).exit_code
        == 2
    )


def test_a_quick_calibration_does_not_replace_a_full_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calibrate(monkeypatch, tmp_path, play=passing_to_600_sessions)
    result = calibrate(
        monkeypatch,
        tmp_path,
        "--quick",
        "--out",
        str(tmp_path / "here"),
        play=passing_to_600_sessions,
    )
    kept, made = (
        load_calibration(tmp_path / folder / file_name(tls=False)) for folder in ("rtbench", "here")
    )

    assert result.exit_code == 0
    assert "was not replaced: it is a fuller calibration" in result.stderr
    assert (kept and kept.quick, made and made.quick) == (False, True)


def test_sigterm_interrupts_a_calibration_like_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def send_sigterm(kind: SessionKind, sessions: int) -> LoadStep:
        signal.raise_signal(signal.SIGTERM)  # in this thread, and so before the end of the block
        return passing_to_600_sessions(kind, sessions)

    before = signal.getsignal(signal.SIGTERM)
    result = calibrate(monkeypatch, tmp_path, play=send_sigterm)

    assert "interrupted: there is no result" in result.output
    assert load_calibration(tmp_path / "rtbench" / file_name(tls=False)) is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_max_sessions_above_the_file_descriptor_limit_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 256))
    result = calibrate(monkeypatch, tmp_path, play=passing_to_600_sessions)

    assert isinstance(result.exception, UsageError)
    assert "--max-sessions 156" in str(result.exception)
