"""A run folder whose name is not UTF-8.

It is read and written like any other folder, and its name is shown with escapes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.columns import DETAIL_CHARACTERS
from bench.record import folder as files
from bench.record.rows import UNTRUSTED, TextSanitizer
from bench.target.target import Credential, redacted
from tests.reports import synthetic
from tests.reports.synthetic import BEGAN_NS, Plan
from tests.system.attack.steering import isolated_commands, output_of

__all__ = ["isolated_commands"]

NAME = os.fsdecode(b"on\xffe")
SHOWN = r"on\udcffe"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's working folder with two runs. The name of one run is not UTF-8."""
    runs = tmp_path / "runs"
    synthetic.write(runs / "one", Plan(sessions=40)).rename(runs / NAME)
    synthetic.write(runs / "two", Plan(sessions=40), started_utc_ns=BEGAN_NS + 10**12)
    (tmp_path / "ci.yaml").write_text("ttfa:\n  - p(95)<2500\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["report", NAME], f"runs/{SHOWN}/report.html"),
        (["check", NAME, "--thresholds", "ci.yaml"], f"runs/{SHOWN}/check.md"),
        (["check", "two", "--baseline", f"runs/{NAME}"], "runs/two/check.md"),
        (["report", "--open", NAME], f"runs/{SHOWN}/report.html"),
        (["compare", NAME, "two"], "runs/two/compare.html"),
        (["compare", "two", NAME], f"runs/{SHOWN}/compare.html"),
        (["runs", "export", NAME, "--format", "csv"], f"runs/{SHOWN}/export/seconds.csv"),
        (["runs", "merge", f"runs/{NAME}", "-o", "merged"], "merged"),
    ],
)
def test_a_command_reads_a_run_whose_name_is_not_utf_8(
    home: Path, command: list[str], last: str
) -> None:
    output = output_of(*command)

    assert output.splitlines()[-1].startswith(last), output


def test_a_run_whose_name_is_not_utf_8_is_listed_and_in_the_trend(home: Path) -> None:
    assert SHOWN in output_of("runs")
    assert {each["name"] for each in json.loads(output_of("runs", "--json"))["runs"]} == {
        NAME,
        "two",
    }
    output_of("report", "two")
    assert SHOWN in " ".join(
        notice for notice in json.loads(output_of("trend", "--json"))["notices"]
    )
    output_of("report", NAME)
    assert output_of("trend").splitlines()[-1] == "runs/trend.html"
    assert 'href="on%FFe/report.html"' in (home / "runs" / "trend.html").read_text(encoding="utf-8")


def test_a_killed_run_whose_name_is_not_utf_8_is_closed(home: Path) -> None:
    killed = home / "killed"
    synthetic.write_killed(killed, Plan(sessions=10))
    # the writer is the parent: this process acts as the child that finalizes the run
    writer = {"host": socket.gethostname(), "pid": os.getppid()}
    files.write_document(killed, files.read_document(killed) | {"writer": writer})
    killed.rename(home / "runs" / f"{NAME}-killed")

    assert (
        output_of("report", f"{NAME}-killed").splitlines()[-1] == f"runs/{SHOWN}-killed/report.html"
    )
    assert (home / "runs" / f"{NAME}-killed" / "turns.parquet").stat().st_size


# Text in rows: secrets are removed, and a whole column is cleaned with the same result as each of
# its texts.


SECRETS = (Credential("api-key", "of-ours-1"), Credential("Authorization", "two words", "Bearer"))
PARTS = st.sampled_from(
    [
        "of-ours-1",
        "of-ours",
        "-1",
        "two words",
        "two",
        "words",
        "wss://someone:secret@host",
        "wss://someone",
        "@host",
        "ok",
        "::",
        "error",
        "##vso[",
        "\ud800",
        "\n",
        "\x1b[2J",
        "x" * (DETAIL_CHARACTERS - 3),
    ]
)
TEXTS = st.none() | st.text(max_size=5) | st.lists(PARTS, max_size=4).map("".join)


def words() -> TextSanitizer:
    return TextSanitizer(lambda text: redacted(text, SECRETS))


@given(st.sampled_from([*sorted(UNTRUSTED), "step"]), st.lists(TEXTS, max_size=6))
def test_cleaning_a_column_equals_cleaning_each_text(column: str, texts: list[str | None]) -> None:
    one_by_one = [None if text is None else words().clean(column, text) for text in texts]

    assert list(words().clean_column(column, texts)) == one_by_one


def test_only_the_texts_of_a_row_are_cleaned() -> None:
    row = {"close_reason": "of-ours-1\n", "turn": 7, "step": "of-ours-1"}

    assert words().clean_row(row) == row | {"close_reason": "***\\n"}
