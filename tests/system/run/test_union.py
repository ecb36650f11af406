"""Any set of folders of one run merges to its union: in any order, however often a folder is there, merged or not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.report import report
from bench.errors import UsageError
from bench.run import folder as files
from bench.run.close import close
from bench.run.histograms import Key, read
from bench.run.merging.merge import merge_runs
from bench.run.merging.run_part import Copy, WorkerId, chosen_workers
from bench.run.provenance import named_host, opening_document
from bench.run.recorder import Labels, Recorder
from bench.run.spool import EVENTS, SPOOL, Spool
from tests.examples import few
from tests.helpers import MS, S, build_observation, build_session
from tests.run.test_close import contents
from tests.system.run.test_merge import BEGAN_NS, SCRIPT, TARGET

HOSTS = ("east", "west", "south")
FLUSHES = 3
"""After each of them a copy of what a worker has recorded is kept; the last one is of all of it."""


# Which copy is taken.


def ids(count: int) -> list[WorkerId]:
    return [WorkerId("run", 1, number) for number in range(count)]


LENGTHS = st.integers(0, 3)
COPIES = st.dictionaries(st.sampled_from(ids(4)), LENGTHS.map(lambda n: Copy(3 * n, n, n, n == 3)), max_size=4)


@given(st.lists(COPIES, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_of_each_worker_the_longest_copy_is_taken_once_in_whatever_order(
    folders: list[dict[WorkerId, Copy]], order: Any
) -> None:
    def union(folders: Sequence[dict[WorkerId, Copy]]) -> dict[WorkerId, Copy]:
        taken = list(zip(folders, chosen_workers(folders), strict=True))
        assert sum(len(ids) for _, ids in taken) == len({worker for _, ids in taken for worker in ids})
        return {worker: folder[worker] for folder, ids in taken for worker in ids}

    longest = {worker: max(f[worker] for f in folders if worker in f) for f in folders for worker in f}
    assert union(folders) == longest
    shuffled = order.sample(folders, len(folders))
    assert union([*shuffled, *folders]) == longest, "in any order, twice"
    assert union([longest, *folders]) == longest, "merged before"


# What comes of it.


class Run(NamedTuple):
    """A run of three hosts: `states[worker][flushes]` is a spool with what a worker had recorded by then."""

    folder: Path
    states: list[list[Path]]
    closed: dict[str, Path]
    """what the master's folder is once it is closed, by what had been shipped to it: made when it is first asked for"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        return Run(folder, [recorded(folder, worker, host, patch) for worker, host in enumerate(HOSTS)], {})


def recorded(folder: Path, worker: int, host: str, patch: pytest.MonkeyPatch) -> list[Path]:
    """A worker's part, which takes ten seconds between two flushes."""
    passed_ns = [0]
    patch.setattr("bench.run.recorder.monotonic_ns", lambda: passed_ns[0])
    patch.setattr("bench.run.recorder.utc_ns", lambda: BEGAN_NS + passed_ns[0])
    live = folder / f"live-{worker}"
    (live / SPOOL).mkdir(parents=True)
    recorder = Recorder(Spool(live, worker, "voice"), BEGAN_NS, host=named_host() | {"name": host}, transcripts=True)
    states = []
    for flush in range(FLUSHES):
        for number in range(2):
            name = f"w{worker}-{2 * flush + number:06d}"
            pair = 3 * (2 * flush + number) + worker
            record = recorder.session(Labels(name, "simulator", "voice", "voice_turns", pair=pair, block=0))
            for turn in range(1, 4):
                record.turn_began()
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


def folder_of(run: Run, parent: Path, flushes: dict[int, int], *, led: bool, closes: bool = False) -> Path:
    """A folder with what some workers had recorded by some flush: the master's (`led`), or a worker's own."""
    folder = parent / ("led" if led else f"own-{'-'.join(map(str, flushes))}")
    if closes:
        return Path(shutil.copytree(closed_of(run, flushes), folder))
    folder.mkdir(parents=True)
    (folder / SPOOL).mkdir()
    for worker, flush in flushes.items():
        shutil.copytree(run.states[worker][flush], folder / SPOOL, dirs_exist_ok=True)
    document = opening_document("voice", "voice", BEGAN_NS, {}, [TARGET], [SCRIPT], len(HOSTS), [])
    document |= {"concurrency": 3, "writer": {"host": "hub" if led else HOSTS[next(iter(flushes))], "pid": 1}}
    if led:
        remote = [{"worker": worker, "host": host} for worker, host in enumerate(HOSTS)]
        document |= {"state": "closing", "stop_reason": "all sessions are done", "remote": remote}
        document |= {"ended_utc_ns": BEGAN_NS + 90 * S}
    files.write_document(folder, document)
    return folder


def closed_of(run: Run, flushes: dict[int, int]) -> Path:
    """The master's folder, closed; tests share it."""
    key = "-".join(f"{worker}.{flush}" for worker, flush in sorted(flushes.items()))
    if key not in run.closed:
        run.closed[key] = folder_of(run, run.folder / f"closed-{key}", flushes, led=True)
        close(run.closed[key])
    return run.closed[key]


def rows(folder: Path, table: files.TableName) -> list[str]:
    """The rows of a table but for the name of the run and for pairs, which are counted anew, in any order."""
    left_out = {"run_id", "pair", "block"}
    return sorted(
        repr({k: v for k, v in row.items() if k not in left_out}) for row in files.read_table(folder, table).to_pylist()
    )


def is_of(folder: Path, document: dict[str, Any], run: Run, flushes: dict[int, int]) -> None:
    """It holds just what these workers had recorded by these flushes, and says so."""
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
    assert {entry["worker"] for entry in document["missing_workers"]} == set(range(len(HOSTS))) - whole
    assert [(host["name"], host["event_loop_delay_p99_ms"]) for host in document["hosts"]] == [
        (host["name"], host["event_loop_delay_p99_ms"]) for host in expected["hosts"]
    ]
    hub = histograms.get(Key("event_loop_delay", "all", phase="measurement"))
    assert hub is not None
    assert hub.get_total_count() == sum(2 * (flush + 1) for flush in flushes.values())


FLUSH = st.integers(0, FLUSHES - 1)


@given(data=st.data())
@few
def test_any_folders_of_one_run_merge_to_their_union(
    run: Run, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The master's, closed or not, with what was shipped of some workers; workers' own, with more; and merged ones."""
    parent = tmp_path_factory.mktemp("union")
    shipped = data.draw(st.dictionaries(st.integers(0, 2), FLUSH, min_size=1), "shipped")
    own = data.draw(st.dictionaries(st.integers(0, 2), FLUSH), "own")
    given_ = [
        (folder_of(run, parent / "master", shipped, led=True, closes=data.draw(st.booleans(), "closes")), shipped)
    ]
    given_ += [(folder_of(run, parent / f"w{n}", {n: flush}, led=False), {n: flush}) for n, flush in own.items()]
    merged: list[tuple[Path, dict[int, int]]] = []
    for number in range(3):
        some = data.draw(st.lists(st.sampled_from([*given_, *merged]), min_size=1, max_size=4), f"merge {number}")
        out = parent / f"merged-{number}"
        document = merge_runs([folder for folder, _ in some], out)
        union: dict[int, int] = {}
        for _, flushes in some:
            union |= {worker: max(flush, union.get(worker, 0)) for worker, flush in flushes.items()}
        is_of(out, document, run, union)
        merged.append((out, union))


def test_the_part_that_a_master_lacks_is_added_once(run: Run, tmp_path: Path) -> None:
    """As a worker says that was cut off: `add it by rtbench merge`."""
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
    again = merge_runs([tmp_path / "merged", own, master], tmp_path / "again")
    assert again["totals"] == document["totals"]
    (part,) = again["parts"]
    assert (part["workers"], part["turns"], part["host"]) == ([0, 1, 2], 54, "hub")


def test_more_of_a_part_leaves_less_unknown(run: Run, tmp_path: Path) -> None:
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 0, 2: 2}, led=True, closes=True)
    (before,) = files.read_document(master)["missing_workers"]
    own = folder_of(run, tmp_path / "west", {1: 1}, led=False)
    (entry,) = merge_runs([master, own], tmp_path / "merged")["missing_workers"]
    assert entry["turns"] < before["turns"]


def test_event_logs_come_from_where_the_worker_is_taken_from(run: Run, tmp_path: Path) -> None:
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 0}, led=True, closes=True)
    own = folder_of(run, tmp_path / "west", {1: 2}, led=False)
    for folder, names in ((master, ("w0-000000", "w1-000000")), (own, ("w1-000000", "w1-000001"))):
        (folder / EVENTS).mkdir()
        for name in names:
            (folder / EVENTS / f"{name}.jsonl").write_text(f"{folder.name}\n")
    merge_runs([master, own], tmp_path / "merged")
    logs = {path.stem: path.read_text() for path in (tmp_path / "merged" / EVENTS).iterdir()}
    assert logs == {"w0-000000": "led\n", "w1-000000": f"{own.name}\n", "w1-000001": f"{own.name}\n"}


def test_a_host_may_be_left_out_of_a_run(run: Run, tmp_path: Path) -> None:
    """It is judged as if the host had had no part in it, with no word on what is missing of it."""
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 0, 2: 2}, led=True, closes=True)
    document = merge_runs([master], tmp_path / "merged", ["west"])
    assert document["notices"] == ["west is left out, as was asked for, with 2 sessions and 6 turns."]
    assert (document["validity"]["status"], document["missing_workers"], document["state"]) == ("valid", [], "ended")
    assert [host["name"] for host in document["hosts"]] == ["east", "south"]
    true = closed_of(run, {0: 2, 2: 2})
    for table in files.SCHEMAS:
        assert rows(tmp_path / "merged", table) == rows(true, table)
    assert contents(read(tmp_path / "merged" / "histograms.hlog")) == contents(read(true / "histograms.hlog"))


def test_a_host_that_is_not_there_is_named_with_those_that_are(run: Run, tmp_path: Path) -> None:
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 2, 2: 2}, led=True, closes=True)
    with pytest.raises(UsageError, match="there is no host north to leave out: there are east, south, west"):
        merge_runs([master], tmp_path / "merged", ["north"])
    with pytest.raises(UsageError, match="nothing is left"):
        merge_runs([master], tmp_path / "merged", HOSTS)


def test_a_report_without_a_host_is_that_of_a_run_beside_it(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    master = folder_of(run, tmp_path / "master", {0: 2, 1: 2, 2: 2}, led=True, closes=True)
    for _ in range(2):
        report([str(master)], ["west"])
        said = capsys.readouterr().out
        assert "west is left out, as was asked for, with 6 sessions and 18 turns." in " ".join(said.split())
        assert said.splitlines()[-1] == str(master.parent / "led-without-west" / "report.html")
