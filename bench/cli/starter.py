"""Writes a folder for a new user, of the examples that come with the tool; all of it works as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from bench.errors import UsageError
from bench.spawn import HOME

EXAMPLES = Path(HOME) / "scenarios"
KEPT_PLACES = (
    "voice_turns.py",
    "ci.yaml",
    "targets.schema.json",
    "scripts/voice_turns.yaml",
    "scripts/script.schema.json",
    "audio/opening_hours.wav",
    "audio/late_parcel.wav",
    "audio/order_number.wav",
    "audio/goodbye.wav",
)
"""What is in `scenarios` in the tool and for its user, so that the commands of the documents work in both places."""


class CiSystem(StrEnum):
    """A system that runs the workflow which is written."""

    GITHUB = "github"
    AZURE = "azure"


WORKFLOWS = {CiSystem.GITHUB: ".github/workflows/latency.yml", CiSystem.AZURE: "azure-pipelines.yml"}


def starter_files(ci: CiSystem) -> Mapping[Path, Path]:
    """The files of a new folder, each with the example that it is a copy of."""
    renamed = {
        "README.md": "README.md",
        ".gitignore": "gitignore",
        "targets.yaml": "targets.yaml",
        WORKFLOWS[ci]: f"{ci}.yml",
    }
    return {Path(name): EXAMPLES / "starter" / example for name, example in renamed.items()} | {
        Path("scenarios", name): EXAMPLES / name for name in KEPT_PLACES
    }


def write_starter(folder: Path, ci: CiSystem) -> dict[Path, bool]:
    """Write the files of a new folder; returns whether each was written. What is there already stays as it is.

    Raises UsageError where the folder cannot be written.
    """
    try:
        return {path: _written(folder / path, example) for path, example in starter_files(ci).items()}
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def _written(path: Path, example: Path) -> bool:
    """Copy an example to a path where nothing is yet, not even a link that leads nowhere; returns whether it did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(example.read_bytes())
    except FileExistsError:
        return False
    return True
