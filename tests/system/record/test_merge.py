"""Separate runs are merged into one. The rows, histograms and totals are the same, or the error
is one line.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.record import folder as files
from bench.record import presence
from bench.record.finalize import finalize
from bench.record.histograms import read
from bench.record.merging.merge import merge_runs
from bench.record.provenance import named_host, opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import EVENTS, SPOOL, Spool
from rtbench.cli.runs import merge
from tests.examples import few
from tests.helpers import AT_NS, MS, S, build_session
from tests.record.builders import contents, play
from tests.system.record.parts import (
    BEGAN_NS,
    SCRIPT,
    TARGET,
    build_part,
    changed,
    closed,
    copied,
    log_events,
)

RENAMED = {"run_id", "session_id", "worker", "pair", "block"}


def rows(folder: Path, table: files.TableName) -> list[dict[str, Any]]:
    return files.read_table(folder, table).to_pylist()


def kept(folder: Path, table: files.TableName) -> list[str]:
    """Return the rows of a table without the columns that a merge renames, sorted."""
    return sorted(
        repr({k: v for k, v in row.items() if k not in RENAMED}) for row in rows(folder, table)
    )


# The result.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of four workers, not yet finalized, which tests split into several runs."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    (folder / SPOOL).mkdir(parents=True)
    document = opening_document("whole", "voice_turns", BEGAN_NS, {}, [TARGET], [SCRIPT], 4, [])
    document |= {
        "state": "closing",
        "stop_reason": "all sessions are done",
        "writer": {"host": "red", "pid": 1},
    }
    files.write_document(folder, document)
    for worker in range(4):
        recorder = Recorder(Spool(folder, worker), BEGAN_NS)
        play(recorder, worker + 1, worker)
        recorder.close()
    return folder


@pytest.fixture(scope="module")
def unsplit(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of `whole`, finalized without a split."""
    return closed(copied(whole, tmp_path_factory.mktemp("unsplit") / "part"))


def split(whole: Path, parent: Path, workers: Iterable[int], number: int) -> Path:
    """Return the parts of some workers as if they were a run."""
    part = parent / f"part-{number}"
    (part / SPOOL).mkdir(parents=True)
    for worker in workers:
        for path in (whole / SPOOL).glob(f"*-{worker}.*"):
            shutil.copy(path, part / SPOOL / path.name)
    shutil.copy(whole / "run.json", part / "run.json")
    return part


@given(
    of_part=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    closes=st.lists(st.booleans(), min_size=3, max_size=3),
)
@few
def test_merged_parts_of_a_run_equal_the_whole_run(
    whole: Path,
    unsplit: Path,
    tmp_path_factory: pytest.TempPathFactory,
    of_part: list[int],
    closes: list[bool],
) -> None:
    """Any workers may be in one folder, and any folders may have been finalized before."""
    folder = tmp_path_factory.mktemp("split")
    groups = {
        number: [worker for worker in range(4) if of_part[worker] == number]
        for number in set(of_part)
    }
    parts = [split(whole, folder, workers, number) for number, workers in groups.items()]
    for part, closes_before in zip(parts, closes, strict=False):
        if closes_before:
            finalize(part)

    merged = folder / "merged"
    document = merge_runs(parts, merged)
    for table in files.SCHEMAS:
        assert kept(merged, table) == kept(unsplit, table)
    assert contents(read(merged / "histograms.hlog")) == contents(read(unsplit / "histograms.hlog"))
    expected = files.read_document(unsplit)
    for key in ("totals", "state", "receive_timestamp_source", "simulated", "validity", "hosts"):
        assert document[key] == expected[key], key
    sessions = [row["session_id"] for row in rows(merged, "sessions")]
    assert {row["session_id"] for row in rows(merged, "turns")} <= set(sessions)
    assert len({row["worker"] for row in rows(merged, "seconds")}) == 4


def test_sessions_workers_and_pairs_have_unique_names_in_the_merged_run(tmp_path: Path) -> None:
    parts = [build_part(tmp_path, name, host=name, workers=2) for name in ("red", "blue")]
    merge_runs(parts, tmp_path / "merged")

    sessions = rows(tmp_path / "merged", "sessions")
    assert (
        len({row["session_id"] for row in sessions}) == len({row["pair"] for row in sessions}) == 12
    )
    assert {(row["worker"], row["host"]) for row in sessions} == {
        (0, "blue"),
        (1, "blue"),
        (2, "red"),
        (3, "red"),
    }
    assert all(row["session_id"].startswith(f"w{row['worker']}-") for row in sessions)
    of_session = {
        row["session_id"]: (row["worker"], row["pair"], row["block"], row["host"])
        for row in sessions
    }
    turns = rows(tmp_path / "merged", "turns")
    assert len(turns) == 36
    assert all(
        of_session[r["session_id"]] == (r["worker"], r["pair"], r["block"], r["host"])
        for r in turns
    )
    assert {row["run_id"] for row in turns} == {"merged"}


def test_pairs_and_blocks_are_numbered_by_time_over_all_parts(tmp_path: Path) -> None:
    """If a part began between two pairs of another part, its pairs are numbered there, in the
    block of that time.
    """
    offset_ns = utc_ns() - monotonic_ns()
    parts = []
    for host, at_s in (("red", (10, 130, 250)), ("blue", (5, 131, 610))):
        part = build_part(tmp_path, host, host=host, began_ns=AT_NS + offset_ns, workers=0)
        recorder = Recorder(Spool(part, 0), AT_NS, host=named_host() | {"name": host})
        for number, second in enumerate(at_s):
            labels = RowContext(
                f"w0-{number:06d}", "simulator", "x", "voice_turns", pair=number, block=7
            )
            recorder.session(labels).session_ended(build_session(start_ns=AT_NS + second * S))
        recorder.close()
        parts.append(part)
    document = merge_runs(parts, tmp_path / "merged")

    sessions = sorted(rows(tmp_path / "merged", "sessions"), key=lambda row: row["start_utc_ns"])
    assert [(row["host"], row["pair"], row["block"]) for row in sessions] == [
        ("blue", 0, 0),
        ("red", 1, 0),
        ("red", 2, 1),
        ("blue", 3, 1),
        ("red", 4, 2),
        ("blue", 5, 5),
    ]
    assert document["started_utc_ns"] == min(part["started_utc_ns"] for part in document["parts"])


def test_transcripts_incidents_and_event_logs_are_merged_with_renamed_sessions(
    tmp_path: Path,
) -> None:
    parts = [build_part(tmp_path, name, host=name) for name in ("blue", "red")]
    for part in parts:
        log_events(part)
    finalize(parts[0])
    document = merge_runs(parts, tmp_path / "merged")

    merged = tmp_path / "merged"
    names = {row["session_id"] for row in rows(merged, "sessions")}
    transcript_lines = [
        json.loads(line) for line in (merged / "transcripts.jsonl").read_text().splitlines()
    ]
    assert len(transcript_lines) == 18
    assert {line["session_id"] for line in transcript_lines} == names
    logs = {
        path.stem: json.loads(path.read_text().splitlines()[0])["about"]
        for path in (merged / EVENTS).iterdir()
    }
    assert logs == {
        name: {"run_id": "merged", "session_id": name} for name in ("w0-000000", "w1-000000")
    }
    assert [(incident["worker"], incident["text"]) for incident in document["incidents"]] == [
        (0, "of worker 0"),
        (1, "of worker 0"),
    ]


def test_event_logs_that_are_links_or_special_files_are_counted_and_not_copied(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("a private key\n")
    linked, elsewhere = (closed(build_part(tmp_path, host, host=host)) for host in ("red", "blue"))
    log_events(linked, 0)
    (linked / EVENTS / "w0-000001.jsonl").symlink_to(secret)
    os.mkfifo(linked / EVENTS / "w0-000002.jsonl")
    log_events(elsewhere, 0)
    (elsewhere / EVENTS).rename(tmp_path / "logs")
    (elsewhere / EVENTS).symlink_to(tmp_path / "logs")

    document = merge_runs([linked, elsewhere], tmp_path / "merged")

    assert len(list((tmp_path / "merged" / EVENTS).iterdir())) == 1
    assert "a private key" not in "".join(
        path.read_text() for path in (tmp_path / "merged" / EVENTS).iterdir()
    )
    assert [notice for notice in document["notices"] if "event log" in notice] == [
        "blue on blue: 1 event log was not copied, because it is a link or a special file.",
        "red on red: 2 event logs were not copied, because they are links or special files.",
    ]


def test_finalized_parts_are_not_changed(tmp_path: Path) -> None:
    parts = [
        closed(build_part(tmp_path / "parts", "ab"[n], began_ns=BEGAN_NS + n)) for n in range(2)
    ]
    before = {path: path.read_bytes() for path in (tmp_path / "parts").rglob("*") if path.is_file()}
    merge_runs(parts, tmp_path / "merged")
    assert {
        path: path.read_bytes() for path in (tmp_path / "parts").rglob("*") if path.is_file()
    } == before


ARRIVALS = {
    "pattern": "poisson",
    "per_s": 0.5,
    "stages": None,
    "digest": None,
    "max_concurrent": 4,
    "started_utc_ns": BEGAN_NS,
    "duration_s": 60.0,
}


def test_the_merged_document_describes_its_parts(tmp_path: Path) -> None:
    arrivals = ARRIVALS
    shared: dict[str, Any] = {
        "part_of": "nightly",
        "labels": {"commit": "1a", "zone": "x"},
        "budget_usd": 2.0,
        "start_delays_s": {"simulator": 3.0},
    }
    red = closed(
        build_part(
            tmp_path, "r", host="red", arrivals=arrivals, notices=["of all", "of red"], **shared
        )
    )
    changed: dict[str, Any] = {
        "labels": {"commit": "1a", "zone": "y"},
        "start_delays_s": {"simulator": 5.0},
    }
    blue = build_part(
        tmp_path,
        "b",
        host="blue",
        workers=2,
        arrivals=arrivals,
        notices=["of all"],
        **shared | changed,
    )
    document = merge_runs([blue, red], tmp_path / "merged")

    assert (document["part_of"], document["labels"], document["workers"]) == (
        "nightly",
        {"commit": "1a"},
        3,
    )
    assert (document["budget_usd"], document["start_delays_s"]) == (4.0, {"simulator": 5.0})
    assert document["arrivals"] == arrivals | {"per_s": 1.0, "max_concurrent": 8}
    assert document["notices"][:2] == ["of all", "r on red: of red"]
    assert document["notices"][2].startswith("Its parts state no plan of the whole run")
    entries = {
        part["run_id"]: (part["host"], part["sessions"], part["turns"], part["validity"])
        for part in document["parts"]
    }
    assert entries == {"r": ("red", 3, 9, "valid"), "b": ("blue", 6, 18, "valid")}
    assert [part["arrivals"] for part in document["parts"]] == [arrivals, arrivals]
    assert [(host["name"], host["workers"]) for host in document["hosts"]] == [
        ("blue", 2),
        ("red", 1),
    ]


def test_a_planned_part_without_a_folder_is_missing_and_its_turns_are_not_zero(
    tmp_path: Path,
) -> None:
    planned: dict[str, Any] = {
        "part_of": "n",
        "whole_run": {"parts": 3.0, "sessions": 9.0},
        "planned_load": {"sessions": 3.0},
    }
    parts = [build_part(tmp_path, host, host=host, **planned) for host in ("red", "blue", "gold")]
    document = merge_runs(
        [copied(part, tmp_path / "all" / part.name) for part in parts], tmp_path / "merged"
    )
    assert (document["missing_workers"], document["validity"]["status"]) == ([], "valid")
    assert document["planned_load"] == {"sessions": 9.0}
    assert (
        "The parts sum up to the plan of the whole run: 3 parts, 9 sessions." in document["notices"]
    )

    document = merge_runs(parts[:2], tmp_path / "two")
    (missing,) = document["missing_workers"]
    assert (missing["worker"], missing["turns"]) == (2, 3 * int(str(SCRIPT["turns"])))
    assert document["validity"]["status"] == "invalid"
    assert any("(1 of 3 parts is missing)" in notice for notice in document["notices"])


def test_parts_with_the_same_seed_whose_calls_arrive_are_reported(tmp_path: Path) -> None:
    same: dict[str, Any] = {"arrivals": ARRIVALS, "settings": {"seed": "7"}}
    seeded = [build_part(tmp_path, host, host=host, **same) for host in ("red", "blue")]
    assert any(
        "same seed" in notice for notice in merge_runs(seeded, tmp_path / "merged")["notices"]
    )


def test_parts_that_did_not_run_at_the_same_time_give_a_notice(tmp_path: Path) -> None:
    parts = [
        build_part(
            tmp_path,
            host,
            host=host,
            began_ns=began_ns,
            arrivals=ARRIVALS | {"started_utc_ns": began_ns},
        )
        for host, began_ns in (("red", BEGAN_NS), ("blue", BEGAN_NS + 40 * S))
    ]
    document = merge_runs(parts, tmp_path / "merged")
    assert document["notices"][0].startswith("Its parts did not run at the same time")
    assert document["arrivals"] == ARRIVALS | {
        "per_s": 1.0,
        "max_concurrent": 8,
        "duration_s": 100.0,
    }


def test_a_killed_run_is_merged_up_to_its_last_flush(tmp_path: Path) -> None:
    killed = build_part(
        tmp_path, "killed", host="gone", state="running", stop_reason="", ended_utc_ns=None
    )
    document = merge_runs([killed, build_part(tmp_path, "b", host="red")], tmp_path / "merged")

    assert document["state"] == "killed"
    assert len(rows(tmp_path / "merged", "turns")) == 18
    assert document["notices"] == [
        "killed on gone did not end cleanly: rows and counts after the last flush are missing."
    ]
    assert {part["run_id"]: part["state"] for part in document["parts"]} == {
        "killed": "killed",
        "b": "ended",
    }


# The verdict.


def test_one_host_with_uncertain_timestamps_makes_the_merged_run_invalid(tmp_path: Path) -> None:
    good = build_part(tmp_path, "good", host="good", sessions=330)
    bad = build_part(tmp_path, "bad", host="bad", error_ns=30 * MS)
    assert merge_runs([good], tmp_path / "alone")["validity"]["status"] == "valid"
    verdict = merge_runs([good, bad], tmp_path / "merged")["validity"]

    assert verdict["status"] == "invalid"
    (rule,) = (rule for rule in verdict["checks"] if rule["result"] == "fail")
    assert (rule["name"], rule["note"].endswith(", on bad")) == ("timestamp_uncertainty", True)
    assert {entry.get("host") for entry in verdict["uncertain_metrics"]} == {"bad"}


def test_an_invalid_part_makes_the_merged_run_invalid(tmp_path: Path) -> None:
    good = build_part(tmp_path, "good", sessions=330)
    bad = closed(build_part(tmp_path, "bad", error_ns=30 * MS, began_ns=BEGAN_NS + S))
    assert files.read_document(bad)["validity"]["status"] == "invalid"
    verdict = merge_runs([good, bad], tmp_path / "merged")["validity"]

    assert verdict["status"] == "invalid"
    assert [
        r["note"].endswith(", in the part bad on red")
        for r in verdict["checks"]
        if r["result"] == "fail"
    ] == [True]


# Damage.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(path: Path, column: str, edit: Callable[[list[Any]], list[Any]]) -> None:
    """Change the values of one column."""
    rows = pq.read_table(path)
    place = rows.column_names.index(column)
    field = rows.schema.field(place)
    pq.write_table(
        rows.set_column(place, field, pa.array(edit(rows[column].to_pylist()), field.type)), path
    )


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated Parquet": lambda part: cut(part / "turns.parquet"),
    "no Parquet": lambda part: (part / "sessions.parquet").unlink(),
    "truncated histograms": (
        lambda part: (part / "histograms.hlog").write_text("Tag=a|b|c|measure,0,1,2,xyz\n")
    ),
    "rows of another run": lambda part: pq.write_table(
        pq.read_table(part / "turns.parquet").slice(1), part / "turns.parquet"
    ),
    "a duplicate session": lambda part: edited(
        part / "sessions.parquet", "session_id", lambda ids: [ids[0], *ids[:-1]]
    ),
    "a negative count": lambda part: edited(
        part / "turns.parquet", "stall_count", lambda counts: [-7] * len(counts)
    ),
    "a transcript of another format": lambda part: (part / "transcripts.jsonl").write_text("[]\n"),
    "a transcript that is nested too deep": (
        lambda part: (part / "transcripts.jsonl").write_text("[" * 500_000)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_part_is_left_out_and_counts_as_missing_data(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    sound = build_part(tmp_path, "sound", host="blue")
    damaged = closed(build_part(tmp_path, "broken", host="alpha"))
    damage(damaged)
    document = merge_runs([sound, damaged], tmp_path / "merged")

    assert {row["host"] for row in rows(tmp_path / "merged", "turns")} == {"blue"}
    assert {row["worker"] for row in rows(tmp_path / "merged", "turns")} == {0}
    assert [incident["worker"] for incident in document["incidents"]] == [0]
    (notice,) = document["notices"]
    assert notice.startswith("broken on alpha is excluded, because ")
    assert notice.endswith(": 3 sessions and 9 turns are missing.")
    (rule,) = (rule for rule in document["validity"]["checks"] if rule["result"] == "fail")
    assert (rule["name"], rule["value"], document["validity"]["status"]) == (
        "missing_data",
        50.0,
        "invalid",
    )


def test_a_part_without_uncertainties_is_merged_with_a_notice(tmp_path: Path) -> None:
    sound, damaged = (
        build_part(tmp_path, "sound", host="blue"),
        closed(build_part(tmp_path, "broken", host="red")),
    )
    (damaged / "uncertainty.parquet").unlink()
    document = merge_runs([sound, damaged], tmp_path / "merged")

    known = {
        (row["host"], row["first_audio_uncertainty_ns"] is None)
        for row in rows(tmp_path / "merged", "turns")
    }
    assert known == {("blue", False), ("red", True)}
    assert (
        document["notices"][-1]
        == "broken on red: it has no uncertainty.parquet, so the timestamp uncertainty of its turns"
        " is unknown."
    )
    assert document["validity"]["status"] == "no_verdict"


def test_an_unclosed_part_without_a_spool_makes_the_merged_run_invalid(
    tmp_path: Path,
) -> None:
    sound, damaged = (
        build_part(tmp_path, "sound", host="blue"),
        build_part(tmp_path, "broken", host="red"),
    )
    shutil.rmtree(damaged / SPOOL)
    document = merge_runs([sound, damaged], tmp_path / "merged")
    assert document["notices"][0].endswith("the number of missing sessions and turns is unknown.")
    assert document["validity"]["status"] == "invalid"


# Refusals.


PART = {
    "run_id": "east",
    "host": "east",
    "workers": [0],
    "worker_offset": 0,
    "state": "ended",
    "started_utc_ns": BEGAN_NS,
    "ended_utc_ns": BEGAN_NS,
    "stop_reason": "",
    "sessions": 1,
    "turns": 1,
    "validity": "valid",
    "failed_checks": [],
    "excluded_because": None,
}
REFUSED: dict[str, tuple[Callable[[Path, Path], list[Path]], str]] = {
    "no run": (lambda a, _: [a, a.parent / "nothing"], "is not a run folder"),
    "scripts": (
        lambda a, b: [a, changed(b, scripts=[SCRIPT | {"digest": "sha256:2"}])],
        "have different scripts",
    ),
    "targets": (
        lambda a, b: [a, changed(b, targets=[TARGET | {"url": "ws://elsewhere"}])],
        "have different targets",
    ),
    "other targets of the same script": (
        lambda a, b: [
            a,
            changed(b, targets=[TARGET | {"name": "b"}], scripts=[SCRIPT | {"target": "b"}]),
        ],
        "have different targets",
    ),
    "definitions": (
        lambda a, b: [a, changed(b, definitions_version=99)],
        "have different definitions",
    ),
    "plans": (lambda a, b: [changed(a, whole_run={"parts": 2.0}), b], "have different plans"),
    "a plan without parts": (
        lambda a, b: [changed(a, whole_run={}), changed(b, whole_run={})],
        "damaged: whole_run",
    ),
    "a plan of very many parts": (
        lambda a, b: [changed(each, whole_run={"parts": 1e9}) for each in (a, b)],
        "a/run.json is damaged: whole_run.parts must be a whole number from 1 to 10,000",
    ),
    "names": (
        lambda a, b: [changed(a, part_of="x"), changed(b, part_of="y")],
        "have different names of --part-of",
    ),
    "the same part twice": (
        lambda a, _: [a, a],
        "parts/a both contain worker 0 of run a: name only one of them",
    ),
    "a copy of a part": (
        lambda a, b: [a, b, copied(a, a.parent / "c")],
        "both contain worker 0 of run a: name only one of them",
    ),
    "a merged run": (
        lambda a, b: [changed(a, parts=[PART]), b],
        "name the runs from which it was merged",
    ),
    "a newer schema": (lambda a, b: [a, changed(b, schema=99)], "newer rtbench"),
    "a document of another format": (lambda a, b: [a, changed(b, targets="x")], "is damaged"),
}


@pytest.mark.parametrize(("given_", "words"), REFUSED.values(), ids=list(REFUSED))
def test_parts_of_different_runs_are_refused_and_nothing_is_written(
    given_: Callable[[Path, Path], list[Path]], words: str, tmp_path: Path
) -> None:
    a, b = (build_part(tmp_path / "parts", name, host=name) for name in ("a", "b"))
    parts = given_(a, b)
    with pytest.raises(UsageError, match=words) as refusal:
        merge_runs(parts, tmp_path / "merged")
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_a_run_under_way_is_refused(tmp_path: Path) -> None:
    mine = opening_document("x", "y", 1, {}, [], [], 1, [])["writer"] | {"pid": os.getpid()}
    part = build_part(tmp_path, state="running", stop_reason="", ended_utc_ns=None)
    presence.hold(part)
    with pytest.raises(UsageError, match="still in progress"):
        merge_runs([changed(part, writer=mine)], tmp_path / "merged")


def test_an_existing_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        merge_runs([build_part(tmp_path)], tmp_path / "merged")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"]
)
def test_a_failed_merge_leaves_no_files(
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = closed(build_part(tmp_path / "parts"))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("bench.record.finalize.replace_text", fail)
    with pytest.raises((UsageError, KeyboardInterrupt)):
        merge([part], tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert ("was not written" in capsys.readouterr().err) is isinstance(error, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("error_ns", "status", "word"), [(5_000, 0, "VALID"), (30 * MS, 4, "INVALID")]
)
def test_the_exit_status_is_that_of_the_merged_validity(
    error_ns: int, status: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = build_part(tmp_path, error_ns=error_ns)
    try:
        merge([part], tmp_path / "merged")
        ended = 0
    except typer.Exit as error:
        ended = error.exit_code
    lines = capsys.readouterr().out.splitlines()
    assert (ended, lines) == (
        status,
        [
            "part  red  ended  3 sessions, 9 turns",
            f"{word}: 3 sessions, 9 turns of 1 host",
            str(tmp_path / "merged"),
        ],
    )
