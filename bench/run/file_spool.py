"""The spool of workers on one host: files in the run folder's `spool/`, each with its worker's number in its name.

    turns-0.arrows sessions-0.arrows seconds-0.arrows   rows, as Arrow IPC streams
    transcripts-0.jsonl                                 what was said
    histograms-0.hlog worker-0.json                     histograms and counts

Event logs are written where they stay, in the run folder's `events/`. A run of several hosts, one of which something is
missing, and one that was merged keep each worker's documents in `workers/`: their sum cannot be taken apart again.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from bench.foreign import open_file
from bench.run.disk import GrowingFile, write_text
from bench.spawn import is_alive

SPOOL, WORKERS = "spool", "workers"
EVENTS = "events"
"""The part of a run folder that holds event logs."""
OF_WORKER = re.compile(r"\w+-(\d{1,9})\.\w+", re.ASCII)
"""The name of a worker's file."""


class FileSpool:
    """What worker number `worker` writes, a `bench.run.spool.Spool`."""

    def __init__(self, folder: Path, worker: int, run_id: str = "") -> None:
        self._folder, self.run_id, self.worker = folder, run_id or folder.name, worker
        self.events = folder / EVENTS

    def stream(self, name: str) -> GrowingFile:
        """A new file."""
        return GrowingFile(path_of(self._folder, self.worker, name))

    def replace(self, name: str, text: str) -> None:
        """Write a file in one step."""
        write_text(path_of(self._folder, self.worker, name), text)


class StoredFiles:
    """What worker number `worker` has written, a `bench.run.spool.Stored`."""

    event_logs: Sequence[Path] = ()

    def __init__(self, folder: Path, worker: int, place: str = SPOOL) -> None:
        self._folder, self.worker, self._place = folder, worker, place

    def open(self, name: str) -> BinaryIO | None:
        """A file to read; None where there is none of this name. Raises OSError for what is no file."""
        try:
            return open_file(path_of(self._folder, self.worker, name, self._place))
        except FileNotFoundError:
            return None

    def is_written_by(self, pid: int | None) -> bool:
        """Whether the worker's process runs on this host."""
        return is_alive(pid)


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


def stored(folder: Path) -> list[StoredFiles]:
    """What each worker has written, by its number."""
    return _stored(folder, SPOOL)


def keep(folder: Path, worker: int, name: str, data: bytes) -> None:
    """Keep a worker's document in a run folder that is closed."""
    path = path_of(folder, worker, name, WORKERS)
    if path.parent.is_symlink():
        path.parent.unlink()  # it leads to what is not the run's
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def kept(folder: Path) -> list[StoredFiles]:
    """The documents of each worker that a closed run keeps, by its number."""
    return _stored(folder, WORKERS)


def _stored(folder: Path, place: str) -> list[StoredFiles]:
    names = (OF_WORKER.fullmatch(path.name) for path in (folder / place).glob("*"))
    return [StoredFiles(folder, worker, place) for worker in sorted({int(name[1]) for name in names if name})]


def is_reached(folder: Path, host: str) -> bool:
    """Whether a worker here can write to the spool of a master on `host`: both are on one machine."""
    return host == socket.gethostname() and folder.is_dir()
