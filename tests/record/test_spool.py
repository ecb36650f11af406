"""The spool: it stores the parts of the workers, and reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.record import folder as files
from bench.record.recorder import Recorder
from bench.record.spool import Spool, parts
from tests.record.builders import BEGAN_NS, build_run, play


def recorded(spool: Spool, *, ends: bool = True) -> None:
    """Record a few sessions and transcripts of a worker."""
    recorder = Recorder(spool, BEGAN_NS, transcripts=True)
    play(recorder)
    recorder.incident("auth_refresh", f"of worker {spool.worker}")
    if ends:
        recorder.close()


def run_folder(tmp_path: Path, *workers: int, ends: bool = True) -> Path:
    """Return a run that has these workers and is not finalized."""
    folder, _ = build_run(tmp_path, 0)
    for worker in workers:
        recorded(Spool(folder, worker), ends=ends)
    return folder


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("lives", [True, False])
def test_a_worker_that_runs_and_is_not_done_is_unfinished(
    ends: bool, lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = parts(run_folder(tmp_path, 0, ends=ends))
    monkeypatch.setattr("bench.record.spool.is_alive", lambda pid: pid == os.getpid() and lives)

    assert (part.has_started, part.is_alive) == (True, lives)
    assert part.is_unfinished is (lives and not ends)


def test_a_part_without_facts_has_not_begun_and_is_not_done(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    Spool(folder, 0).stream("turns.arrows").close()
    (part,) = parts(folder)

    assert (part.has_started, part.facts.done, part.is_alive) == (False, False, False)
    assert (list(part.batches("turns", files.SCHEMAS["turns"])), part.transcript()) == ([], None)
    assert not list(part.histograms().items())


@pytest.mark.parametrize("damaged", ["", "{", '{"done": "yes"}', "[]"])
def test_a_part_with_damaged_facts_is_not_done(damaged: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    Spool(folder, 0).replace("worker.json", damaged.encode())
    (part,) = parts(folder)

    assert not part.facts.done
