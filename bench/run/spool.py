"""Where the parts of a run's workers stand until it is closed: files in its `spool/`, each with its worker's number.

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 what was said
    histograms-0.hlog worker-0.json                     histograms and counts

A part (`bench.run.part`) is made of streams, which only grow, and of documents, which are replaced as a whole. Workers
on other hosts write the same into a folder of their own, whose files are copied (`bench.run.replica`).

Event logs are written where they stay, in the run folder's `events/`. A run of several hosts, one of which something is
missing, and one that was merged keep each worker's documents in `workers/`: their sum cannot be taken apart again.
"""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

from bench.run.disk import GrowingFile, write_text

SPOOL, WORKERS = "spool", "workers"
EVENTS = "events"
"""The part of a run folder that holds event logs."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)
"""The name of a worker's file."""


class Spool:
    """Takes the part of worker number `worker`, from 0; it holds nothing back. `events`: a folder for event logs.

    `run_id`: the run's name, where it is not the folder's.
    """

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder, self.run_id, self.worker = folder, run_id or folder.name, worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> GrowingFile:
        """A new stream; one name has one. Raises OSError where there can be none."""
        return GrowingFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, text: str) -> None:
        """Keep a document instead of the one of this name. Raises OSError, and keeps the old one, where it cannot."""
        write_text(path_of(self._folder, self.worker, name), text)


def path_of(folder: Path, worker: int, name: str, place: str = SPOOL) -> Path:
    """`spool/turns-0.arrows`: where a worker's stream or document of this name is."""
    stem, _, suffix = name.partition(".")
    return folder / place / f"{stem}-{worker}.{suffix}"


def prepare(folder: Path) -> None:
    """Make room for the workers' parts in a new run folder."""
    (folder / SPOOL).mkdir()


def is_kept(folder: Path) -> bool:
    """Whether the run folder holds its workers' parts, for it was not closed yet."""
    return (folder / SPOOL).is_dir() and not (folder / SPOOL).is_symlink()  # a link leads to what is not the run's


def remove(folder: Path) -> None:
    """Remove the workers' parts: all of them stand elsewhere."""
    shutil.rmtree(folder / SPOOL)


def workers_in(folder: Path, place: str = SPOOL) -> list[int]:
    """The numbers of the workers that have written any file."""
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / place).glob("*"))
    return sorted({int(name[1]) for name in names if name})


def keep(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Keep a worker's document in a run folder that is closed."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # it leads to what is not the run's
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def is_reached(folder: Path, host: str) -> bool:
    """Whether a worker here can write to the spool of a master on `host`: both are on one machine."""
    return host == socket.gethostname() and folder.is_dir()
