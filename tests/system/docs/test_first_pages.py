"""The commands of the README and of the first page run unchanged, on a machine that is too busy for
them.

A run may be INVALID there. An error, a missing document, a run without sessions, or a sentence that
contradicts its document is a failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bench.base.errors import INVALID_STATUS
from bench.record import folder as files
from tests.simulator_process import Ready
from tests.system.docs.reader import FIRST, blocks, run_block

OTHER_PROGRAMS = 4
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


@pytest.fixture(scope="module", autouse=True)
def busy_machine() -> Iterator[None]:
    """Keep the machine busy with programs that end with this one, in any case."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(OTHER_PROGRAMS)]
    yield
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


@pytest.mark.parametrize("lines", [one for one in blocks(FIRST) if one.values[0] != QUICK_START])
def test_a_block_of_commands_runs(
    lines: list[tuple[str, ...]], place: Path, simulator: Ready
) -> None:
    run_block(lines, place, simulator, check)
