"""Shells complete the commands and their options. The tests use the installed scripts in the
installed shells.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = Path(sys.executable).parent
ASKED = {
    "bash": (
        'source "$1"; COMP_WORDS=({line}); COMP_CWORD={last}; _rtbench_completion rtbench; echo'
        ' "${{COMPREPLY}}"'
    ),
    "fish": 'source $argv[2]; complete -C "{line}"',
}


@pytest.mark.parametrize("shell", ASKED)
@pytest.mark.parametrize(
    ("line", "completed"), [("rtbench calib", "calibrate"), ("rtbench check --t", "--thresholds")]
)
def test_a_shell_completes_commands_and_options(
    shell: str, line: str, completed: str, tmp_path: Path
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    (tmp_path / "script").write_text(script(shell))
    asked = ASKED[shell].format(last=len(line.split()) - 1, line=line)
    command = [program, "-c", asked, "-", str(tmp_path / "script")]
    environment = os.environ | {"PATH": f"{COMMANDS}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert ended.stdout.split()[0] == completed


def script(shell: str) -> str:
    """Return the script that `rtbench --show-completion` prints in this shell."""
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [str(COMMANDS / "rtbench"), "--show-completion", shell]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
