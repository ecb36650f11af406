"""The table states for each listed target all that a reader needs to check its values."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.catalogue.reference_workload import TYPED
from bench.record import finalize
from reports.analysis.reference.run_digest import RAW_FILES, run_digest
from reports.pages.reference.table import link_of, reference_table
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from tests.command_line import call, call_or_raise
from tests.reports import synthetic
from tests.reports.reference.builders import ANSWER_MS, YIELD_MS, reference_plan, write_reference
from tests.reports.schema_problems import problems
from tests.reports.synthetic import MODEL, Plan


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the folders of four runs: spoken, typed, too small, and with other scripts."""
    parent = tmp_path_factory.mktemp("runs")
    return [
        write_reference(parent / "spoken", run_id="spoken"),
        write_reference(parent / "typed", TYPED, run_id="typed"),
        write_reference(parent / "small", plan=reference_plan(sessions=10), run_id="small"),
        synthetic.write(parent / "other", Plan()),
    ]


@pytest.fixture(scope="module")
def made(folders: list[Path]) -> tuple[int, str, Path]:
    """Return the exit status of the command, what it printed, and the folder of its files and of the runs."""
    return *call_or_raise("reference", *folders, "--out", folders[0].parent), folders[0].parent


def test_the_document_has_a_row_for_each_listed_target_and_reasons_for_the_others(
    folders: list[Path], made: tuple[int, str, Path]
) -> None:
    data = json.loads((made[2] / "reference.json").read_text(encoding="utf-8"))

    spoken, typed = data["listed"]
    assert problems("reference", data) == []
    assert [spoken["form"], typed["form"]] == ["spoken", "typed"]
    assert (spoken["model"], spoken["region"], spoken["dialect"]) == (MODEL, "Sweden Central", "ga")
    assert (spoken["tool_version"], spoken["workload_version"]) == ("0.1.0", "1")
    assert (spoken["load"], spoken["sessions"], spoken["turns_planned"]) == ("8 users", 230, 1150)
    assert (spoken["link"], spoken["digest"]) == ("spoken", run_digest(folders[0]))
    assert [metric["metric"] for metric in spoken["metrics"]] == [
        *("voice_to_voice", "function_voice_to_voice", "barge_in_yield"),
    ]
    assert spoken["metrics"][1]["p50"]["value"] == ANSWER_MS + 3
    assert spoken["metrics"][2]["p95"]["value"] == YIELD_MS + 5
    assert {reason["code"] for row in data["not_listed"] for reason in row["reasons"]} == {"too_small", "not_reference"}


def test_the_page_has_a_table_for_each_form_and_a_line_for_each_missing_target(folders: list[Path]) -> None:
    page = reference_table([(folder, None) for folder in folders], folders[0].parent, "https://example.com/runs/").page
    html, markdown = render_html(page), render_markdown(page)

    assert page.headline == "2 of 4\u00a0targets are listed"
    assert "Spoken: the caller speaks" in html
    assert "Typed: the caller sends text" in html
    assert 'href="https://example.com/runs/spoken"' in html
    assert "(<https://example.com/runs/typed>)" in markdown
    assert (
        "sim of 20261120T091400Z-voice_turns: the run contains no script of the reference workload"
        in markdown.replace("\\_", "_")
    )


@pytest.mark.parametrize(
    ("folder", "base", "url"),
    [
        ("runs/a b", None, "runs/a%20b"),
        ("runs/javascript:x", None, "runs/javascript%3Ax"),
        ("javascript:x", None, "javascript%3Ax"),
        ("runs/a", "https://example.com/my runs/", "https://example.com/my%20runs/a"),
        ("runs/a b", "http://host:8080/x", "http://host:8080/x/a%20b"),
    ],
)
def test_a_link_leads_to_the_folder_of_the_run(tmp_path: Path, folder: str, base: str | None, url: str) -> None:
    assert link_of(tmp_path / folder, tmp_path, base) == url


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://host/x", "https://", "https://me:pw@host", "x", "http://h?a"]
)
def test_a_link_that_is_no_address_of_a_folder_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="must be the address of the folder that contains the runs"):
        link_of(tmp_path, tmp_path, url)


def test_the_digest_covers_the_raw_files_as_documented(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", Plan())
    lines = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in RAW_FILES)

    assert sorted(RAW_FILES) == list(RAW_FILES)
    assert run_digest(folder) == hashlib.sha256(lines.encode()).hexdigest()
    (folder / "report.html").write_text("a report")
    assert run_digest(folder) == hashlib.sha256(lines.encode()).hexdigest()
    (folder / "turns.parquet").write_bytes(b"changed")
    assert run_digest(folder) != hashlib.sha256(lines.encode()).hexdigest()


def test_a_run_without_all_raw_files_has_no_digest(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", Plan())
    (folder / "seconds.parquet").unlink()

    with pytest.raises(UsageError, match=r"run has no seconds\.parquet: name the folder of a run that has ended"):
        run_digest(folder)


def test_the_command_exits_4_if_no_target_is_listed(folders: list[Path], tmp_path: Path) -> None:
    status, printed = call_or_raise("reference", f"{folders[2]}:sim", "--out", tmp_path)

    assert status == 4
    assert "NOTHING LISTED" in printed


def test_the_command_prints_digests_and_writes_nothing(folders: list[Path]) -> None:
    before = sorted(folders[0].iterdir())

    assert call("reference", "--digest", folders[0]).output == f"{run_digest(folders[0])}  {folders[0]}\n"
    assert sorted(folders[0].iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["{0}", "{0}"], "sim of .* is named 2 times: name it once"),
        (["{0}:west"], "has no target west"),
        (["/nowhere"], "nowhere"),
        (["{0}", "--link", "x"], "--link x must be the address"),
    ],
)
def test_wrong_arguments_are_refused(folders: list[Path], tmp_path: Path, arguments: list[str], problem: str) -> None:
    words = [word.format(*folders) for word in arguments]

    with pytest.raises(UsageError, match=problem):
        call_or_raise("reference", *words, "--out", tmp_path)


def test_a_killed_run_is_finalized_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = synthetic.write_killed(tmp_path / "killed", Plan())
    monkeypatch.setattr(finalize, "writer_is_gone", lambda folder, document: True)
    status, printed = call_or_raise("reference", folder)

    assert status == 4
    assert (folder / "turns.parquet").exists()
    assert re.search(r"not listed +sim of killed: ", printed)
