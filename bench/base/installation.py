"""The installed version, the exit on Windows, and the start and end of this tool's processes.

The check for Windows comes before any import of sockets, signals and files that Windows does not
have. Python searches modules in the working folder first, and would import a user's own `bench.py`
or `reports/` instead of ours.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.base.errors import USAGE_STATUS


def windows_problem() -> str:
    """Return the text about an unsupported system; "" if the system is supported."""
    if sys.platform == "win32":
        return "Windows is not supported: use rtbench in WSL (`wsl --install`), as on Linux"
    return ""


def refuse_windows() -> None:
    """Exit if the system is Windows. Call this before modules are imported that Windows does not
    have.
    """
    if problem := windows_problem():
        print(f"rtbench: {problem}", file=sys.stderr)
        sys.exit(USAGE_STATUS)


@cache
def tool_version() -> str:
    """Return the version of this package; "unknown" if it is not installed, as in a checkout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rtbench")
    except PackageNotFoundError:
        return "unknown"


KILLED_S = 10.0
"""The maximum wait until a killed process has ended. The kernel may delay the end, if for
example a disk is stuck."""
REPORT_PACKAGES = ("pandas", "scipy", "junitparser")
"""The packages that only reports need. A load generator without them records runs, which are
closed elsewhere."""
PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
EXAMPLES = Path(PACKAGE_ROOT) / "scenarios"
"""The scenarios that come with the tool."""


def python_command(module: str, *words: str) -> list[str]:
    """Return the command `python -P -m module words…`. With -P, Python imports no modules from
    the working folder.
    """
    return [sys.executable, "-P", "-m", module, *words]


def child_environment(environ: Mapping[str, str], *, captured: bool = True) -> dict[str, str]:
    """Return `environ` with our packages first in a PYTHONPATH, and UTF-8 if this process reads
    the child's output.
    """
    path = environ.get("PYTHONPATH")
    packages = {"PYTHONPATH": os.pathsep.join((PACKAGE_ROOT, path))} if path else {}
    return dict(environ) | packages | ({"PYTHONIOENCODING": "utf-8"} if captured else {})


def terminate(process: subprocess.Popen[bytes], within_s: float = 0.0) -> None:
    """Wait up to `within_s` until a process has ended. Then kill it, and its process group if it
    leads one.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILLED_S)


def last_line(printed: str, otherwise: str = "it printed nothing") -> str:
    """Return the last line that a process of this tool printed, without `rtbench: `; else
    `otherwise`.
    """
    return (printed.strip().splitlines() or [otherwise])[-1].removeprefix("rtbench: ")


def is_alive(pid: object) -> bool:
    """Return whether a process with this id runs on this host. A zombie does not count, because
    it has ended.
    """
    if not isinstance(pid, int) or pid <= 0:  # 0 and less are groups of processes
        return False
    try:
        os.kill(pid, 0)
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[0]
            != "Z"
        )
    except (ProcessLookupError, OverflowError):  # OverflowError: a number that no process can have
        return False
    except OSError:  # a process of another user, or a system without /proc
        return True
