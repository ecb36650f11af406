"""Where what a worker records goes until its run is closed: a spool takes it, and gives it back to whoever closes.

A worker's part of a run (`bench.run.part`) is made of streams, which only grow (the rows of each table, what was said),
and of documents, which are replaced as a whole (histograms, counts). Only this module knows what keeps them: another
spool, such as messages to a master on another host, is a file beside `file_spool.py`, chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from bench.run.file_spool import EVENTS, FileSpool, is_kept, is_reached, keep, kept, path_of, prepare, remove, stored

__all__ = [
    "EVENTS",
    "Spool",
    "Stored",
    "Stream",
    "is_kept",
    "is_reached",
    "keep",
    "kept",
    "path_of",
    "prepare",
    "remove",
    "spool_of",
    "stored",
]


class Stream(Protocol):
    """A stream of bytes that only grows."""

    def append(self, data: bytes) -> None:
        """Keep all of the data, whatever becomes of this process. Raises OSError where none of it could be kept."""

    def close(self) -> None:
        """Nothing more will be appended."""


class Spool(Protocol):
    """Takes the part of one worker. It holds nothing back: what is appended or replaced is kept."""

    @property
    def run_id(self) -> str:
        """The run's name."""

    @property
    def worker(self) -> int:
        """The worker's number in the run, from 0."""

    @property
    def events(self) -> Path:
        """A folder of this host for event logs, which may not be there yet."""

    def stream(self, name: str) -> Stream:
        """A new stream; one name has one stream. Raises OSError where there can be none."""

    def replace(self, name: str, text: str) -> None:
        """Keep a document instead of the one of this name. Raises OSError, and keeps the old one, where it cannot."""


class Stored(Protocol):
    """Gives back the part of one worker, complete up to its last append."""

    @property
    def worker(self) -> int:
        """The worker's number in the run, from 0."""

    @property
    def event_logs(self) -> Sequence[Path]:
        """Event logs of the worker that do not stand in the run folder yet."""

    def open(self, name: str) -> BinaryIO | None:
        """A stream or document to read, the caller closes it; None where the worker never had it.

        Raises OSError where it is there and cannot be read.
        """

    def is_written_by(self, pid: int | None) -> bool:
        """Whether the worker, which says to be the process `pid`, lives and may write more; None: it never said."""


# The one place that chooses: a run's workers take `spool_of` from here, whoever reads their parts `stored`, and whoever
# looks after all parts at once the other functions.


def spool_of(folder: Path, worker: int, run_id: str = "") -> Spool:
    """The spool that worker number `worker` of the run in this folder writes to.

    `run_id`: the run's name, where it is not the folder's.
    """
    return FileSpool(folder, worker, run_id)
