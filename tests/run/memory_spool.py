"""A spool that is no file: what a worker on another host would need, without the way there."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO


class MemorySpool:
    """Keeps a worker's part in memory, and gives it back; its event logs are in a folder of the worker's own."""

    def __init__(self, events: Path, worker: int = 0, run_id: str = "run") -> None:
        self.events, self.worker, self.run_id = events, worker, run_id
        self.streams: defaultdict[str, bytearray] = defaultdict(bytearray)
        self.documents: dict[str, str] = {}
        self.full = False
        self.lives = False
        """Whether its worker does."""

    # As a worker sees it.

    def stream(self, name: str) -> MemoryStream:
        assert name not in self.streams
        return MemoryStream(self, name)

    def replace(self, name: str, text: str) -> None:
        self.take_or_refuse()
        self.documents[name] = text

    def take_or_refuse(self) -> None:
        if self.full:
            raise OSError(28, "No space left")

    # As whoever closes the run sees it.

    @property
    def event_logs(self) -> Sequence[Path]:
        return sorted(self.events.glob("*.jsonl"))

    def open(self, name: str) -> BinaryIO | None:
        if name in self.documents:
            return io.BytesIO(self.documents[name].encode())
        return io.BytesIO(bytes(self.streams[name])) if name in self.streams else None

    def is_written_by(self, pid: int | None) -> bool:
        return pid is not None and self.lives


class MemoryStream:
    """A stream of a `MemorySpool`."""

    def __init__(self, spool: MemorySpool, name: str) -> None:
        self._spool, self._bytes = spool, spool.streams[name]

    def append(self, data: bytes) -> None:
        self._spool.take_or_refuse()
        self._bytes += data

    def close(self) -> None:
        self._spool.take_or_refuse()
