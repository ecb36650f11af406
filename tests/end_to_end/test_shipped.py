"""What is shipped works as it is: every scenario plays, and every command line of the README is one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer

from bench.cli.app import app
from bench.outcomes import GOOD
from bench.run import folder as files
from tests import forked
from tests.end_to_end.locust_process import GUARD_S, locust, only_run, wait_for_rows
from tests.simulator_process import ROOT, Ready

SCENARIOS = {
    "text_turns": 4, "voice_turns": 1, "voice_manual": 2, "mixed": 2, "python_turns": 2, "long_call": 1, "barge_in": 1,
    "tools": 1,
}  # fmt: skip
"""After how many turns each is asked to stop, for recordings and replies take their time."""
PARSE = """
import shlex, sys
from locust.argument_parser import get_parser
import bench.load.user
parser = get_parser(default_config_files=[])
for line in sys.stdin:
    print(parser.parse_args(shlex.split(line)).locustfile)
"""


def test_every_scenario_that_is_shipped_is_played_here() -> None:
    shipped = {path.stem for path in (ROOT / "scenarios").glob("*.py")} - {"__init__"}

    assert shipped == SCENARIOS.keys()


def test_shipped_scenarios_play_and_an_interrupt_lets_their_turns_finish(simulator: Ready, tmp_path: Path) -> None:
    """All at once."""
    parents = {name: tmp_path / name for name in SCENARIOS}
    load = ("-u", "2", "-r", "2", "--url", simulator.urls["ga"])
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(locust(ROOT / "scenarios" / f"{name}.py", parents[name], *load))
            for name in SCENARIOS
        }
        for name, turns in SCENARIOS.items():
            wait_for_rows(parents[name], "turns", turns)
            processes[name].send_signal(signal.SIGINT)
        words = {name: process.communicate(timeout=GUARD_S) for name, process in processes.items()}

    for name, (output, errors) in words.items():
        folder = only_run(parents[name])
        totals = files.read_document(folder)["totals"]
        turns = files.read_table(folder, "turns").to_pylist()
        assert processes[name].returncode in (0, 4), (name, errors)
        assert "Traceback" not in output + errors, name
        assert Path(output.splitlines()[-1]) == folder / "report.html", name
        assert len(turns) == totals["turns_begun"] >= SCENARIOS[name], name
        assert {turn["outcome"] for turn in turns} <= GOOD, name
        assert set(totals["sessions"]) <= {"ok", "abandoned"}, name


def readme_lines(section: str) -> list[str]:
    """The commands in a section's shell blocks, without their comments."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^```sh\n(.*?)^```", text.replace("\\\n", " "), re.DOTALL | re.MULTILINE)
    return [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]


def test_every_locust_command_of_a_day_parses_and_names_files_that_are_there() -> None:
    lines = [line.removeprefix("locust ") for line in readme_lines("Day to day") if line.startswith("locust ")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    parsed = forked.run(
        [sys.executable, "-c", PARSE], words="\n".join(lines), capture_output=True, text=True, env=clean, check=False
    )

    named = parsed.stdout.splitlines()
    assert parsed.returncode == 0, parsed.stderr
    assert len(named) == len(lines) >= 7
    assert not [path for line in named for path in line.split(",") if not (ROOT / path).is_file()]


@pytest.mark.parametrize("section", ["One turn in detail", "Day to day"])
def test_every_rtbench_command_of_the_readme_parses(section: str) -> None:
    lines = [re.sub(r" ('?[>&]'?.*)$", "", line) for line in readme_lines(section) if "rtbench " in line]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]

    assert lines
    for line in lines:
        _, name, *arguments = shlex.split(line)
        with commands[name].make_context(name, arguments):
            pass
