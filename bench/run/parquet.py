"""Opens a table of a run folder, which somebody else may have sent: a file of a few kilobytes can hold a billion rows.

What is written by this tool has 20 bytes a row and more, and is 30 times as large in memory. What would be far more is
refused before it is read, and so is a column of another type than ours.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.foreign import open_file

ANY_ROWS, BYTES_PER_ROW = 100_000, 4
"""Most rows in any file, and the bytes of it that allow one more."""
ANY_BYTES, GROWTH = 256 << 20, 200
"""Most bytes of any column in memory, and how many more each byte of the file allows."""
ENCODINGS = frozenset({"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"})
"""Encodings of which the size of what comes out is known. Of others a word can be all of the word before."""


@contextmanager
def open_rows(
    path: Path, schema: pa.Schema, dictionaries: Collection[str] = (), beside: int = 0
) -> Iterator[tuple[pq.ParquetFile, list[str]]]:
    """(a file of rows, the columns of `schema` that it has). `dictionaries`: columns of texts that are read as such.
    `beside`: how many rows the file has that it stands beside, row for row: it may have as many, however small it is.

    Raises OSError for what is no regular file, pyarrow.ArrowException for what is no Parquet, or no such table.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
    with ExitStack() as opened_files:
        table = opened_files.enter_context(pq.ParquetFile(path))
        metadata = table.metadata
        if metadata.num_rows > max(beside, ANY_ROWS + size // BYTES_PER_ROW):
            raise pa.ArrowInvalid(
                f"{path.name} has {metadata.num_rows:,} rows in {size:,} bytes, which no run can have"
            )
        if encoded := [name for name in metadata.schema.names if name in dictionaries]:
            table = opened_files.enter_context(pq.ParquetFile(path, metadata=metadata, read_dictionary=encoded))
        there = _fitting(path, table.schema_arrow, schema)
        places = _places(path, metadata, there)
        most = ANY_BYTES + GROWTH * size
        _check_sizes(path, metadata, places, most)
        texts = {n: at for n, at in places.items() if pa.types.is_string(schema.field(n).type) and n not in encoded}
        _check_texts(path, metadata, texts, most)
        yield table, there


def _fitting(path: Path, written: pa.Schema, schema: pa.Schema) -> list[str]:
    """The columns of `schema` that are written, each once and as it is meant."""
    times = Counter(written.names)
    there = [name for name in schema.names if name in times]
    for name in there:
        if times[name] > 1:
            raise pa.ArrowInvalid(f"{path.name} has the column {name} twice")
        kind = written.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if kind != schema.field(name).type:
            raise pa.ArrowInvalid(f"the column {name} of {path.name} is {kind}, and must be {schema.field(name).type}")
    return there


def _places(path: Path, metadata: pq.FileMetaData, names: list[str]) -> dict[str, int]:
    """Where columns stand among those of a row group; none of ours has columns inside."""
    places = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
    return {name: places[name] for name in names}


def _check_sizes(path: Path, metadata: pq.FileMetaData, places: dict[str, int], most: int) -> None:
    for name, place in places.items():
        chunks = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups)]
        if other := {encoding for chunk in chunks for encoding in chunk.encodings} - ENCODINGS:
            raise pa.ArrowInvalid(f"the column {name} of {path.name} is encoded as {min(other)}, as none of ours is")
        if sum(chunk.total_uncompressed_size for chunk in chunks) > most:
            raise _too_large(path, name)


def _check_texts(path: Path, metadata: pq.FileMetaData, places: dict[str, int], most: int) -> None:
    """A text that is written once stands in memory as often as rows have it: read so only where that may be much."""
    for name, place in places.items():
        chunks = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups)]
        longest = (c.total_uncompressed_size * (c.num_values if c.has_dictionary_page else 1) for c in chunks)
        if sum(longest) <= most:
            continue
        left = most
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=[name]) as table:
            for group in range(metadata.num_row_groups):
                left -= sum(map(_text_bytes, table.read_row_group(group, [name]).column(0).chunks))
                if left < 0:
                    raise _too_large(path, name)


def _text_bytes(texts: pa.DictionaryArray) -> int:
    """How long texts are that are encoded as a dictionary, each as often as it occurs."""
    lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(texts.indices)).as_py() or 0


def _too_large(path: Path, name: str) -> pa.ArrowInvalid:
    return pa.ArrowInvalid(f"the column {name} of {path.name} is larger in memory than any run's")
