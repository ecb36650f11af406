"""The finalization of a run.

A cleanly ended run and a killed run have the same files and totals. Rates are computed from the
rows.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.catalogue.columns import TURN_KEYS, UNCERTAINTY_COLUMNS
from bench.record import folder as files
from bench.record import presence
from bench.record.finalize import finalize
from bench.record.histograms import read
from bench.record.recorder import RowContext
from bench.record.writers import writer_is_gone
from tests.helpers import MS, S, at, build_observation
from tests.record.builders import build_run, contents, finished, kill, labels, leave, tables


@pytest.fixture(scope="module")
def finished_and_closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run that is not finalized, and a finalized copy of it.

    A test copies these folders before it changes them.
    """
    folder = finished(tmp_path_factory.mktemp("finished"))
    whole = Path(shutil.copytree(folder, folder.parent / "whole"))
    finalize(whole)
    return folder, whole


def test_uncertainties_are_in_a_separate_file_with_one_row_per_turn(
    finished_and_closed: tuple[Path, Path],
) -> None:
    _, folder = finished_and_closed
    turns, bounds = (pq.read_table(folder / f"{name}.parquet") for name in ("turns", "uncertainty"))

    assert set(UNCERTAINTY_COLUMNS).isdisjoint(turns.column_names)
    assert bounds.column_names == [*TURN_KEYS, *UNCERTAINTY_COLUMNS]
    assert bounds.select([*TURN_KEYS]).equals(turns.select([*TURN_KEYS]))
    assert bounds["first_audio_uncertainty_ns"].null_count < len(bounds)
    assert not files.no_uncertainty(folder)


LOSSES: dict[str, Callable[[Path], object]] = {
    "it has no uncertainty.parquet": lambda path: path.unlink(),
    "its uncertainty.parquet cannot be read: ": lambda path: path.write_bytes(b"PAR1 torn"),
    "the rows of its uncertainty.parquet do not match its turns": lambda path: pq.write_table(
        pq.read_table(path).slice(1), path
    ),
}


@pytest.mark.parametrize("why", LOSSES)
def test_lost_uncertainties_are_null_and_other_columns_are_unchanged(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, why: str
) -> None:
    folder = Path(shutil.copytree(finished_and_closed[1], tmp_path / "lost"))
    before = files.read_table(folder, "turns")
    LOSSES[why](folder / "uncertainty.parquet")
    rows = files.read_table(folder, "turns")
    batches = files.stored_batches(folder, "turns", rows.column_names, 2)

    assert rows.drop_columns([*UNCERTAINTY_COLUMNS]).equals(
        before.drop_columns([*UNCERTAINTY_COLUMNS])
    )
    assert {rows[name].null_count for name in UNCERTAINTY_COLUMNS} == {len(rows)}
    assert pa.Table.from_batches(batches) == rows
    assert files.no_uncertainty(folder).startswith(why)


def kill_early(folder: Path) -> None:
    """Change the folder to its state after the writer was killed before it wrote its histograms."""
    kill(folder)
    for path in (folder / "spool").glob("histograms-*.hlog"):
        path.unlink()


def closed_and_killed(folder: Path) -> Path:
    """Finalize a run and a copy of it, and return the copy. The copy was killed before it wrote
    its histograms.
    """
    killed = folder.parent / "killed"
    shutil.copytree(folder, killed)
    kill_early(killed)
    finalize(folder)
    finalize(killed)
    return killed


@pytest.mark.parametrize("how", [kill, kill_early])
def test_a_killed_run_has_the_rows_and_totals_of_a_clean_run(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, how: Callable[[Path], object]
) -> None:
    unclosed, clean = finished_and_closed
    killed = Path(shutil.copytree(unclosed, tmp_path / "killed"))
    how(killed)
    ended, cut = files.read_document(clean), finalize(killed)

    assert tables(killed) == tables(clean)
    assert cut["totals"] == ended["totals"]
    assert (ended["state"], cut["state"]) == ("ended", "killed")
    assert "killed" in cut["stop_reason"]
    assert cut["ended_utc_ns"] == ended["ended_utc_ns"]


TYPED = {"request_sent": at(0), "first_audio": at(200), "ended": at(900)}


def test_labels_beyond_the_32nd_share_a_histogram_after_a_kill_and_a_clean_end(
    tmp_path: Path,
) -> None:
    """Each worker stores the first labels that it records, whether their turns succeeded or
    failed.
    """
    folder, recorders = build_run(tmp_path, 2)
    for recorder, numbers in zip(recorders, (range(40), range(39, -1, -1)), strict=True):
        record = recorder.session(labels(1))
        for number in numbers:
            outcome = "failed:x" if number % 5 == 0 else "ok"
            record.turn_ended(build_observation(step=f"step_{number}", outcome=outcome))
        recorder.close()
    killed = closed_and_killed(folder)

    of_rows, whole = (contents(read(files.histograms_path(one))) for one in (killed, folder))
    assert of_rows == {tag: whole[tag] for tag in of_rows}
    assert sum(whole["ttfa|simulator|voice_turns.other|measurement"].values()) == 13


def test_a_run_that_was_killed_before_its_first_flush_can_be_closed(tmp_path: Path) -> None:
    folder, _ = build_run(tmp_path)
    document = finalize(folder)

    assert (document["state"], document["validity"]["status"]) == ("killed", "invalid")
    assert document["totals"]["turns"] == {}
    # turns may have begun, and no bound is known
    assert [entry["turns"] for entry in document["missing_workers"]] == [None]
    assert all(rows == [] for rows in tables(folder).values())


def test_open_turns_of_a_killed_run_are_counted_as_missing(tmp_path: Path) -> None:
    """25 turns have started, but only 21 rows were written."""
    folder, (recorder,) = build_run(tmp_path)
    record = recorder.session(labels(0))
    for turn in range(1, 26):
        record.turn_started()
        if turn <= 21:
            record.turn_ended(build_observation(turn=turn, start_ns=turn * 10 * S))
    recorder.end_second()
    recorder.flush()
    document = finalize(folder)

    (entry,) = document["missing_workers"]
    assert entry["turns"] >= 4
    (rule,) = (rule for rule in document["validity"]["checks"] if rule["name"] == "missing_data")
    assert rule["value"] >= 16.0
    assert document["validity"]["status"] == "invalid"


def test_closing_twice_changes_nothing(finished_and_closed: tuple[Path, Path]) -> None:
    _, folder = finished_and_closed
    document = files.read_document(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert finalize(folder) == document
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "step", ["_to_parquet", "all_histograms", "_add_rates", "replace_text", "_totals"]
)
def test_a_killed_close_can_be_repeated(
    finished_and_closed: tuple[Path, Path],
    tmp_path: Path,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unclosed, whole = finished_and_closed
    folder = Path(shutil.copytree(unclosed, tmp_path / "again"))
    with monkeypatch.context() as patch:
        patch.setattr(f"bench.record.finalize.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            finalize(folder)

    assert finalize(folder)["totals"] == files.read_document(whole)["totals"]
    assert tables(folder) == tables(whole)
    assert contents(read(files.histograms_path(folder))) == contents(
        read(files.histograms_path(whole))
    )


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


# The data for the verdict on validity.


@pytest.mark.parametrize(("user", "failed"), [(0, set()), (1, {"event_loop_delay"})])
def test_the_event_loop_delay_is_checked_only_with_user_space_timestamps(
    tmp_path: Path, user: int, failed: set[str]
) -> None:
    folder, (recorder,) = build_run(tmp_path)
    recorder.session(labels(1)).turn_ended(build_observation(user_stamps=user))
    recorder.event_loop_delay(90 * MS)
    recorder.close()
    document = finalize(folder)

    assert {
        rule["name"] for rule in document["validity"]["checks"] if rule["result"] == "fail"
    } == failed
    assert document["receive_timestamp_source"] == ("mixed" if user else "kernel")


def test_uncertainties_in_the_warmup_are_not_checked(tmp_path: Path) -> None:
    folder, (recorder,) = build_run(tmp_path)
    warm = RowContext("w0-1", "simulator", "s", "s", phase="warmup")
    recorder.session(warm).turn_ended(build_observation(uncertainties_ns={"first_audio": S}))
    recorder.session(labels(2)).turn_ended(build_observation(uncertainties_ns={"first_audio": 0}))
    recorder.close()

    assert finalize(folder)["validity"]["status"] == "valid"


# Incidents.


@pytest.mark.parametrize("how", [leave, kill])
def test_the_incidents_of_all_workers_are_in_the_document_in_their_order(
    finished_and_closed: tuple[Path, Path], tmp_path: Path, how: Callable[[Path], object]
) -> None:
    folder, (first, second) = build_run(tmp_path, 2)
    second.incident("auth_refresh", "one")
    first.incident("auth_refresh", "two")
    second.incident("auth_refresh", "three")
    for recorder in (first, second):
        recorder.close()
    how(folder)
    document = finalize(folder)

    assert [(incident["worker"], incident["text"]) for incident in document["incidents"]] == [
        (1, "one"),
        (0, "two"),
        (1, "three"),
    ]
    assert document["totals"]["incident_counts"] == {"auth_refresh": 3}
    assert files.read_document(finished_and_closed[1])["incidents"] == []


# The processes that may finalize a run.


@pytest.mark.parametrize(
    ("document", "gone"),
    [
        ({"state": "ended"}, True),
        ({"state": "killed"}, True),
        ({"state": "running", "writer": {"host": "elsewhere", "pid": 1}}, False),
        ({"state": "running", "writer": {"host": socket.gethostname(), "pid": "?"}}, True),
        ({"state": "running", "writer": {"host": socket.gethostname()}}, True),
    ],
)
def test_the_writer_of_a_run_is_gone_if_its_process_is_gone(
    document: dict[str, Any], gone: bool, tmp_path: Path
) -> None:
    assert writer_is_gone(tmp_path, document) is gone


def test_without_file_locks_the_process_id_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "is_held", lambda _: None)
    writer = {"host": socket.gethostname(), "pid": os.getpid()}

    assert not writer_is_gone(tmp_path, {"state": "running", "writer": writer})


def test_only_a_process_with_the_permission_of_the_writer_may_close_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent process is no permission: process 1 of a container is the parent of each orphan."""
    document = {"state": "closing", "writer": {"host": socket.gethostname(), "pid": os.getppid()}}
    presence.hold(tmp_path)

    assert not presence.may_close(tmp_path)
    monkeypatch.setenv(*presence.permission_to_close(tmp_path / "another run").popitem())
    assert not presence.may_close(tmp_path)
    monkeypatch.setenv(*presence.permission_to_close(tmp_path).popitem())
    assert presence.may_close(tmp_path)
    assert not writer_is_gone(tmp_path, document)


def test_a_close_interrupted_while_removing_the_spool_loses_no_rows(
    finished_and_closed: tuple[Path, Path], tmp_path: Path
) -> None:
    unclosed, closed = finished_and_closed
    folder = Path(shutil.copytree(closed, tmp_path / "cut"))
    document = files.read_document(folder)
    shutil.copytree(unclosed / "spool", folder / "spool")
    for path in (folder / "spool").glob("turns-*"):
        path.unlink()

    assert finalize(folder) == document
    assert tables(folder)["turns"]
    assert not (folder / "spool").exists()
