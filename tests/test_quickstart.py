"""The quick run, until it needs a service."""

from __future__ import annotations

import io
import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.target.target_settings import ServiceOptions
from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report as load_run
from reports.text.sentences import played_failures
from rtbench.cli import quickstart
from tests.reports import synthetic
from tests.reports.edited import edit
from tests.reports.synthetic import Plan

HERE = "http://127.0.0.1:1"
TARGETS = """
targets:
  west: {url: "ws://127.0.0.1:1/openai/v1/realtime?model=gpt-realtime"}
  east: {url: "ws://127.0.0.1:2/openai/v1/realtime?model=gpt-realtime"}
"""


@pytest.fixture(autouse=True)
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdin empty, so that no question is answered. Fail if a run is started."""
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(quickstart, "_locust", lambda *given: pytest.fail(f"{given} was run"))


def test_a_run_against_a_deployment_needs_confirmation_after_the_cost_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", HERE)
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT_NAME", "gpt-realtime")

    with pytest.raises(UsageError, match="add --yes"):
        quickstart.quick_run(ServiceOptions(), yes=False, runs=tmp_path)
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"This calls {HERE.replace('http', 'ws')}/openai/v1/realtime?model=gpt-realtime with"
        " voice_turns, "
    )
    assert ", 6 sessions, 3 at a time: about " in printed
    assert "USD for 6 sessions (" in printed


def test_the_targets_file_is_found_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    monkeypatch.chdir(tmp_path)
    started: list[str] = []

    def note(load: quickstart.DemoLoad, runs: Path, *options: str) -> int:
        started.extend([*load.arguments(runs), *options])
        return 0

    monkeypatch.setattr(quickstart, "_locust", note)

    assert (
        quickstart.quick_run(ServiceOptions(targets=("west", "east")), yes=True, runs=tmp_path) == 0
    )
    assert started[started.index("--target-file") + 1] == str(tmp_path / "targets.yaml")
    assert started[started.index("--targets") + 1] == "west,east"
    assert [Path(file).name for file in started[started.index("-f") + 1].split(",")] == [
        "voice_turns.py"
    ]
    assert started[started.index("--sessions") + 1] == "6"


def test_sessions_sets_the_number_of_sessions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On a busy machine, fewer sessions run at the same time.

    The cost estimate for a deployment uses the given number of sessions.
    """
    played: list[quickstart.DemoLoad] = []
    monkeypatch.setattr(quickstart, "spare_cores", lambda: 0.5)
    monkeypatch.setattr(quickstart, "called_simulator", nullcontext)
    monkeypatch.setattr(
        quickstart, "_run_and_explain", lambda load, *given: played.append(load) or 0
    )

    quickstart.quick_run(ServiceOptions(), yes=False, runs=tmp_path, sessions=111)
    assert (played[0].users, played[0].sessions) == (60, 111)

    (tmp_path / "targets.yaml").write_text(TARGETS)
    with pytest.raises(UsageError, match="add --yes"):
        quickstart.quick_run(
            ServiceOptions(targets=("west",), target_file=tmp_path / "targets.yaml"),
            yes=False,
            runs=tmp_path,
            sessions=45,
        )
    assert ", 45 sessions, 3 at a time: about " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spare", "machine", "text"),
    [
        (
            1.5,
            4,
            "1.5 of 2 cores are free (the machine has 2 more cores that this process may not use),"
            " so 112 calls run at a time instead of 135. The run lasts up to two minutes.\nStart no"
            " others: if they delay the run, it is INVALID.",
        ),
        (
            0.04,
            2,
            "Other programs use all 2 cores, so 60 calls run at a time instead of 135. The run"
            " lasts up to two minutes.\nStop other programs now: if they delay the run, it is"
            " INVALID.",
        ),
        (1.0, 2, "1.0 of 2 cores are free, so 75 calls run at a time instead of 135."),
    ],
)
def test_fewer_calls_at_a_time_have_their_reason(
    spare: float,
    machine: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The report, in contrast, counts all cores of the machine."""
    monkeypatch.setattr(quickstart, "spare_cores", lambda: spare)
    monkeypatch.setattr(quickstart, "core_count", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: machine)
    monkeypatch.setattr(quickstart, "called_simulator", nullcontext)
    monkeypatch.setattr(quickstart, "_run_and_explain", lambda *given: 0)

    quickstart.quick_run(ServiceOptions(), yes=False, runs=tmp_path)

    assert capsys.readouterr().out.replace("\u00a0", " ").startswith(text)


def test_without_cpu_times_spare_cores_are_estimated_from_the_load_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quickstart, "cpu_times", lambda: None)
    monkeypatch.setattr(quickstart, "core_count", lambda: 4)
    monkeypatch.setattr(quickstart, "load_average", lambda: 3.5)
    monkeypatch.setattr(quickstart, "OBSERVED_S", 0.0)

    assert quickstart.spare_cores() == 0.5


LACKING = {"status": "invalid", "uncertain_metrics": []} | {
    "checks": [
        {
            "name": "missing_data",
            "value": 23.0,
            "limit": 1.0,
            "result": "fail",
            "note": "",
            "remedy": "",
            "unit": "%",
        }
    ]
}
BUSY = {"name": "red", "workers": 1} | {
    "cpu_use": {"cores": 2, "this_run": 0.1, "all_programs": 0.97, "total_max": 1.0}
}
"""A host whose cores were used by other programs."""


@pytest.mark.parametrize(
    ("plan", "changes", "run_status", "status"),
    [
        (Plan(), {}, 0, 0),
        (Plan(valid=False), {}, 4, 0),  # inexact metrics, otherwise no defect
        (Plan(valid=False), {"hosts": [BUSY]}, 4, 0),
        (Plan(valid=False, failed=0.1), {}, 4, 1),
        (Plan(failed=0.1), {}, 1, 1),
        (Plan(), {"validity": None}, 4, 4),  # validity was not checked
        (Plan(), {"validity": LACKING}, 4, 4),  # not only inexact: data are missing
        (Plan(valid=False), {"stop_reason": "interrupted"}, 4, 130),
        (Plan(), {"stop_reason": "interrupted"}, 130, 130),
        (Plan(valid=False), {}, 2, 2),
        (Plan(), {}, 1, 1),  # Locust failed for a reason that no turn shows
    ],
)
def test_quick_fails_only_if_turns_failed_or_the_run_failed(
    plan: Plan,
    changes: dict[str, Any],
    run_status: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def play(*_: object) -> int:
        synthetic.write(tmp_path / "run", plan, **changes)
        return run_status

    monkeypatch.setattr(quickstart, "_locust", play)

    assert quickstart._run_and_explain(quickstart.BILLED, tmp_path) == status
    printed = capsys.readouterr().out
    assert bool(printed) is (run_status == 4 and plan.valid is False)
    if printed:
        assert printed.startswith("The tool works: ")
        assert "audio was sent late (send_delay p99 14.2" in printed
        assert ("failed (see above)" in printed) is (plan.failed > 0)
        assert ("Other programs used 87\u00a0% of the CPU" in printed) is ("hosts" in changes)


PLAYED = ("cancelled:turn_detected", "timeout:first_delta")


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize(
    ("load", "outcomes", "status"),
    [
        (quickstart.SIMULATED, PLAYED, 0),
        (quickstart.SIMULATED, PLAYED[:1], 0),
        (quickstart.SIMULATED, (*PLAYED, "protocol_error:json"), 1),
        (quickstart.BILLED, PLAYED, 1),
    ],
)
def test_a_missing_reply_and_a_cut_in_of_the_simulated_service_are_explained_and_fail_no_quick_run(
    load: quickstart.DemoLoad,
    outcomes: tuple[str, ...],
    status: int,
    valid: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = itertools.cycle(outcomes)

    def play(*_: object) -> int:
        folder = synthetic.write(tmp_path / "run", Plan(failed=0.2, valid=valid))
        edit(
            folder,
            "turns",
            lambda _, row: row | ({"outcome": next(failed)} if row["outcome"] != "ok" else {}),
        )
        return 1 if valid else 4

    monkeypatch.setattr(quickstart, "_locust", play)

    assert quickstart._run_and_explain(load, tmp_path) == status
    printed = capsys.readouterr().out
    explained = played_failures(summarise(load_run(tmp_path / "run")))
    assert (quickstart.IGNORED in printed) == (load is quickstart.SIMULATED)
    assert "it replied before the caller had finished (a cut-in)" in explained
    assert ("got no reply" in explained) == ("timeout:first_delta" in outcomes)
    assert not printed or printed.endswith("report.html\n")
