"""The file of a calibration, and the way in which later runs cite the calibration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import bench.base.cpu
from bench.base.errors import UsageError
from bench.record import calibration
from bench.record.calibration import (
    changes,
    citation,
    date_of,
    file_name,
    load_calibration,
    save_calibration,
    state_folder,
    writable,
)
from tests.calibrate.builders import build_calibration


def test_a_saved_calibration_is_loaded_again(tmp_path: Path) -> None:
    path = save_calibration(build_calibration(), tmp_path / "new" / "rtbench")

    assert load_calibration(path) == build_calibration()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 99}', "\x00"])
def test_an_invalid_calibration_file_is_not_cited(tmp_path: Path, text: str) -> None:
    (tmp_path / file_name(tls=False)).write_text(text)

    assert citation(tmp_path, "text", tls=False) is None


def test_a_run_cites_the_calibration_of_its_kind_of_sessions(tmp_path: Path) -> None:
    save_calibration(build_calibration(), tmp_path)
    cited = citation(tmp_path, "voice", tls=False)

    assert cited == {
        "date": "2026-11-20",
        "kind": "voice",
        "sessions": 400,
        "events_per_s": 17500.0,
        "exact_sessions": 0,
        "ended": "the simulator",
        "tls": False,
        "file": file_name(tls=False),
        "stale": [],
    }


def test_a_run_cites_the_calibration_of_its_dialect_before_the_one_of_ga(tmp_path: Path) -> None:
    save_calibration(build_calibration(), tmp_path)
    other = citation(tmp_path, "text", tls=False, dialect="gemini")
    save_calibration(
        msgspec.structs.replace(build_calibration(tls=True), dialect="gemini"), tmp_path
    )
    own, default = (
        citation(tmp_path, "text", tls=False, dialect=dialect) for dialect in ("gemini", "ga")
    )

    assert other is not None
    assert other["stale"] == ["with another dialect"]
    assert own is not None
    assert (own["file"], own["stale"]) == (file_name(tls=True, dialect="gemini"), ["over TLS"])
    assert default is not None
    assert (default["file"], default["stale"]) == (file_name(tls=False), [])


def test_changes_since_the_calibration_are_cited(tmp_path: Path) -> None:
    save_calibration(build_calibration(kernel="Linux 2.4", python="3.1"), tmp_path)
    cited = citation(tmp_path, "text", tls=False)

    assert cited is not None
    assert cited["stale"] == ["with another kernel", "with another Python"]
    assert changes({}, {}) == []


def test_an_uncalibrated_machine_cites_nothing(tmp_path: Path) -> None:
    assert citation(tmp_path, "text", tls=False) is None


def test_the_state_folder_follows_the_xdg_convention(tmp_path: Path) -> None:
    at_home = {"HOME": str(tmp_path)}

    assert state_folder(at_home | {"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/rtbench")
    assert (
        state_folder(at_home | {"XDG_STATE_HOME": "relative"})
        == tmp_path / ".local" / "state" / "rtbench"
    )
    assert state_folder(at_home) == tmp_path / ".local" / "state" / "rtbench"


def test_without_a_home_folder_no_calibration_is_cited_or_saved() -> None:
    nowhere = state_folder({})

    assert nowhere is None
    assert citation(nowhere, "text", tls=False) is None
    with pytest.raises(UsageError, match="set XDG_STATE_HOME"):
        save_calibration(build_calibration(), nowhere)


def test_the_file_name_has_processor_cores_and_kernel_but_no_host_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pod has its own host name, even if all pods run on the same machine."""
    facts: dict[str, str | None] = {
        "cpu": "AMD EPYC 7763 64-Core (R)",
        "machine": "x86_64",
        "kernel": "Linux 6.8.0-1/azure",
        "python": "3.12",
    }
    monkeypatch.setattr(calibration, "host", lambda: facts)
    monkeypatch.setattr(calibration, "core_count", lambda: 8)
    monkeypatch.setattr(calibration, "cpu_limit", lambda: None)
    assert (
        file_name(tls=True) == "calibration-AMD_EPYC_7763_64-Core_R-8-Linux_6.8.0-1_azure-tls.json"
    )
    monkeypatch.setattr(calibration, "cpu_limit", lambda: 2.0)
    facts["cpu"] = None
    assert file_name(tls=False) == "calibration-x86_64-2of8-Linux_6.8.0-1_azure.json"


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000", 2.0),
        ("50000 100000", 0.5),
        ("max 100000", None),
        ("", None),
        ("1 0", None),
    ],
)
def test_the_cpu_limit_of_a_container_is_read_from_its_cgroup(
    text: str, cores: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.base.cpu, "CPU_MAX", tmp_path / "cpu.max")
    assert bench.base.cpu.cpu_limit() is None
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert bench.base.cpu.cpu_limit() == cores


def test_a_folder_that_cannot_be_created_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="the calibration cannot be saved"):
        save_calibration(build_calibration(), tmp_path / "file" / "rtbench")


def test_an_unwritable_folder_is_detected_before_the_result_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dir: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(calibration, "TemporaryFile", full)

    with pytest.raises(UsageError, match="cannot be saved: No space left on device"):
        writable(tmp_path)


def test_dates_are_utc() -> None:
    assert date_of(1_795_166_040_000_000_000) == "2026-11-20"
