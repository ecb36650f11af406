"""The copy of a worker's part of a run on the host of its master, in chunks that may be lost,
repeated or reordered.

A chunk names its file, and the byte at which it starts. So the copy adds only the bytes that it
lacks, and acknowledges its new size, from which the worker continues. Streams (rows, transcripts,
event logs) only grow. Documents (histograms, facts) are replaced as a whole, and have version
numbers. The facts may report that a worker is done: it reads them before its streams, but sends
them after these, so that they arrive after all data that they count.
"""

# The worker has the state of a transfer (`PartSource`), and the master only files. A lost chunk is
# sent again because it is not acknowledged, a repeated chunk adds nothing, and a chunk that comes
# too early is ignored until the missing bytes have come. So neither side has to know what was lost.
#
# Locust's port accepts messages from any program that reaches it. Therefore each chunk has a seal
# with a key of its worker, its name must be that of a file of a run, and it is unpacked only up to
# the maximum size.

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.files.safe_io import replace_text
from bench.record.folder import SCHEMAS
from bench.record.spool import EVENTS, FACTS, HISTOGRAMS, TRANSCRIPT, path_of, rows_of

CHUNK_BYTES = 128 << 10
"""The maximum size of a chunk before compression. A worker takes one or two milliseconds to make
such a chunk."""
STREAMS = (*(rows_of(table) for table in SCHEMAS), TRANSCRIPT)
DOCUMENTS = (HISTOGRAMS, FACTS)
"""The documents. The facts are sent last, because they may report that the worker is done."""
MAX_DOCUMENT_BYTES = 64 << 20
EVENT_LOG = re.compile(rf"{EVENTS}/w\d{{1,9}}-\d{{1,12}}\.jsonl", re.ASCII)
KEY_BYTES = 32
OF_STREAM = 0
"""The version number in chunks of streams. Streams have no versions."""
NO_DOCUMENT = 0, b""


class PartChunk(msgspec.Struct, frozen=True):
    """A piece of a file, from byte `offset` on, compressed with zlib. `total` is a document's size;
    0 for a stream.

    `seal` is a hash of all other fields, with a key that only the worker and its master know.
    """

    name: str
    version: int
    offset: int
    total: int
    data: bytes
    seal: bytes

    @staticmethod
    def sealed(
        key: bytes, name: str, version: int, offset: int, total: int, data: bytes
    ) -> PartChunk:
        return PartChunk(
            name, version, offset, total, data, _seal(key, (name, version, offset, total), data)
        )

    def is_sealed(self, key: bytes) -> bool:
        """Return whether the chunk is the same as when it was sent by the worker that has this
        key.
        """
        seal = _seal(key, (self.name, self.version, self.offset, self.total), self.data)
        return hmac.compare_digest(seal, self.seal)


class ChunkAck(msgspec.Struct, frozen=True):
    """The acknowledgement of a chunk. `size` is the number of bytes that the copy has of this
    version of the file.
    """

    name: str
    version: int
    size: int


class BadChunkError(ValueError):
    """An error for a chunk that none of our workers can have sent."""


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def _seal(key: bytes, header: tuple[str, int, int, int], data: bytes) -> bytes:
    return hashlib.blake2b(
        repr(header).encode() + data, key=key[:KEY_BYTES], digest_size=16
    ).digest()


class PartSource:
    """The files of worker number `worker` on its own host. It tracks how many bytes of each file
    the copy has.
    """

    def __init__(self, folder: Path, worker: int, key: bytes) -> None:
        self._folder = folder
        self._worker = worker
        self._key = key
        self.chunk_bytes = CHUNK_BYTES
        self._copied: dict[str, int] = {}
        """The number of bytes that the copy has of each stream, and of the current version of
        each document."""
        self._documents: dict[str, tuple[int, bytes]] = {}
        """The current version number of each document, and the bytes of this version."""

    def chunks(self) -> Iterator[PartChunk]:
        """Yield chunks of the data that the copy does not have. The caller passes each one's
        receipt to `add`.
        """
        for name in DOCUMENTS:
            # before the streams, because facts that report `done` must not arrive before the rows
            # that they count
            self._read(name)
        logs = sorted((self._folder / EVENTS).glob("*.jsonl"))
        for name in (*STREAMS, *(f"{EVENTS}/{log.name}" for log in logs)):
            while (chunk := self._of_stream(name)) is not None:
                yield chunk
        for name in DOCUMENTS:
            while (chunk := self._of_document(name)) is not None:
                yield chunk

    def add(self, receipt: ChunkAck) -> None:
        # otherwise the document was read again in the meantime, and the copy has nothing of the new
        # version
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
        return (
            PartChunk.sealed(self._key, name, OF_STREAM, offset, 0, zlib.compress(data, 1))
            if data
            else None
        )

    def _read(self, name: str) -> None:
        try:
            data = part_file(self._folder, self._worker, name).read_bytes()
        except FileNotFoundError:
            return
        version, old_data = self._documents.get(name, NO_DOCUMENT)
        if data != old_data:
            self._documents[name] = (version + 1, data)
            self._copied[name] = 0

    def _of_document(self, name: str) -> PartChunk | None:
        version, data = self._documents.get(name, NO_DOCUMENT)
        offset = self._copied.get(name, 0)
        if offset == len(data):
            return None
        piece = data[offset : offset + self.chunk_bytes]
        return PartChunk.sealed(
            self._key, name, version, offset, len(data), zlib.compress(piece, 1)
        )


class PartReplica:
    """The copy of worker number `worker`'s files, in the master's run folder. Raises OSError if
    a write fails.
    """

    def __init__(self, folder: Path, worker: int, key: bytes) -> None:
        self._folder = folder
        self._worker = worker
        self._key = key
        self._gathered: dict[str, tuple[int, bytearray]] = {}
        """The newest version number of each document, and the bytes of this version that were
        received."""

    def receive(self, chunk: PartChunk) -> ChunkAck:
        """Store what is new in a chunk, and acknowledge it. Raise BadChunkError if no worker can
        have sent it.
        """
        if not chunk.is_sealed(self._key):
            raise BadChunkError("it differs from what its worker sent")
        unpacking = zlib.decompressobj()
        try:
            data = unpacking.decompress(chunk.data, CHUNK_BYTES)
        except zlib.error as error:
            raise BadChunkError(f"it is damaged: {error}") from None
        if not unpacking.eof:
            raise BadChunkError("it is truncated, or larger than the maximum of a chunk")
        if chunk.name in STREAMS or EVENT_LOG.fullmatch(chunk.name):
            return ChunkAck(chunk.name, OF_STREAM, self._grow(chunk, data))
        if chunk.name in DOCUMENTS:
            return ChunkAck(chunk.name, chunk.version, self._gather(chunk, data))
        raise BadChunkError(f"it belongs to {chunk.name!r:.60}, which is not a file of a run")

    def _grow(self, chunk: PartChunk, data: bytes) -> int:
        path = part_file(self._folder, self._worker, chunk.name)
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            size = file.tell()
            # only the missing data, because a chunk may arrive twice, or after an earlier chunk was
            # lost
            if 0 <= chunk.offset <= size < chunk.offset + len(data):
                try:
                    file.write(data[size - chunk.offset :])
                    file.flush()
                except OSError:
                    # if a part of a chunk stayed in the file, the complete chunk could not be
                    # appended later
                    file.truncate(size)
                    raise
                size = chunk.offset + len(data)
        return size

    def _gather(self, chunk: PartChunk, data: bytes) -> int:
        if not 0 <= chunk.offset <= chunk.total <= MAX_DOCUMENT_BYTES:
            raise BadChunkError("it belongs to a document that is too large")
        version, gathered = self._gathered.get(chunk.name, (0, bytearray()))
        if chunk.version < version:
            return chunk.total  # a newer version is in transfer, or complete
        if chunk.version > version:
            gathered = bytearray()
            self._gathered[chunk.name] = chunk.version, gathered
        size = len(gathered)
        if chunk.offset <= size < chunk.offset + len(data):
            gathered += data[size - chunk.offset :]
        if len(gathered) == chunk.total and (size < chunk.total or not chunk.total):
            replace_text(
                part_file(self._folder, self._worker, chunk.name),
                gathered.decode("utf-8", "replace"),
            )
        return len(gathered)


def part_file(folder: Path, worker: int, name: str) -> Path:
    return folder / name if name.startswith(f"{EVENTS}/") else path_of(folder, worker, name)
