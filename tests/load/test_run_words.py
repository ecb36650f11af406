"""Which words of `rtbench run` are scripts, and which are for Locust."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.load.planning.run_words import RunWords, locust_file, run_words, scenario_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "other.yml", "callers.py", "notes.txt", "plain"):
        Path(name).touch()
    Path("scripts").mkdir()
    return tmp_path


def read(line: str, free: str) -> RunWords:
    """`free`: the words that no option takes, of which each stands once."""
    words = line.split()
    return run_words(words, {words.index(word) for word in free.split()})


def test_files_may_stand_anywhere_and_the_other_words_keep_their_order() -> None:
    said = read(
        "-u 4 mine.yaml --thresholds ci.yaml callers.py Caller other.yml -t 1m", "mine.yaml callers.py Caller other.yml"
    )

    assert said.scripts == (Path("mine.yaml"), Path("other.yml"))
    assert said.locust_files == (Path("callers.py"),)
    assert said.others == ("-u", "4", "--thresholds", "ci.yaml", "Caller", "-t", "1m")


def test_a_file_that_is_also_the_value_of_an_option_stays_its_value() -> None:
    assert run_words(["--thresholds", "mine.yaml", "mine.yaml"], {2}).others == ("--thresholds", "mine.yaml")


def test_a_file_that_is_named_twice_is_played_once() -> None:
    assert run_words(["mine.yaml", "mine.yaml"], {0, 1}) == RunWords((Path("mine.yaml"),), (), ())


@pytest.mark.parametrize(
    ("line", "free", "problem"),
    [
        ("-u 4", "", "name a script to run: rtbench run mine.yaml -u 4 --sessions 40"),
        ("--unknown", "--unknown", "name a script to run"),
        ("mine -u 4", "mine", "mine: no such file; name a script to run"),
        ("nowhere.yaml", "nowhere.yaml", "nowhere.yaml: no such file"),
        ("mine.yaml nowhere.py", "mine.yaml nowhere.py", "nowhere.py: no such file"),
        ("scripts", "scripts", "scripts is a folder: name the scripts in it, such as scripts/mine.yaml"),
        ("notes.txt", "notes.txt", "notes.txt is no script: the name of a script ends in .yaml"),
        ("plain", "plain", "plain is no script"),
        ("-f mine.yaml", "", "takes files without -f: rtbench run mine.yaml"),
        ("--locustfile=mine.yaml", "", "takes files without -f"),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_to_type(line: str, free: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(line, free)

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("names", "scenario"),
    [
        (["mine"], "mine"),
        (["text", "voice"], "text_and_voice"),
        (["a", "b", "c"], "a_and_b_and_c"),
        (["a", "b", "c", "d"], "a_and_b_and_2_more"),
    ],
)
def test_a_run_is_named_after_its_scripts(names: list[str], scenario: str) -> None:
    assert scenario_of([Path(f"scripts/{name}.yaml") for name in names]) == scenario


def test_a_script_is_played_by_the_packaged_locust_file_that_reads_its_path_from_a_variable(folder: Path) -> None:
    named, variables = locust_file(folder / "mine.yaml")

    assert Path(named).suffix == ".py"
    assert list(variables.values()) == [f'["{(folder / "mine.yaml").resolve()}"]']


def test_a_locust_file_is_played_as_it_is(folder: Path) -> None:
    assert locust_file(folder / "load.py") == (str(folder / "load.py"), {})
