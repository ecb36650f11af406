"""The installed version, the refusal of Windows, and the start of this tool's processes.

Windows lacks sockets, signals and files as Linux and macOS have them, so nothing else is imported before it is refused.

Python searches modules in the working folder first, and then along PYTHONPATH. It would import a user's own `bench.py`
or `reports/` there instead of ours.
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
    """Exit on Windows, before the import of modules that Windows does not have."""
    if sys.platform == "win32":
        print("rtbench: Windows is not supported: use rtbench in WSL (`wsl --install`), as on Linux", file=sys.stderr)
        sys.exit(USAGE_STATUS)


@cache
def tool_version() -> str:
    """Return the version of this package; "unknown" for a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rtbench")
    except PackageNotFoundError:
        return "unknown"


KILLED_S = 10.0
"""The wait for the end of a killed process. The kernel may hold it, for example if a disk does not respond."""
PACKAGE_ROOT = str(Path(__file__).resolve().parents[1])
EXAMPLES = Path(PACKAGE_ROOT) / "scenarios"
"""The scenarios that come with the tool."""


def python_command(module: str, *words: str) -> list[str]:
    """Return the command `python -P -m module words…`. -P keeps the working folder out of the module search path."""
    return [sys.executable, "-P", "-m", module, *words]


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which our packages precede all others of PYTHONPATH, if that is set."""
    path = environ.get("PYTHONPATH")
    return dict(environ) | ({"PYTHONPATH": os.pathsep.join((PACKAGE_ROOT, path))} if path else {})


def terminate(process: subprocess.Popen[bytes], within_s: float = 0.0) -> None:
    """Wait up to `within_s` for the end of a process. Then kill it, and its process group if it leads one."""
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
    """Return whether a process with this id runs on this host. A zombie, which has ended, does not count."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, OverflowError):  # OverflowError: a number that no process can have
        return False
    except OSError:  # a process of another user, or a system without /proc
        return True
