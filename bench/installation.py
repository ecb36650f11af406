"""Says which version of the tool is installed, refuses the system on which there is none, and starts its processes.

Windows lacks sockets, signals and files as Linux and macOS have them, so nothing else is imported before it is refused.

Python looks for modules in the working folder first, and then along PYTHONPATH. A user's own `bench.py` or `reports/`
there would be taken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.errors import USAGE_STATUS


def refuse_windows() -> None:
    """End the process on Windows, before anything is imported there that it does not have."""
    if sys.platform == "win32":
        print("rtbench: Windows is not supported: use rtbench in WSL (`wsl --install`), as on Linux", file=sys.stderr)
        sys.exit(USAGE_STATUS)


@cache
def tool_version() -> str:
    """The version of this package; "unknown" of a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rtbench")
    except PackageNotFoundError:
        return "unknown"


KILLED_S = 10.0
"""How long a process that was killed is waited for: the kernel may hold it, as on a disk that does not answer."""
HOME = str(Path(__file__).resolve().parents[1])
EXAMPLES = Path(HOME) / "scenarios"
"""The scenarios that come with the tool."""


def python_command(module: str, *words: str) -> list[str]:
    """`python -P -m module words…`: -P leaves the working folder off the path."""
    return [sys.executable, "-P", "-m", module, *words]


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which our packages come before all else of PYTHONPATH, where that is set."""
    path = environ.get("PYTHONPATH")
    return dict(environ) | ({"PYTHONPATH": os.pathsep.join((HOME, path))} if path else {})


def terminate(process: subprocess.Popen[bytes], within_s: float = 0.0) -> None:
    """Wait so long for a process to end; then kill it, and what it has started where it leads a session of its own."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILLED_S)


def last_line(printed: str, otherwise: str = "it printed nothing") -> str:
    """Return the last line that a process of ours printed, without `rtbench: `; `otherwise` if it printed nothing."""
    return (printed.strip().splitlines() or [otherwise])[-1].removeprefix("rtbench: ")


def is_alive(pid: object) -> bool:
    """Whether a process of this number runs on this host, and is not one that has ended and waits for its parent."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, OverflowError):  # the latter of a number that no process has
        return False
    except OSError:  # another user's, or a system without /proc
        return True
