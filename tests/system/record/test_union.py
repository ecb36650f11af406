"""The folders of one run merge to the complete run: the master's folder, and those of workers
that lost the master.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.record import folder as files
from bench.record.finalize import finalize
from bench.record.histograms import HistogramKey, read
from bench.record.merging.merge import merge_runs
from bench.record.provenance import named_host, opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import SPOOL, WORKERS, Spool
from tests.examples import few
from tests.helpers import MS, S, build_observation, build_session
from tests.record.builders import contents
from tests.system.record.parts import BEGAN_NS, SCRIPT, TARGET

HOSTS = ("east", "west", "south")
FLUSHES = 3
"""The number of flushes. After each flush a copy of a worker's records is made; after the last,
it has all records."""
FLUSH = st.integers(0, FLUSHES - 1)


class Run(NamedTuple):
    """A run of three hosts.

    `states[worker][flushes]` is a spool with the worker's records up to this number of flushes.
    """

    folder: Path
    states: list[list[Path]]
    closed: dict[str, Path]
    """The master's folder after finalization, by the parts that the master had received.

    Each folder is made when first needed.
    """


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        return Run(
            folder, [recorded(folder, worker, host, patch) for worker, host in enumerate(HOSTS)], {}
        )


def recorded(folder: Path, worker: int, host: str, patch: pytest.MonkeyPatch) -> list[Path]:
    """Record a worker's part with ten seconds between flushes; return a copy after each flush."""
    passed_ns = [0]
    patch.setattr("bench.record.recorder.monotonic_ns", lambda: passed_ns[0])
    patch.setattr("bench.record.recorder.utc_ns", lambda: BEGAN_NS + passed_ns[0])
    live = folder / f"live-{worker}"
    (live / SPOOL).mkdir(parents=True)
    recorder = Recorder(
        Spool(live, worker, "voice"), BEGAN_NS, host=named_host() | {"name": host}, transcripts=True
    )
    states = []
    for flush in range(FLUSHES):
        for number in range(2):
            name = f"w{worker}-{2 * flush + number:06d}"
            pair = 3 * (2 * flush + number) + worker
            record = recorder.session(
                RowContext(name, "simulator", "voice", "voice_turns", pair=pair, block=0)
            )
            for turn in range(1, 4):
                record.turn_started()
                record.turn_ended(build_observation(turn=turn, start_ns=(flush * 10 + turn) * S))
            record.session_ended(build_session(turns_planned=3, turns_started=3))
            recorder.event_loop_delay((worker + 1) * MS)
        passed_ns[0] += 10 * S
        recorder.end_second()
        recorder.flush()
        for _ in recorder.histogram_slices():
            pass
        if flush == FLUSHES - 1:
            recorder.close()
        states.append(Path(shutil.copytree(live / SPOOL, folder / f"state-{worker}-{flush}")))
    return states


def folder_of(
    run: Run, parent: Path, flushes: dict[int, int], *, led: bool, closes: bool = False
) -> Path:
    """Return a folder with the records of some workers up to a flush.

    If `led` it is the master's folder, else a worker's own.
    """
    folder = parent / ("led" if led else f"own-{'-'.join(map(str, flushes))}")
    if closes:
        return Path(shutil.copytree(closed_of(run, flushes), folder))
    folder.mkdir(parents=True)
    (folder / SPOOL).mkdir()
    for worker, flush in flushes.items():
        shutil.copytree(run.states[worker][flush], folder / SPOOL, dirs_exist_ok=True)
    document = opening_document("voice", "voice", BEGAN_NS, {}, [TARGET], [SCRIPT], len(HOSTS), [])
    document |= {
        "concurrency": 3,
        "writer": {"host": "hub" if led else HOSTS[next(iter(flushes))], "pid": 1},
    }
    if led:
        remote = [{"worker": worker, "host": host} for worker, host in enumerate(HOSTS)]
        document |= {"state": "closing", "stop_reason": "all sessions are done", "remote": remote}
        document |= {"ended_utc_ns": BEGAN_NS + 90 * S}
    files.write_document(folder, document)
    return folder


def closed_of(run: Run, flushes: dict[int, int]) -> Path:
    """Return the master's folder after finalization. Tests share this folder."""
    key = "-".join(f"{worker}.{flush}" for worker, flush in sorted(flushes.items()))
    if key not in run.closed:
        run.closed[key] = folder_of(run, run.folder / f"closed-{key}", flushes, led=True)
        finalize(run.closed[key])
    return run.closed[key]


def rows(folder: Path, table: files.TableName) -> list[str]:
    """Return the sorted rows of a table without the run's name and the pairs, because a merge
    renumbers pairs.
    """
    left_out = {"run_id", "pair", "block"}
    return sorted(
        repr({k: v for k, v in row.items() if k not in left_out})
        for row in files.read_table(folder, table).to_pylist()
    )


def is_of(folder: Path, document: dict[str, Any], run: Run, flushes: dict[int, int]) -> None:
    """Assert that the folder contains exactly the records of these workers up to these flushes,
    and reports them.
    """
    true = closed_of(run, flushes)
    for table in files.SCHEMAS:
        assert rows(folder, table) == rows(true, table)
    histograms = read(folder / "histograms.hlog")
    assert contents(histograms) == contents(read(true / "histograms.hlog"))
    expected = files.read_document(true)
    assert document["totals"] == expected["totals"]
    assert sorted(map(str, (folder / "transcripts.jsonl").read_text().splitlines())) == sorted(
        (true / "transcripts.jsonl").read_text().splitlines()
    )
    whole = {worker for worker, flush in flushes.items() if flush == FLUSHES - 1}
    assert {entry["worker"] for entry in document["missing_workers"]} == set(
        range(len(HOSTS))
    ) - whole
    assert [(host["name"], host["event_loop_delay_p99_ms"]) for host in document["hosts"]] == [
        (host["name"], host["event_loop_delay_p99_ms"]) for host in expected["hosts"]
    ]
    hub = histograms.get(HistogramKey("event_loop_delay", "all", phase="measurement"))
    assert hub is not None
    assert hub.get_total_count() == sum(2 * (flush + 1) for flush in flushes.values())


@given(data=st.data())
@few
def test_a_worker_s_own_folder_replaces_what_its_master_received(
    run: Run, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The folders are merged in any order, finalized or not, and also without a master's folder."""
    parent = tmp_path_factory.mktemp("union")
    shipped = data.draw(st.dictionaries(st.integers(0, 2), FLUSH, max_size=2), "shipped")
    own = data.draw(st.dictionaries(st.integers(0, 2), FLUSH, min_size=1), "own")
    folders = [folder_of(run, parent / f"w{n}", {n: flush}, led=False) for n, flush in own.items()]
    if shipped:
        closes = data.draw(st.booleans(), "closes")
        folders.append(folder_of(run, parent / "master", shipped, led=True, closes=closes))
    document = merge_runs(data.draw(st.permutations(folders)), parent / "merged")
    is_of(parent / "merged", document, run, shipped | own)


def test_a_worker_s_own_folder_is_refused_if_its_master_has_all_of_its_run(
    run: Run, tmp_path: Path
) -> None:
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 2, 2: 2}, led=True, closes=True)
    shutil.rmtree(master / WORKERS)
    own = folder_of(run, tmp_path / "west", {1: 2}, led=False)
    with pytest.raises(
        UsageError,
        match="led contains all of run voice: merge it without the folders of its workers",
    ):
        merge_runs([own, master], tmp_path / "merged")


def test_the_part_that_is_missing_at_the_master_is_added_once(run: Run, tmp_path: Path) -> None:
    """The message of a worker that lost its master suggests this merge: `add it by rtbench
    merge`.
    """
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 0, 2: 2}, led=True, closes=True)
    (before,) = files.read_document(master)["missing_workers"]
    own = folder_of(run, tmp_path / "west", {1: 2}, led=False)
    document = merge_runs([master, own], tmp_path / "merged")

    assert sum(document["totals"]["turns"].values()) == 3 * 18
    assert (before["worker"], before["host"]) == (1, "west")
    assert before["turns"] > 0
    assert document["missing_workers"] == []
    assert document["state"] == "ended"
    assert document["validity"]["status"] == "valid"
    assert files.read_document(master)["validity"]["status"] == "invalid"
    (part,) = document["parts"]
    assert (part["workers"], part["turns"], part["host"]) == ([0, 1, 2], 54, "hub")
