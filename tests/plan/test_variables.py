"""Variables: which files are read, and how a row fills a text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.plan.draws import filled, load_rows, names_in

ADA = {"name": "Ada", "order": "4711"}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,order\nAda,4711\nBob,12\n"),
        ("a.CSV", '\ufeffname , order\r\n"Ada",4711\r\n\r\nBob, 12'),
        ("a.jsonl", '{"name": "Ada", "order": 4711}\n\n{"order": "12", "name": "Bob"}'),
        ("a.jsonl", '{"name": "Ada", "order": 4711}\r\n{"name": " Bob", "order": 12}\r\n'),
    ],
)
def test_rows_are_read_with_their_names(tmp_path: Path, name: str, text: str) -> None:
    rows = load_rows(write(tmp_path / name, text))

    assert rows.rows == (ADA, {"name": "Bob", "order": "12"})
    assert rows.names == ("name", "order")
    assert len(bytes.fromhex(rows.digest)) == 32


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    rows = load_rows(write(tmp_path / "a.jsonl", '{"a": 1.50, "b": -0, "c": 1e400, "d": 12345678901234567890123}'))

    assert list(rows.rows[0].values()) == ["1.50", "-0", "1e400", "12345678901234567890123"]


WRONG = [
    ("a.csv", "", "a.csv:1: has no names"),
    ("a.csv", "name\n", "a.csv: has no row of variables"),
    ("a.jsonl", "\n", "a.jsonl: has no row of variables"),
    ("a.txt", "name\nAda\n", "a.txt: variables are read from .csv and .jsonl files"),
    ("a.csv", "name,name\nAda,Bob\n", "a.csv:1: has the name 'name' twice"),
    ("a.csv", "name,\nAda,Bob\n", "a.csv:1: has the name ''; a name is text without $, { and }"),
    ("a.csv", "${name}\nAda\n", "a.csv:1: has the name '${name}'"),
    ("a.csv", "name,order\nAda\n", "a.csv:2: must have 2 cells, one for each name, not 1"),
    ("a.csv", "name\nAda,Bob\n", "a.csv:2: must have 1 cells, one for each name, not 2"),
    ("a.csv", "name,order\nAda,4711\nBob,\n", "a.csv:3: has no value for 'order'"),
    ("a.csv", 'name\n"Ada\n', "a.csv:2: is not CSV"),
    ("a.jsonl", '{"name": "Ada"}\n{"name"\n', "a.jsonl:2: is not JSON"),
    ("a.jsonl", "[" * 100_000, "a.jsonl:1: is not JSON"),
    ("a.jsonl", '["Ada"]', 'a.jsonl:1: must be an object, as in {"name": "Ada"}'),
    ("a.jsonl", '{"name": "Ada", "name": "Bob"}', "a.jsonl:1: has the name 'name' twice"),
    ("a.jsonl", '{"name": null}', "a.jsonl:1: must have text or a number for 'name'"),
    ("a.jsonl", '{"name": true}', "a.jsonl:1: must have text or a number for 'name'"),
    ("a.jsonl", '{"name": NaN}', "a.jsonl:1: must have text or a number for 'name'"),
    ("a.jsonl", '{"name": {"first": "Ada"}}', "a.jsonl:1: must have text or a number for 'name'"),
    ("a.jsonl", '{"name": "  "}', "a.jsonl:1: has no value for 'name'"),
    ("a.jsonl", '{"name": "\\ud800"}', "a.jsonl:1: must have Unicode text, without surrogates, for 'name'"),
    ("a.jsonl", "{}", "a.jsonl:1: has no names"),
    ("a.jsonl", '{"name": "Ada"}\n{"order": 1}', "a.jsonl:2: has the names 'order', the first row has 'name'"),
]


@pytest.mark.parametrize(("name", "text", "words"), WRONG, ids=[f"{name} {text[:30]!r}" for name, text, _ in WRONG])
def test_what_is_wrong_with_variables_is_said_with_its_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_rows(write(tmp_path / name, text))

    assert str(caught.value).startswith(f"{tmp_path}/{words}")
    assert str(caught.value).isprintable()


def test_variables_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes("name\nGrüße\n".encode("latin-1"))

    with pytest.raises(UsageError, match="no such file"):
        load_rows(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        load_rows(tmp_path / "folder.csv")
    with pytest.raises(UsageError, match=r"latin\.csv:2: is not UTF-8 text"):
        load_rows(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("I am ${name}.", "I am Ada."),
        ("${name}${order}", "Ada4711"),
        ("$${name}", "${name}"),
        ("$$${order}", "$4711"),
        ("$$$${order}", "$${order}"),
        ("$name {name} $ {name} ${} $$", "$name {name} $ {name} ${} $$"),
        ("${${name}}", "${Ada}"),
    ],
)
def test_a_row_fills_the_places_of_its_names(text: str, result: str) -> None:
    assert filled(text, ADA) == result


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has \$\{city\}, the variables have only name, order"):
        filled("In ${city}", ADA)


def test_the_names_of_a_text_are_those_that_are_filled() -> None:
    assert names_in("${a} $${b} $$${c} ${d e} $f ${a}") == {"a", "c", "d e"}


PIECES = st.lists(st.sampled_from(["$", "{", "}", "${name}", "${order}", "x", " "]), max_size=12).map("".join)


@given(text=PIECES)
def test_nothing_but_places_and_doubled_dollar_signs_is_changed(text: str) -> None:
    assume(names_in(text) <= ADA.keys())
    result = filled(text, ADA)

    if not names_in(text):
        assert result.replace("$", "") == text.replace("$", "")
    if "$$" not in text:
        assert result == text.replace("${name}", "Ada").replace("${order}", "4711")


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).map(str.strip).filter(bool)
TABLES = st.lists(NAMES, min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=1, max_size=3)
)


@given(table=TABLES)
def test_both_kinds_of_file_give_back_what_was_written(table: list[dict[str, str]]) -> None:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(table[0]))
    writer.writeheader()
    writer.writerows(table)

    with TemporaryDirectory() as folder:
        for name, text in [("a.csv", lines.getvalue()), ("a.jsonl", "\n".join(map(json.dumps, table)))]:
            assert list(load_rows(write(Path(folder) / name, text)).rows) == table
