"""Copies a worker's part of a run to the host of its master, in chunks that may be lost, come twice or out of order.

A chunk says at which byte of which file it begins, so the copy takes what it lacks and nothing twice; it answers with
how much it has, and the worker goes on there. Streams (rows, what was said, event logs) only grow. Documents
(histograms, facts) are replaced as a whole, and numbered: the facts that say that a worker is done were read before its
streams were, so they come after all that they tell of. Nothing is known here of how chunks travel.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.run.folder import SCHEMAS
from bench.run.spool import EVENTS, path_of
from bench.run.worker_part import FACTS, HISTOGRAMS, TRANSCRIPT, rows_of
from bench.untrusted.safe_io import replace_text

CHUNK_BYTES = 128 << 10
"""At most, before it is compressed, which takes a worker a millisecond or two."""
STREAMS = (*(rows_of(table) for table in SCHEMAS), TRANSCRIPT)
DOCUMENTS = (HISTOGRAMS, FACTS)
"""In the order in which they travel: the facts last, for they may say that the worker is done."""
MOST_DOCUMENT_BYTES = 64 << 20
EVENT_LOG = re.compile(rf"{EVENTS}/w\d{{1,9}}-\d{{1,12}}\.jsonl", re.ASCII)
KEY_BYTES = 32
OF_STREAM = 0
"""The version of what only grows."""
NO_DOCUMENT = 0, b""


class PartChunk(msgspec.Struct, frozen=True):
    """A piece of a file: `data` (zlib) begins at byte `offset` of it. `total`: the size of a document, else 0.

    `seal`: a hash of all else under a key that its worker made up and told its master alone.
    """

    name: str
    version: int
    offset: int
    total: int
    data: bytes
    seal: bytes

    @staticmethod
    def sealed(key: bytes, name: str, version: int, offset: int, total: int, data: bytes) -> PartChunk:
        return PartChunk(name, version, offset, total, data, _seal(key, (name, version, offset, total), data))

    def is_sealed(self, key: bytes) -> bool:
        """Whether it is as the worker with this key sent it."""
        seal = _seal(key, (self.name, self.version, self.offset, self.total), self.data)
        return hmac.compare_digest(seal, self.seal)


class ChunkAck(msgspec.Struct, frozen=True):
    """How many bytes of a file (of this version) the copy has."""

    name: str
    version: int
    size: int


class BadChunkError(ValueError):
    """A chunk that no worker of ours sends."""


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def _seal(key: bytes, place: tuple[str, int, int, int], data: bytes) -> bytes:
    return hashlib.blake2b(repr(place).encode() + data, key=key[:KEY_BYTES], digest_size=16).digest()


class PartSource:
    """The files of worker number `worker` in a folder of its own host, and how much of them the copy has."""

    def __init__(self, folder: Path, worker: int, key: bytes) -> None:
        self._folder, self._worker, self._key = folder, worker, key
        self.chunk_bytes = CHUNK_BYTES
        self._copied: dict[str, int] = {}
        """How many bytes of each stream, and of the version of each document, the copy has."""
        self._documents: dict[str, tuple[int, bytes]] = {}
        """The version of each document that was read last, and its bytes."""

    def chunks(self) -> Iterator[PartChunk]:
        """Yield what the copy lacks of what is there now; each chunk once its receipt, `note`, was asked for."""
        for name in DOCUMENTS:
            # before the streams: facts that say `done` must not come ahead of rows that they count
            self._read(name)
        logs = sorted((self._folder / EVENTS).glob("*.jsonl"))
        for name in (*STREAMS, *(f"{EVENTS}/{log.name}" for log in logs)):
            while (chunk := self._of_stream(name)) is not None:
                yield chunk
        for name in DOCUMENTS:
            while (chunk := self._of_document(name)) is not None:
                yield chunk

    def note(self, receipt: ChunkAck) -> None:
        # else it has been read anew meanwhile, and the copy has none of that
        if receipt.version in (OF_STREAM, self._documents.get(receipt.name, NO_DOCUMENT)[0]):
            self._copied[receipt.name] = receipt.size

    def _of_stream(self, name: str) -> PartChunk | None:
        offset = self._copied.get(name, 0)
        try:
            with part_file(self._folder, self._worker, name).open("rb") as file:
                file.seek(offset)
                data = file.read(self.chunk_bytes)
        except FileNotFoundError:
            return None
        return PartChunk.sealed(self._key, name, OF_STREAM, offset, 0, zlib.compress(data, 1)) if data else None

    def _read(self, name: str) -> None:
        try:
            data = part_file(self._folder, self._worker, name).read_bytes()
        except FileNotFoundError:
            return
        version, before = self._documents.get(name, NO_DOCUMENT)
        if data != before:
            self._documents[name], self._copied[name] = (version + 1, data), 0

    def _of_document(self, name: str) -> PartChunk | None:
        (version, data), offset = self._documents.get(name, NO_DOCUMENT), self._copied.get(name, 0)
        if offset == len(data):
            return None
        piece = data[offset : offset + self.chunk_bytes]
        return PartChunk.sealed(self._key, name, version, offset, len(data), zlib.compress(piece, 1))


class PartReplica:
    """The copy of worker number `worker`'s files in a run's folder. Raises OSError where the disk takes no more."""

    def __init__(self, folder: Path, worker: int, key: bytes) -> None:
        self._folder, self._worker, self._key = folder, worker, key
        self._gathered: dict[str, tuple[int, bytearray]] = {}
        """The version of each document that is on its way, and what came of it."""

    def take(self, chunk: PartChunk) -> ChunkAck:
        """Keep what is new of a chunk. Raises BadChunkError for one that no worker of ours sends."""
        if not chunk.is_sealed(self._key):
            raise BadChunkError("it is not as its worker sent it")
        unpacking = zlib.decompressobj()
        try:
            data = unpacking.decompress(chunk.data, CHUNK_BYTES)
        except zlib.error as error:
            raise BadChunkError(f"it is damaged: {error}") from None
        if not unpacking.eof:
            raise BadChunkError("it is cut, or larger than a chunk may be")
        if chunk.name in STREAMS or EVENT_LOG.fullmatch(chunk.name):
            return ChunkAck(chunk.name, OF_STREAM, self._grow(chunk, data))
        if chunk.name in DOCUMENTS:
            return ChunkAck(chunk.name, chunk.version, self._gather(chunk, data))
        raise BadChunkError(f"it is of {chunk.name!r:.60}, which no part has")

    def _grow(self, chunk: PartChunk, data: bytes) -> int:
        path = part_file(self._folder, self._worker, chunk.name)
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            size = file.tell()
            # what it lacks: a chunk may come twice, or before one that was lost
            if 0 <= chunk.offset <= size < chunk.offset + len(data):
                try:
                    file.write(data[size - chunk.offset :])
                    file.flush()
                except OSError:
                    # the half of a chunk would be in the way of the whole one
                    file.truncate(size)
                    raise
                size = chunk.offset + len(data)
        return size

    def _gather(self, chunk: PartChunk, data: bytes) -> int:
        if not 0 <= chunk.offset <= chunk.total <= MOST_DOCUMENT_BYTES:
            raise BadChunkError("it is of a document larger than any")
        version, gathered = self._gathered.get(chunk.name, (0, bytearray()))
        if chunk.version < version:
            return chunk.total  # a newer one is on its way, or there
        if chunk.version > version:
            gathered = bytearray()
            self._gathered[chunk.name] = chunk.version, gathered
        size = len(gathered)
        if chunk.offset <= size < chunk.offset + len(data):
            gathered += data[size - chunk.offset :]
        if len(gathered) == chunk.total and (size < chunk.total or not chunk.total):
            replace_text(part_file(self._folder, self._worker, chunk.name), gathered.decode("utf-8", "replace"))
        return len(gathered)


def part_file(folder: Path, worker: int, name: str) -> Path:
    return folder / name if name.startswith(f"{EVENTS}/") else path_of(folder, worker, name)
