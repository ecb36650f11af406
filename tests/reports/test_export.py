"""The export of rows, histograms and profiles for other tools. The exported data equal the data
of the run.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.base.errors import UsageError
from bench.catalogue.columns import UNCERTAINTY_COLUMNS
from bench.record import folder as run_folder
from bench.record import histograms as hdr
from bench.record.document import SCHEMA_VERSION
from bench.record.folder import SCHEMAS
from bench.record.spool import HISTOGRAMS, path_of
from reports.data import export as export_rows
from reports.data.export import (
    TABLES,
    Format,
    export_log,
    export_schema,
    export_tables,
    write_table,
)
from tests.command_line import call
from tests.reports import synthetic
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=12, turns=4, failed=0.2, refused=1, usage=True, kinds=("vad", "typed"))


def read_back(path: Path, table: run_folder.TableName, form: Format) -> pa.Table:
    """Read an exported file.

    For CSV, use the types of `table`, because only a Parquet file contains the types of its
    columns.
    """
    schema = export_schema(table)
    if form == "parquet":
        return pq.read_table(path)
    types = {field.name: field.type for field in schema}
    options = pa_csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    return pa_csv.read_csv(path, convert_options=options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rtbench.Run:
    """Return a run. Tests share it, so they must not change it."""
    return rtbench.load(synthetic.write(tmp_path_factory.mktemp("kept") / "run", PLAN))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("table", TABLES)
def test_an_exported_table_reads_back_with_its_types_and_metrics(
    tmp_path: Path, run: rtbench.Run, table: run_folder.TableName, form: Format
) -> None:
    written = export_tables(run.folder, form, tmp_path / "out")[TABLES.index(table)]
    found, frame = read_back(written.path, table, form), getattr(run, table)

    assert found.schema.equals(export_schema(table))
    assert written.count == len(found) == len(frame)
    of_frame = [
        name for name in found.column_names if table != "turns" or name not in UNCERTAINTY_COLUMNS
    ]
    assert of_frame == [name for name in frame.columns if name not in ("start", "measured")]
    assert found.select(SCHEMAS[table].names).equals(run_folder.read_table(run.folder, table))
    for name in set(found.column_names) - set(SCHEMAS[table].names):
        values = found[name].to_pandas()
        if name == "outcome_class":
            assert values.tolist() == frame[name].tolist()
        else:
            np.testing.assert_array_equal(
                values.to_numpy(dtype=float), frame[name].to_numpy(dtype=float)
            )


def test_exported_rows_do_not_depend_on_the_batch_size(
    run: rtbench.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pa.concat_tables(export_rows.rows(run.folder, "turns"))
    monkeypatch.setattr(export_rows, "AT_ONCE", 7)
    pieces = list(export_rows.rows(run.folder, "turns"))

    assert max(map(len, pieces)) == 7
    assert pa.concat_tables(pieces).equals(expected)


def test_the_spool_of_an_unfinished_run_is_exported(tmp_path: Path) -> None:
    folder = synthetic.write_killed(tmp_path / "run", Plan(sessions=20, turns=4))
    first = path_of(folder, 0, HISTOGRAMS)
    path_of(folder, 1, HISTOGRAMS).write_text(first.read_text())
    run = rtbench.load(folder)
    turns, _, _ = export_tables(folder, "parquet", tmp_path / "out")
    log = export_log(folder, tmp_path / "out")

    assert turns.count == len(run.turns) > 0
    found = hdr.read(log.path)
    assert {key: h.get_total_count() for key, h in found.items()} == {
        key: h.get_total_count() for key, h in run.histograms.items()
    }
    assert "SIMULATED" in log.path.read_text()
    assert (folder / "spool").is_dir()


def test_the_exported_log_of_an_ended_run_is_identical_to_its_own(
    tmp_path: Path, run: rtbench.Run
) -> None:
    written = export_log(run.folder, tmp_path)
    assert written.path.read_bytes() == run_folder.histograms_path(run.folder).read_bytes()


def test_a_log_of_one_metric_can_be_exported(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", Plan(targets=("a", "b")))
    written = export_log(folder, tmp_path, "delta_gap")

    assert {(key.metric, key.target) for key, _ in hdr.read(written.path).items()} == {
        ("delta_gap", "a"),
        ("delta_gap", "b"),
    }
    assert written.count == 2
    with pytest.raises(UsageError, match=r"has no histogram of ttft; it has .*delta_gap"):
        export_log(folder, tmp_path, "ttft", force=True)
    assert written.path.exists()


def test_an_empty_run_is_exported_as_files_without_rows(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_folder.write_document(
        folder.mkdir() or folder, {"schema": SCHEMA_VERSION, "started_utc_ns": 1, "state": "ended"}
    )

    for form in ("csv", "parquet"):
        written = export_tables(folder, form, tmp_path / "out")  # type: ignore[arg-type]
        assert [one.count for one in written] == [0, 0, 0]
        assert (
            read_back(written[0].path, "turns", form).column_names == export_schema("turns").names
        )  # type: ignore[arg-type]
    assert export_log(folder, tmp_path / "out").count == 0


def test_an_export_overwrites_nothing_without_force(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", PLAN)
    (folder / "export").mkdir()
    (folder / "export" / "turns.csv").write_text("of an earlier export")

    with pytest.raises(UsageError, match=r"turns\.csv exists already; overwrite it with --force"):
        export_tables(folder, "csv")
    assert [path.name for path in (folder / "export").iterdir()] == ["turns.csv"]
    assert len(export_tables(folder, "csv", force=True)) == 3


def test_an_export_never_overwrites_the_run(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", PLAN)
    before = (folder / "turns.parquet").read_bytes()

    with pytest.raises(UsageError, match="is a run folder"):
        export_tables(folder, "parquet", folder, force=True)
    assert (folder / "turns.parquet").read_bytes() == before


def test_an_export_that_fails_is_reported_in_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", PLAN)
    (tmp_path / "file").write_text("")

    with pytest.raises(
        UsageError, match=r"file.* cannot be written: .*; choose another folder with --out"
    ):
        export_tables(folder, "csv", tmp_path / "file" / "out")
    (folder / "turns.parquet").write_bytes(b"no Parquet")
    with pytest.raises(UsageError, match=r"turns\.csv cannot be exported from .*run: [^\n]+$"):
        export_tables(folder, "csv", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@given(texts=st.lists(st.one_of(st.none(), st.text()), min_size=1))
def test_any_text_survives_csv_without_spreadsheet_formulas(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "texts.csv"
    piece = pa.table(
        {"number": pa.array(range(-1, len(texts) - 1)), "text": pa.array(texts, pa.string())}
    )
    write_table(path, "csv", piece.schema, [piece])
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))

    shown = [f"'{text}" if text and text[0] in "=+-@\t\r" else text or "" for text in texts]
    assert found == [
        ["number", "text"],
        *([str(number), text] for number, text in enumerate(shown, -1)),
    ]


def test_an_invalid_run_is_exported_with_a_warning(tmp_path: Path) -> None:
    for valid, warning in ((False, "the run is INVALID: do not use its values"), (True, "")):
        folder = synthetic.write(tmp_path / str(valid), Plan(sessions=2, valid=valid))
        ended = call("runs", "export", folder)

        assert (ended.exit_code, warning in ended.stderr, "INVALID" in ended.output) == (
            0,
            True,
            not valid,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "csv", "--metric", "ttfa"), "--metric needs --format hlog"),
        (("--format", "hlog", "--metric", "tfta"), "unknown metric tfta"),
    ],
)
def test_export_options_that_do_not_apply_are_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    folder = synthetic.write(tmp_path / "run", Plan(sessions=1))
    ended = call("runs", "export", folder, *options)

    assert isinstance(ended.exception, UsageError)
    assert message in str(ended.exception)
