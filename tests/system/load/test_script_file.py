"""The Locust files of this tool that play other files: `scenarios/script.py`, and that of
`rtbench overload`. They run in their own process, because importing Locust patches the standard
library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.base.installation import EXAMPLES
from rtbench.cli.overload import LOCUST_FILE
from rtbench.overload import OVERLOAD
from tests import forked

SCRIPT = EXAMPLES / "script.py"
CLASSES = """
import json, sys
from locust.argument_parser import get_parser
from locust.util.load_locustfile import load_locustfile
path = sys.argv[2]
found = load_locustfile(path)[0]
flags = [flag for action in get_parser()._actions for flag in action.option_strings]
print(json.dumps({
    "option": "--script" in flags,
    "classes": {
        name: {
            "module": user.__module__,
            "scenario": user.scenario_name(),
            "scripts": [str(task.does) for task in user.tasks],
            "asks": bool(getattr(user, "asks", "")) and bool(user.settings() and user.steps),
        }
        for name, user in found.items()
    },
}))
"""


def imported(
    file: Path, folder: Path, *words: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Import a Locust file as `locust -f FILE WORDS` does, and print its classes as JSON."""
    return forked.run(
        [sys.executable, "-c", CLASSES, "-f", str(file), *words],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def classes_of(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("words", "environ", "names"),
    [
        (("--script", "a.yaml", "--headless"), {}, ["a"]),
        (("-u", "3", "--script=a.yaml", "--script", "b/c.yaml"), {}, ["a", "c"]),
        ((), {"LOCUST_SCRIPT": "a.yaml"}, ["a"]),
    ],
)
def test_the_locust_file_of_scripts_plays_those_of_its_option(
    words: tuple[str, ...], environ: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    found = classes_of(imported(SCRIPT, tmp_path, *words, **environ))
    (caller,) = found["classes"].values()

    assert found["option"]
    assert caller["scenario"] == "_and_".join(names)
    assert [Path(path).stem for path in caller["scripts"]] == names
    assert all(Path(path).is_relative_to(tmp_path) for path in caller["scripts"])


def overload(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    settings = {"probe": {"asks": str(file), "fixed_count": 3}, "peak": {"load": 4}}
    return imported(LOCUST_FILE, folder, **{OVERLOAD: json.dumps(settings)})


def test_the_callers_of_a_locust_file_have_probes_that_ask_its_first_script(
    tmp_path: Path,
) -> None:
    found = classes_of(overload(EXAMPLES / "mixed.py", tmp_path))["classes"]
    probe = found.pop("Probe")

    assert {one["module"] for one in found.values()} == {"mixed"}
    assert (probe["scenario"], probe["asks"]) == ("mixed", True)


OWN = "from locust import task\nfrom rtbench import OverloadShape, RealtimeUser\n"
IN_PYTHON = f"{OWN}class A(RealtimeUser):\n    @task\n    def a(self): self.text('Hello')\n"
SHAPED = f"{OWN}class A(RealtimeUser): script = 'mine.yaml'\nclass B(OverloadShape): peak = 3\n"


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        (
            "script.py",
            "",
            "name the YAML scripts that callers play: --script mine.yaml; also on each worker",
        ),
        (
            "own.py",
            IN_PYTHON,
            "own.py has no YAML script, whose first text or audio the probe callers could ask: name"
            " a script",
        ),
        ("own.py", SHAPED, "own.py has its own load shape: use `rtbench run`"),
    ],
)
def test_a_file_that_plays_nothing_is_refused_in_one_line(
    file: str, content: str, line: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.write_text(content)
    ended = overload(path, tmp_path) if content else imported(SCRIPT, tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.replace(f"{tmp_path}/", "") == f"rtbench: {line}\n"
