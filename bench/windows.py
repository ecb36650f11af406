"""Refuses Windows in one line: the tool needs sockets, signals and files as Linux and macOS have them."""

from __future__ import annotations

import sys

from bench.errors import USAGE_STATUS


def refuse_windows() -> None:
    """End the process on Windows, before anything is imported there that it does not have."""
    if sys.platform == "win32":
        print("rtbench: Windows is not supported: use rtbench in WSL (`wsl --install`), as on Linux", file=sys.stderr)
        sys.exit(USAGE_STATUS)
