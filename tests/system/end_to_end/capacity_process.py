"""The process of `rtbench capacity`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import forked


@contextmanager
def capacity(scenario: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `rtbench capacity` on a scenario."""
    command = [
        sys.executable,
        "-m",
        "rtbench.cli.app",
        "capacity",
        str(scenario),
        "-o",
        str(out),
        *options,
    ]
    process = forked.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "capacity.json").read_text())
    return document
