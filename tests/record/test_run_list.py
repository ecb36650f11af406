"""The commands that find, list and open runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.record import folder as files
from bench.record.document import SCHEMA_VERSION
from bench.record.run_list import list_runs, newest_run, resolve_run
from rtbench.cli.app import main
from rtbench.cli.runs_table import runs_text
from tests.command_line import call
from tests.record.builders import DAY_NS, rtbench, run, under_way
from tests.reports.synthetic import BEGAN_NS


def test_runs_are_listed_newest_first_with_their_facts(tmp_path: Path) -> None:
    run(tmp_path / "old", labels={"commit": "1a2b3c"})
    run(tmp_path / "new", 2, validity={"status": "invalid"})
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("run.json")
    new, old = list_runs(tmp_path).runs

    assert (new.name, new.validity, old.name, old.validity) == ("new", "invalid", "old", "valid")
    assert (old.labels, old.targets, old.sessions) == ({"commit": "1a2b3c"}, ["sim"], 10)
    assert old.size_bytes == sum(
        path.stat().st_size for path in (tmp_path / "old").rglob("*") if path.is_file()
    )
    assert (old.state, old.under_way, old.simulated) == ("ended", False, True)


def test_a_damaged_document_hides_no_other_run(tmp_path: Path) -> None:
    run(tmp_path / "good")
    for name, text in {
        "cut": '{"schema": 3',
        "wrong": f'{{"schema": {SCHEMA_VERSION}, "state": 7}}',
        "newer": '{"schema": 99}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    listed = list_runs(tmp_path)

    assert [each.name for each in listed.runs] == ["good"]
    assert len(listed.notices) == 3
    # a long path moves the end of a line
    assert " ".join(runs_text(listed).split()).count("not shown: ") == 3


def test_control_characters_of_a_document_are_not_printed(tmp_path: Path) -> None:
    run(tmp_path / "run", labels={"a": "\x1b[2J"}, targets=[{"name": "\x1b]0;x\x07"}])

    assert "\x1b" not in runs_text(list_runs(tmp_path))
    assert "\x1b" not in rtbench("runs", tmp_path, "--json").stdout


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """Return a folder with the folders of two capacity searches and of a comparison. One search
    was killed.
    """
    for name, file in (
        ("a-capacity", "capacity.html"),
        ("killed", "levels"),
        ("compared", "compare.html"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "scripts").mkdir()
    return tmp_path


def test_folders_that_other_commands_wrote_are_named_in_the_list(searched: Path) -> None:
    a, b, c = list_runs(searched).notices

    assert a.endswith(
        f"`rtbench capacity` wrote its capacity.html, which `rtbench report --open"
        f" {searched}/a-capacity` opens"
    )
    assert b.endswith(
        f"`rtbench compare` wrote its compare.html, which `rtbench report --open"
        f" {searched}/compared` opens"
    )
    assert c.endswith("`rtbench capacity` wrote its levels; name one of its runs")


@pytest.mark.parametrize("command", ["report", "compare", "check"])
def test_a_folder_of_runs_is_refused_with_the_command_that_lists_them(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").touch()
    found = call(command, tmp_path)

    assert isinstance(found.exception, UsageError)
    assert f"it contains runs, which `rtbench runs {tmp_path}` lists" in str(found.exception)


@pytest.mark.parametrize("command", ["report", "check", "report --open"])
def test_a_folder_that_is_no_run_is_named_by_its_writer(searched: Path, command: str) -> None:
    found = call(*command.split(), searched / "killed")

    assert isinstance(found.exception, UsageError)
    assert "is not a run folder: it has no run.json; `rtbench capacity` wrote its levels" in str(
        found.exception
    )


def test_an_existing_folder_is_not_called_missing(searched: Path) -> None:
    with pytest.raises(UsageError, match=r"scripts is not a run folder: it has no run\.json$"):
        resolve_run("scripts", searched)


def test_a_folder_without_runs_is_reported_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    # the text may be wrapped
    assert "".join(rtbench("runs", tmp_path).stdout.split()) == f"{tmp_path}hasnoruns"
    with pytest.raises(UsageError, match=r"no runs in .*nowhere \(No such file"):
        list_runs(tmp_path / "nowhere")


def test_a_run_is_found_by_its_name_and_by_its_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "one")

    assert resolve_run("one", tmp_path) == resolve_run(str(folder), Path("elsewhere")) == folder
    with pytest.raises(UsageError, match="there is no run two"):
        resolve_run("two", tmp_path)


def test_a_name_means_the_newest_run_that_has_it(tmp_path: Path) -> None:
    begins = "20261128T091400Z", "20261129T091400Z"
    older, newer = (run(tmp_path / f"{begin}-before") for begin in begins)
    run(tmp_path / "20261130T091400Z-not-before")

    assert resolve_run("before", tmp_path) == newer
    assert resolve_run(older.name, tmp_path) == older


def test_the_newest_run_is_not_one_that_is_under_way(tmp_path: Path) -> None:
    run(tmp_path / "zero")
    newest = run(tmp_path / "one", 2)
    run(tmp_path / "three", 1)
    under_way(tmp_path / "live", pid=os.getpid())
    document = files.read_document(tmp_path / "live") | {"started_utc_ns": BEGAN_NS + 9 * DAY_NS}
    files.write_document(tmp_path / "live", document)

    assert newest_run(tmp_path) == newest
    with pytest.raises(UsageError, match=r"no run in .* has ended"):
        newest_run(tmp_path / "live")


def test_a_sample_size_without_a_name_uses_the_newest_valid_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "runs" / "one")
    run(tmp_path / "runs" / "two", 1, validity={"status": "invalid"})
    monkeypatch.chdir(tmp_path)

    assert rtbench("sample-size").stderr.startswith("rtbench: runs/one, the newest valid run\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder. The default folder of runs in it contains two runs."""
    folder = tmp_path_factory.mktemp("home")
    run(folder / "runs" / "one")
    run(folder / "runs" / "two", 1)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "report",
        "check",
        "compare",
        "runs replay",
        "runs export --format csv",
        "sample-size --detect 40%",
        "baseline save",
    ],
)
def test_a_command_without_a_name_uses_and_prints_the_newest_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(home)

    assert rtbench(*command.split()).stderr.startswith("rtbench: runs/two, the newest run\n")


def test_a_run_of_a_command_may_be_given_by_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)

    assert rtbench("report", "one").stdout.splitlines()[-1] == "runs/one/report.html"
    assert rtbench("compare", "one", "two").stdout.splitlines()[-1] == "runs/two/compare.html"


def test_open_shows_the_newest_page_and_creates_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda page: opened.append(page) or len(opened) == 1)
    run(tmp_path / "old")
    newest = run(tmp_path / "new", 1)
    (newest / "report.html").write_text("made before")
    ended = rtbench("report", "--open", "--runs-dir", tmp_path)

    assert ended.stdout == f"{newest / 'report.html'}\n"
    assert (newest / "report.html").read_text() == "made before"
    assert (
        rtbench("report", "--open", "old", "--runs-dir", tmp_path).stdout
        == f"no browser was found, so nothing was opened:\n{tmp_path / 'old' / 'report.html'}\n"
    )
    assert (tmp_path / "old" / "report.html").stat().st_size
    assert opened == [(tmp_path / name / "report.html").as_uri() for name in ("new", "old")]


def test_open_creates_no_page_for_a_run_under_way(tmp_path: Path) -> None:
    under_way(tmp_path / "live", pid=os.getpid())
    ended = rtbench("report", "--open", "live", "--runs-dir", tmp_path)

    assert "is in progress and has no report yet" in str(ended.exception)
    assert not (tmp_path / "live" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "--bogus"], "rtbench: No such option: --bogus; see rtbench check --help\n"),
        (["bogus"], "rtbench: there is no command 'bogus'; the commands are quickstart, init,"),
        (["runs", "merge"], "rtbench: Missing argument 'PART…'; see rtbench runs merge --help\n"),
        (
            ["runs", "export", "--format", "x"],
            "rtbench: Invalid value for '--format': 'x' is not one of",
        ),
    ],
)
def test_an_invalid_command_line_gives_one_line(
    words: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["rtbench", *words])
    with pytest.raises(SystemExit) as ended:
        main()

    printed = capsys.readouterr().err
    assert (ended.value.code, printed.count("\n")) == (2, 1)
    assert printed.startswith(expected)
