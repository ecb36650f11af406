"""The command `rtbench capacity`. The tests simulate the load levels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import Result

from bench.base.errors import UsageError
from bench.target.target_settings import ServiceOptions
from reports.results import value as results
from rtbench.capacity import level_evaluation as leveling
from rtbench.capacity import level_run as playing
from rtbench.capacity.level_evaluation import SearchConfig
from rtbench.capacity.level_run import LevelTask, LocustCommand, PreparedSearch, prepare_search
from rtbench.capacity.search import LevelBudget, LevelEntry
from rtbench.cli import app
from rtbench.load_search import NextLevel
from tests.capacity.models import build_level, build_plan, build_share
from tests.command_line import call
from tools.schemas import schemas

EDGE = 20
Played = Callable[[SearchConfig, int, NextLevel, LevelBudget], LevelEntry]

FORECAST: dict[str, Any] = {
    "scenario": "calls",
    "connect_rate": None,
    "call_s": 0.0,
    "lacking": (),
}


def decided_at_edge(
    search: SearchConfig, number: int, step: NextLevel, given: LevelBudget
) -> LevelEntry:
    """Return a level that passes up to the load `EDGE`, and that fails above it."""
    answer: results.Result = "pass" if step.load <= EDGE else "fail"
    return build_level(
        step.load,
        answer,
        hold=step.confirmation_run,
        error=given.error,
        violations=[build_share()],
        turns=100,
    )


def written_file(folder: Path) -> Path:
    (file := folder / "calls.py").touch()
    return file


def capacity(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str, played: Played = decided_at_edge
) -> Result:
    monkeypatch.setattr(leveling, "evaluate_level", played)
    locust = LocustCommand([Path("calls.py")], "concurrency", folder / "levels")
    monkeypatch.setattr(
        playing,
        "prepare_search",
        lambda *_, **__: PreparedSearch(locust, "west", (), FORECAST),
    )
    given = [
        "capacity",
        str(written_file(folder)),
        "--thresholds",
        "ttfa: p(95)<800",
        "-o",
        str(folder / "found"),
        *options,
    ]
    return call(*given)


def test_the_conclusion_is_printed_and_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = capacity(monkeypatch, tmp_path)
    document = json.loads((tmp_path / "found" / "capacity.json").read_text())

    assert result.exit_code == 0, result.output
    assert "Passes at 20 and fails at 21 concurrent calls" in result.output
    assert (document["highest_pass"], document["lowest_fail"], document["confirmed"]) == (
        20,
        21,
        True,
    )
    jsonschema.validate(document, schemas()["capacity"])
    assert "<svg" in (tmp_path / "found" / "capacity.html").read_text()


def test_the_result_is_saved_if_it_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rtbench.capacity.page.closing_lines", lambda _: 1 / 0)

    assert isinstance(capacity(monkeypatch, tmp_path).exception, ZeroDivisionError)
    assert {"capacity.json", "capacity.html"} <= {
        path.name for path in (tmp_path / "found").iterdir()
    }


@pytest.mark.parametrize(("at_least", "status"), [("20", 0), ("21", 1), ("300", 1)])
def test_the_exit_status_says_whether_the_required_load_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_least: str, status: int
) -> None:
    assert capacity(monkeypatch, tmp_path, "--require", at_least).exit_code == status


def test_the_maximum_time_and_cost_are_printed_before_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = capacity(
        monkeypatch, tmp_path, "--max-time", "40m", "--budget", "12"
    ).output.splitlines()
    plan = json.loads((tmp_path / "found" / "capacity.json").read_text())["plan"]

    assert (
        output[2] == f"up to {plan['max_levels']} levels and a longer run, in 40 min and 12.00 USD"
    )
    assert (plan["time_s"], plan["budget_usd"], plan["error"]) == (2400.0, 12.0, 0.05)


def test_a_threshold_without_data_in_the_script_is_refused_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacks = {
        "name": "talk",
        "turns": [{"step": "a", "lacks": {"speech_end": "it has no spoken turn"}}],
        "session": {},
    }
    locust = LocustCommand([Path("calls.py")], "concurrency", tmp_path / "levels")
    ready = PreparedSearch(locust, "west", (), FORECAST | {"lacking": [lacks]})
    monkeypatch.setattr(leveling, "evaluate_level", lambda *_: pytest.fail("a level was played"))
    monkeypatch.setattr(playing, "prepare_search", lambda *_, **__: ready)
    thresholds = ("--thresholds", "ttfa: p(95)<800", "--thresholds", "voice_to_voice: p(95)<1500")
    result = call(
        "capacity", str(written_file(tmp_path)), *thresholds, "-o", str(tmp_path / "found")
    )

    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith(
        '--thresholds "voice_to_voice: p(95)<1500" can never be evaluated, because it has no spoken'
        " turn in talk"
    )
    assert not (tmp_path / "found").exists(), "the next search may have this folder"


def test_a_short_search_states_the_time_of_an_answer_before_its_first_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rough_level(
        search: SearchConfig, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        share = build_share(0.01 if step.load <= EDGE else 0.3)
        return build_level(
            step.load, "inconclusive", duration_s=27.0, error=given.error, violations=[share]
        )

    result = capacity(monkeypatch, tmp_path, "--from", "1", "--max-time", "3m", played=rough_level)
    document = json.loads((tmp_path / "found" / "capacity.json").read_text())
    output = " ".join(result.output.split())

    assert re.search(
        r"levels of 27 s until the time ends: an answer needs \d+ min or more, and `--quick` gives"
        " a rough one",
        output,
    )
    assert (document["highest_pass"], document["lowest_fail"]) == (None, None)
    assert (result.exit_code, document["ended"], len(document["levels"])) == (3, "time", 6)


def test_an_interrupted_search_saves_its_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt_at_level_3(
        search: SearchConfig, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        if number == 3:
            raise KeyboardInterrupt
        return decided_at_edge(search, number, step, given)

    result = capacity(monkeypatch, tmp_path, played=interrupt_at_level_3)
    document = json.loads((tmp_path / "found" / "capacity.json").read_text())

    assert result.exit_code == 130
    assert (document["highest_pass"], document["lowest_fail"], document["ended"]) == (
        2,
        None,
        "interrupted",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-time", "20s"), "is too short for a level: use at least 27 s"),
        (("--max-time", "soon"), "--max-time must be a time"),
        (("--from", "20", "--to", "10"), "is higher than"),
        (("--precision", "1%"), "--precision must be from 5% to 100%"),
        (("--budget", "0"), "--budget must be more than 0"),
        (("--max-concurrent", "10"), "needs --by arrival-rate"),
        (("--thresholds", "ttfa: p(95)<+20%"), "is relative"),
    ],
)
def test_invalid_options_are_refused_before_the_first_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = capacity(monkeypatch, tmp_path, *options)

    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert not (tmp_path / "found").exists()


def test_each_level_is_saved_when_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A search that is killed cannot save anything later."""
    saved: list[tuple[int, str, int]] = []

    def played(
        search: SearchConfig, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        if number > 1:
            document = json.loads((tmp_path / "found" / "capacity.json").read_text())
            saved.append((len(document["levels"]), document["ended"], document["highest_pass"]))
        return decided_at_edge(search, number, step, given)

    capacity(monkeypatch, tmp_path, played=played)

    assert saved[:3] == [(1, "interrupted", 1), (2, "interrupted", 2), (3, "interrupted", 4)]


def test_a_second_search_in_the_same_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    capacity(monkeypatch, tmp_path)
    again = capacity(monkeypatch, tmp_path)

    assert isinstance(again.exception, UsageError)
    assert "already contains a search" in str(again.exception)


def test_a_search_that_was_killed_before_its_first_level_leaves_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "found" / "levels").mkdir(parents=True)
    result = capacity(monkeypatch, tmp_path)

    assert result.exit_code == 0
    assert (tmp_path / "found" / "capacity.json").exists()


@pytest.mark.parametrize(
    "option", ["--users", "-u", "--arrival-rate=3/s", "--run-time", "--warmup", "--budget"]
)
def test_options_that_the_search_sets_for_each_level_are_refused(
    tmp_path: Path, option: str
) -> None:
    with pytest.raises(UsageError, match=r"the search sets .* for each level"):
        prepare_search(
            ServiceOptions(), [Path("calls.py")], build_plan(), tmp_path, [option, "3"], yes=False
        )


def test_the_service_options_of_a_search_are_passed_to_its_runs(tmp_path: Path) -> None:
    options = ServiceOptions(targets=("west",), target_file=tmp_path / "t.yaml", max_message_mib=3)

    assert options.arguments() == [
        "--targets",
        "west",
        "--target-file",
        str(tmp_path / "t.yaml"),
        "--max-message-mib",
        "3",
    ]


def test_a_level_is_started_with_the_command_of_a_run(tmp_path: Path) -> None:
    task = LevelTask("03-level-8", 8, 60.0, 5.0, budget_usd=2.0)
    words = LocustCommand(
        [Path("calls.py")], "concurrency", tmp_path, ["--url", "ws://here"]
    ).arguments(task)

    assert words[:2] == ["-f", "calls.py"]
    assert words[-2:] == ["--url", "ws://here"]
    joined = " ".join(words)
    for part in (
        "--users 8",
        "--spawn-rate 1.6",
        "--session-pause 0",
        "--warmup 6s",
        "--budget 2.0",
        "--name 03-level-8",
    ):
        assert part in joined


def test_a_level_of_arrivals_has_slots_for_long_calls(tmp_path: Path) -> None:
    ample = " ".join(
        LocustCommand([Path("calls.py")], "arrival_rate", tmp_path).arguments(
            LevelTask("a", 30, 60.0, 5.0)
        )
    )
    given = " ".join(
        LocustCommand([Path("calls.py")], "arrival_rate", tmp_path).arguments(
            LevelTask("a", 30, 60.0, 5.0, max_concurrent=12)
        )
    )

    assert "--arrival-rate 30/min --max-concurrent 150" in ample
    assert "--max-concurrent 12" in given


def test_several_files_and_the_options_of_locust_are_passed_to_the_levels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared: list[tuple[object, ...]] = []

    def record(*given: object, **_: object) -> PreparedSearch:
        prepared.append(given)
        raise UsageError("enough")

    monkeypatch.setattr(playing, "prepare_search", record)
    (tmp_path / "b.yaml").touch()
    files = [written_file(tmp_path), tmp_path / "b.yaml"]
    words = [
        *map(str, files),
        "--thresholds",
        "ttfa: med<1s",
        "-o",
        str(tmp_path / "found"),
        "--",
        "--processes",
        "3",
    ]
    call("capacity", *words)

    assert (prepared[0][1], prepared[0][4]) == (files, ["--processes", "3"])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-f", "calls.py"], "capacity takes files without -f: "),
        (["calls.py", "--slo", "ttfa p(95)<800"], "--thresholds"),
        (["none.yaml", "--thresholds", "ttfa: med<1s"], "none.yaml: no such file"),
        (["calls.py"], 'add --thresholds "ttfa: p(95)<800"'),
        (["calls.py", "--thresholds", "ttfa p(95)<800"], 'write "ttfa: p(95)<800"'),
    ],
)
def test_another_form_of_the_command_is_refused_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(written_file(tmp_path).parent)
    monkeypatch.setattr("sys.argv", ["rtbench", "capacity", *words])
    with pytest.raises(SystemExit) as ended:
        app.main()
    (line,) = capsys.readouterr().err.splitlines()

    assert ended.value.code == 2
    assert problem in line
