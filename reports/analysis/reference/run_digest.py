"""The digest of a run's raw data, with which anyone can check that published values belong to a published folder.

It is the SHA-256, in hex, over a line for each file of RAW_FILES, in alphabetical order. A line is the SHA-256 of the
file in hex, two spaces, the name of the file, and a line feed. So the commands on the page print the same digest.

Files that the tool computes from these, such as reports, are not included, because they may be written again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.base.errors import UsageError
from bench.files.safe_io import open_file

RAW_FILES = (
    "histograms.hlog",
    "run.json",
    "seconds.parquet",
    "sessions.parquet",
    "turns.parquet",
    "uncertainty.parquet",
)
CHUNK_BYTES = 1 << 20


def run_digest(folder: Path) -> str:
    """Return the digest of the raw data of a finalized run. Raise UsageError if a file is missing or unreadable."""
    lines = []
    for name in RAW_FILES:
        try:
            with open_file(folder / name) as file:
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
            lines.append(f"{digest.hexdigest()}  {name}\n")
        except FileNotFoundError:
            raise UsageError(f"{folder} has no {name}: name the folder of a run that has ended") from None
        except OSError as error:
            raise UsageError(f"{folder / name} cannot be read: {error.strerror}") from None
    return hashlib.sha256("".join(lines).encode()).hexdigest()
