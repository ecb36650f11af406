"""Pieces of a table into a file of one format; each function returns the number of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

Format = Literal["csv", "parquet", "json"]
SUFFIXES: dict[Format, str] = {"csv": "csv", "parquet": "parquet", "json": "jsonl"}
_FORMULA = r"^([=+\-@\t\r])"
ROW_GROUP = 131_072
"""Rows of a row group in Parquet: small ones compress badly and read slowly."""


def write_csv(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> int:
    """UTF-8 with a header; text in quotes, numbers and true/false not; a null is empty, an empty text is `""`.

    Text that a spreadsheet would compute has `'` before it: services and files of others put words into cells.
    """
    with path.open("wb") as file, pa_csv.CSVWriter(file, schema) as writer:
        return _each(pieces, lambda piece: writer.write_table(_without_formulas(piece)))


def write_parquet(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table]) -> int:
    """Compressed by zstd."""
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        return _each(_grouped(pieces), writer.write_table)


def write_json(path: Path, _: pa.Schema, pieces: Iterable[pa.Table]) -> int:
    """JSON lines: an object per row with every column in it; what does not exist is null."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        return _each(pieces, lambda piece: file.writelines(json_lines(piece)))


WRITERS: dict[Format, Callable[[Path, pa.Schema, Iterable[pa.Table]], int]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "json": write_json,
}


def _each(pieces: Iterable[pa.Table], write: Callable[[pa.Table], object]) -> int:
    count = 0
    for piece in pieces:
        write(piece)
        count += len(piece)
    return count


def _without_formulas(piece: pa.Table) -> pa.Table:
    """The table with its texts as texts: spreadsheets take what begins with one of `= + - @`, tab, CR for a formula."""
    for number, field in enumerate(piece.schema):
        if pa.types.is_string(field.type):
            text = pc.replace_substring_regex(piece.column(number), _FORMULA, r"'\1")
            piece = piece.set_column(number, field, text)
    return piece


def _grouped(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def json_lines(piece: pa.Table) -> list[str]:
    """The rows as lines, put together column by column: row by row it would be a hundred million Python objects."""
    parts: list[pa.Array | pa.Scalar] = []
    for number, name in enumerate(piece.column_names):
        lead = "{" if number == 0 else ","
        parts += [pa.scalar(f"{lead}{json.dumps(name)}:"), _as_json(piece[name].combine_chunks())]
    joined = pc.binary_join_element_wise(*parts, pa.scalar("}\n"), "", null_handling="replace", null_replacement="null")
    lines: list[str] = joined.to_pylist()
    return lines


def _as_json(column: pa.Array) -> pa.Array:
    """Each value as JSON has it; null stays null. Numbers that are not finite have no JSON and become null."""
    if pa.types.is_string(column.type):
        coded = column.dictionary_encode()
        said = pa.array([json.dumps(text, ensure_ascii=False) for text in coded.dictionary.to_pylist()], pa.string())
        return said.take(coded.indices)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    return column.cast(pa.string())
