"""What was said in a run, a JSON line per turn: a file per worker in the spool while it goes on, one at its end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.run.spool import GrowingFile

NAME = "transcripts.jsonl"


class Transcripts:
    """One worker's lines."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._file = GrowingFile(folder / "spool" / f"transcripts-{worker}.jsonl")
        self._lines: list[str] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a turn."""
        self._lines.append(json.dumps(row, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        """Lines to disk. Raises OSError and keeps them where it takes no more."""
        self._file.append("".join(self._lines).encode())
        self._lines.clear()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def join(folder: Path) -> None:
    """All workers' lines in one file, where there are any; a last line that was cut is left out."""
    parts = sorted((folder / "spool").glob("transcripts-*.jsonl"))
    if not parts:
        return
    fresh = folder / f"{NAME}.new"
    with fresh.open("wb") as joined:
        for part in parts:
            with part.open("rb") as lines:
                joined.writelines(line for line in lines if line.endswith(b"\n"))
    os.replace(fresh, folder / NAME)
