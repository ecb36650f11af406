"""Says which version of the tool is installed, and refuses the system on which there is none.

Windows lacks sockets, signals and files as Linux and macOS have them, so nothing else is imported before it is refused.
"""

from __future__ import annotations

import sys
from functools import cache

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
