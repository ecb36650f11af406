"""The commands of the README and of the first page run unchanged, on a machine that is too busy for
them.

Three readers run the blocks while four busy programs run. A run may be INVALID there. An error, a
missing document, a run without sessions, or a sentence that contradicts its document is a failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bench.base.errors import INVALID_STATUS
from bench.record import folder as files
from tests.simulator_process import Ready
from tests.system.docs.reader import FIRST, SHORTER, blocks, new_place, run_block

OTHER_PROGRAMS, READERS = 4, 3
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keep the machine busy with programs that end with this one, in any case."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(OTHER_PROGRAMS)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


PLAYING = ("locust", "run", "overload", "quickstart")
"""The commands that make one run."""
LAST = {
    **dict.fromkeys(PLAYING, "report.html"),
    **{"capacity": "capacity.html", "compare": "compare.html", "check": "check.md"},
}
"""The document whose path is the last line of a command."""
UNWRITTEN = re.compile(r"NoneType|\bNone\b(?! of )|\bnan\b|\{[a-z_]+\}")
"""Words of sentences that lack a value."""


def check(command: str, ended: CompletedProcess[str], folders: list[Path]) -> None:
    """Check that the documents of a command exist, and that its words agree with them."""
    printed = ended.stdout + ended.stderr
    assert not UNWRITTEN.search(printed), printed
    for folder in folders:
        assert files.read_document(folder)["state"] == "ended", printed
        assert files.read_table(folder, "sessions", ["session_id"]).num_rows, printed
        assert {"report.html", "summary.json"} <= {path.name for path in folder.iterdir()}
    assert ended.stdout.rstrip().endswith(LAST.get(command, "")), printed
    if command in PLAYING:
        (folder,) = folders
        verdict = json.loads((folder / "summary.json").read_text())["validity"]["status"]
        assert (verdict == "invalid") == ("✕ INVALID" in printed), (verdict, printed)
        is_unusable = ended.returncode == INVALID_STATUS
        # a quick start shows that the tool works, also if its values are uncertain
        assert command == "quickstart" or is_unusable == (verdict != "valid"), (verdict, printed)
    if command == "capacity":
        search = folders[0].parents[1]
        found = json.loads((search / "capacity.json").read_text())
        assert len(folders) == len([*(search / "logs").iterdir()]), printed
        assert found["headline"].lower() in " ".join(printed.split()).lower(), (found, printed)


QUICK_START = [("rtbench", "quickstart")]
"""A block of the first page. The README has the command, too, and it takes longest."""
BLOCKS = {str(one.id): one.values[0] for one in blocks(FIRST) if one.values[0] != QUICK_START}


def length(name: str) -> int:
    """Return a rough length of a block: searches and runs with a peak take long."""
    return sum(6 if SHORTER.keys() & {*words} else 1 for words in BLOCKS[name])


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, stored: Path, simulator: Ready
) -> Mapping[str, Future[None]]:
    """Run all blocks, the longest first. The programs slow down other tests, so they run only
    meanwhile.
    """
    parent = tmp_path_factory.mktemp("places")
    places = {name: new_place(parent / name, stored, simulator) for name in BLOCKS}
    with busy_machine(), ThreadPoolExecutor(READERS) as readers:
        return {
            name: readers.submit(run_block, BLOCKS[name], places[name], simulator, check)
            for name in sorted(BLOCKS, key=length, reverse=True)
        }


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_commands_runs(name: str, played: Mapping[str, Future[None]]) -> None:
    played[name].result()
