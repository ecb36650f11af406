"""A spool is whatever takes a worker's part and gives it back: here one that is no file, beside that of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.run import folder as files
from bench.run.close import close, lost_of, merge
from bench.run.file_spool import path_of
from bench.run.histograms import read
from bench.run.part import Part, parts
from bench.run.recorder import Recorder
from bench.run.spool import Spool, spool_of
from tests.run.memory_spool import MemorySpool
from tests.run.test_close import BEGAN_NS, contents, play, tables

DOCUMENT = {"schema": files.SCHEMA_VERSION, "state": "closing", "began_utc_ns": BEGAN_NS, "scripts": []}


def recorded(spool: Spool, *, ends: bool = True) -> None:
    """A worker that plays a few sessions, and says what was said."""
    recorder = Recorder(spool, BEGAN_NS, transcripts=True)
    play(recorder)
    recorder.incident("token_refresh", f"of worker {spool.worker}")
    if ends:
        recorder.close()


def in_files(spools: list[MemorySpool], parent: Path) -> Path:
    """A run folder whose workers have written the same into files."""
    folder = files.create(parent, "x", BEGAN_NS)
    for spool in spools:
        for name, data in spool.streams.items():
            path_of(folder, spool.worker, name).write_bytes(data)
        for name, text in spool.documents.items():
            path_of(folder, spool.worker, name).write_text(text)
    files.write_document(folder, DOCUMENT)
    return folder


def merged(spools: list[MemorySpool], folder: Path) -> dict[str, Any]:
    """run.json of a folder that the parts of these spools are merged into."""
    folder.mkdir()
    parts = [Part(spool) for spool in spools]
    return merge(folder, dict(DOCUMENT), parts, lambda ends_ns: lost_of(DOCUMENT, parts, ends_ns))


@pytest.mark.parametrize("ends", [True, False])
def test_a_run_is_closed_from_spools_that_are_no_files_as_from_files(ends: bool, tmp_path: Path) -> None:
    spools = [MemorySpool(tmp_path / "logs", worker) for worker in (0, 1)]
    for spool in spools:
        recorded(spool, ends=ends)
    folder = tmp_path / "merged"
    document, same = merged(spools, folder), in_files(spools, tmp_path)

    assert document == close(same)
    assert document["state"] == ("ended" if ends else "killed")
    assert document["totals"]["sessions"] == {"closed:1006": 6}
    assert tables(folder) == tables(same)
    assert contents(read(folder / "histograms.hlog")) == contents(read(same / "histograms.hlog"))
    assert (folder / "transcripts.jsonl").read_bytes() == (same / "transcripts.jsonl").read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in same.iterdir()}


def test_a_part_is_complete_by_itself(tmp_path: Path) -> None:
    """Its rows say whose they are, and one worker's alone make a run."""
    spools = [MemorySpool(tmp_path / "logs", worker) for worker in (3, 5)]
    for spool in spools:
        recorded(spool)
    document = merged(spools[1:], tmp_path / "merged")

    assert {row["worker"] for rows in tables(tmp_path / "merged").values() for row in rows} == {5}
    assert [incident["text"] for incident in document["incidents"]] == ["of worker 5"]
    assert sum(document["totals"]["turns"].values()) == 9


def test_event_logs_of_workers_elsewhere_are_gathered(tmp_path: Path) -> None:
    spools = [MemorySpool(tmp_path / f"logs-{worker}", worker) for worker in (0, 1)]
    for spool in spools:
        recorded(spool)
        spool.events.mkdir()
        (spool.events / f"w{spool.worker}-000000.jsonl").write_text("{}\n")
    merged(spools, tmp_path / "merged")

    logs = sorted(path.name for path in (tmp_path / "merged" / "events").iterdir())
    assert logs == ["w0-000000.jsonl", "w1-000000.jsonl"]


def test_what_a_full_spool_refuses_is_kept_for_the_next_attempt(tmp_path: Path) -> None:
    spool = MemorySpool(tmp_path)
    recorder = Recorder(spool, BEGAN_NS, transcripts=True)
    spool.full = True
    with pytest.raises(OSError, match="No space"):
        play(recorder)
    assert recorder.unwritten_rows > 0

    spool.full = False
    recorder.close()
    assert recorder.unwritten_rows == 0
    assert sum(len(batch) for batch in files.batches([Part(spool)], "sessions")) == 3


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("lives", [True, False])
def test_who_lives_and_is_not_done_is_unfinished(ends: bool, lives: bool, tmp_path: Path) -> None:
    spool = MemorySpool(tmp_path)
    recorded(spool, ends=ends)
    spool.lives = lives
    part = Part(spool)

    assert (part.begun, part.alive) == (True, lives)
    assert part.unfinished is (lives and not ends)


def test_a_part_without_facts_has_not_begun_and_is_not_done(tmp_path: Path) -> None:
    spool = MemorySpool(tmp_path)
    spool.stream("turns.arrows")
    part = Part(spool)

    assert (part.begun, part.facts.done, part.alive) == (False, False, False)
    assert (list(part.batches("turns", files.SCHEMAS["turns"])), part.transcript()) == ([], None)
    assert not list(part.histograms().items())


@pytest.mark.parametrize("damaged", ["", "{", '{"done": "yes"}', "[]"])
def test_a_part_whose_facts_are_damaged_is_not_done(damaged: str, tmp_path: Path) -> None:
    spool = MemorySpool(tmp_path)
    spool.documents["worker.json"] = damaged

    assert not Part(spool).facts.done


def test_parts_of_files_are_those_of_all_workers_by_their_number(tmp_path: Path) -> None:
    folder = files.create(tmp_path, "x", BEGAN_NS)
    for worker in (10, 2, 0):
        recorded(spool_of(folder, worker))
    (folder / "spool" / "notes.txt").touch()
    (folder / "spool" / "worker-7.json.new").touch()

    assert [len(list(part.transcript() or ())) for part in parts(folder)] == [9, 9, 9]
    assert [part.facts.incidents[0]["worker"] for part in parts(folder)] == [0, 2, 10]
