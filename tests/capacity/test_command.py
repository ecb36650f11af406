"""The command `rtbench capacity`. The tests simulate the steps of the search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
from typer.testing import Result

from bench.base.errors import UsageError
from bench.target.target_settings import ServiceOptions
from rtbench.capacity import level_run as playing
from rtbench.capacity.document import LevelEntry
from rtbench.capacity.level_run import LevelTask, LocustCommand, PreparedSearch, prepare_search
from rtbench.capacity.search import Search
from rtbench.cli import app
from tests.capacity.built import build_level, build_plan, build_share
from tests.capacity.searched import CROSSED, CURVE
from tests.command_line import call
from tools.schemas import schemas

FORECAST: dict[str, Any] = {
    "scenario": "calls",
    "connect_rate": None,
    "call_s": 0.0,
    "lacking": (),
}
Step = Callable[[], LevelEntry | None]
RAMPS: list[Step] = [lambda: None, lambda: None]
LEVELS: list[Step] = [
    lambda: build_level(11, "pass"),
    lambda: build_level(16, "fail", violations=[build_share()]),
]


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def written_file(folder: Path) -> Path:
    (file := folder / "calls.py").touch()
    return file


def capacity(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str, steps: list[Step] = RAMPS
) -> Result:
    def run(search: Search) -> Iterator[LevelEntry | None]:
        for step in steps:
            if (level := step()) is not None:
                search.levels.append(level)
            yield level

    monkeypatch.setattr(Search, "run", run)
    monkeypatch.setattr(Search, "_answer", lambda _: CROSSED)
    monkeypatch.setattr(Search, "_curve", lambda _: CURVE)
    locust = LocustCommand([Path("calls.py")], folder / "levels")
    monkeypatch.setattr(
        playing, "prepare_search", lambda *_, **__: PreparedSearch(locust, "west", (), FORECAST)
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


def document_in(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "found" / "capacity.json").read_text())
    return document


def test_the_range_is_printed_and_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = capacity(monkeypatch, tmp_path)
    document = document_in(tmp_path)

    assert result.exit_code == 0, result.output
    assert "P95 of ttfa crosses 800 ms at about 13 concurrent calls (95 % interval" in result.output
    assert "`--verify` adds up to 3 levels at its ends" in result.output
    assert (document["estimate"]["numbers"]["low"], document["highest_pass"]) == (11, None)
    assert (document["plan"]["first"], document["plan"]["max"]) == (2, 256)
    jsonschema.validate(document, schemas()["capacity"])
    assert "<svg" in (tmp_path / "found" / "capacity.html").read_text()


def test_what_levels_showed_is_printed_and_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = capacity(monkeypatch, tmp_path, "--verify", steps=[*RAMPS, *LEVELS])
    document = document_in(tmp_path)

    assert result.exit_code == 0, result.output
    assert "Passes at 11 and fails at 16 concurrent calls" in result.output
    assert "50 of 100   ✕ fail: 40 to 60 %, limit 5 %" in result.output
    assert [document[key] for key in ("highest_pass", "lowest_fail", "notes")] == [11, 16, []]
    assert len(document["levels"]) == 2
    jsonschema.validate(document, schemas()["capacity"])


def test_the_result_is_saved_if_it_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rtbench.capacity.terminal.closing_lines", lambda _: 1 / 0)

    assert isinstance(capacity(monkeypatch, tmp_path).exception, ZeroDivisionError)
    assert {"capacity.json", "capacity.html"} <= {
        path.name for path in (tmp_path / "found").iterdir()
    }


@pytest.mark.parametrize(
    ("options", "required", "most"),
    [
        (("--require", "11"), 11, 256),
        (("--require", "300"), 300, 300),
        (("--from", "300"), None, 300),
        (("--to", "1"), None, 1),
    ],
)
def test_the_highest_load_is_at_least_the_required_and_the_first_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    required: int | None,
    most: int,
) -> None:
    capacity(monkeypatch, tmp_path, *options)
    plan = document_in(tmp_path)["plan"]

    assert (plan["required"], plan["max"]) == (required, most)


@pytest.mark.parametrize(
    ("options", "time_s"), [((), 180.0), (("--verify",), 1800.0), (("--max-time", "40m"), 2400.0)]
)
def test_the_time_of_a_search_depends_on_whether_levels_verify_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], time_s: float
) -> None:
    capacity(monkeypatch, tmp_path, *options)

    assert document_in(tmp_path)["plan"]["time_s"] == time_s


def test_a_threshold_without_data_in_the_script_is_refused_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacks = {
        "name": "talk",
        "turns": [{"step": "a", "lacks": {"speech_end": "it has no spoken turn"}}],
        "session": {},
    }
    locust = LocustCommand([Path("calls.py")], tmp_path / "levels")
    ready = PreparedSearch(locust, "west", (), FORECAST | {"lacking": [lacks]})
    monkeypatch.setattr(Search, "run", lambda _: pytest.fail("a ramp was played"))
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


@pytest.mark.parametrize(
    ("steps", "levels", "status"),
    [([], 0, 130), (RAMPS, 0, 130), ([*RAMPS, LEVELS[0]], 1, 130)],
    ids=["in the first ramp", "after the ramps", "in the second level"],
)
def test_an_interrupted_search_saves_its_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, steps: list[Step], levels: int, status: int
) -> None:
    result = capacity(monkeypatch, tmp_path, "--verify", steps=[*steps, interrupt])
    document = document_in(tmp_path)

    assert result.exit_code == status
    assert (document["ended"], len(document["levels"])) == ("interrupted", levels)
    assert "The search ended early" in (tmp_path / "found" / "capacity.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-time", "20s"), "is too short for a search: use at least 27 s"),
        (("--max-time", "40s", "--verify"), "is too short for a search: use at least 54 s"),
        (("--max-time", "soon"), "--max-time must be a time"),
        (("--from", "20", "--to", "10"), "is higher than"),
        (("--require", "20", "--to", "10"), "--require 20 is higher than --to 10"),
        (("--budget", "0"), "--budget must be more than 0"),
        (("--thresholds", "ttfa: p(95)<+20%"), "is relative"),
    ],
)
def test_invalid_options_are_refused_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = capacity(monkeypatch, tmp_path, *options)

    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert not (tmp_path / "found").exists()


def test_each_ramp_and_level_is_saved_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A search that is killed cannot save anything later."""
    saved: list[tuple[str, int]] = []

    def look() -> None:
        document = document_in(tmp_path)
        saved.append((document["ended"], len(document["levels"])))

    steps = [*RAMPS, look, LEVELS[0], look, LEVELS[1], look]
    capacity(monkeypatch, tmp_path, "--verify", steps=steps)

    assert saved == [("interrupted", 0), ("interrupted", 1), ("interrupted", 2)]


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
def test_options_that_the_search_sets_for_each_run_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=r"the search sets .* for each run"):
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
    words = LocustCommand([Path("calls.py")], tmp_path, ["--url", "ws://here"]).arguments(task)

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


def test_several_files_and_the_options_of_locust_are_passed_to_the_runs(
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
