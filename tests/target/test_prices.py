"""The price table. It has a date and sources, can be replaced, and contains no guessed price."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import ScriptError
from bench.catalogue.pricing import Prices
from bench.target.price_table import load_price_table

GOOD = """\
as_of: 2026-02-03
models:
  my-model:
    text_input: 1
    text_cached_input: 0.5
    text_output: 2
    audio_input: 3
    audio_cached_input: 0.25
    audio_output: 4
    source: our contract
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_built_in_price_has_a_source_and_the_table_has_a_date() -> None:
    table = load_price_table(None)

    assert [source.partition(":")[0] for source in table.sources] == list(table.models)
    assert (table.name, len(table.as_of)) == ("prices.yaml", 10)


def test_a_price_may_be_per_minute_or_per_minute_and_token(tmp_path: Path) -> None:
    by_minute = "as_of: 2026-02-03\nmodels:\n  live: {usd_per_minute: 0.05, source: a page}\n"
    both = GOOD.replace("    source:", "    image_input: 5\n    usd_per_minute: 0.02\n    source:")

    table = load_price_table(written(tmp_path, by_minute))
    assert table.models == {"live": Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.05)}
    assert table.sources == ("live: a page",)
    assert not table.models["live"].of_tokens
    assert load_price_table(written(tmp_path, both)).models == {
        "my-model": Prices(1, 0.5, 2, 3, 0.25, 4, image_input=5, usd_per_minute=0.02)
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("as_of: 2026-02-03\n", "", None, "the file needs `as_of`"),
        ("2026-02-03", "soon", 1, 'as_of must be a date, as in 2026-11-01, not the string "soon"'),
        ("2026-02-03", "2026-13-01", 1, "as_of must be a date, as in 2026-11-01, not 2026-13-01"),
        ("    text_output: 2\n", "", 3, "my-model needs `text_output`"),
        (
            "audio_input: 3",
            "audio_input: -3",
            7,
            "audio_input must be a number of US dollars from 0 to 100000, not -3",
        ),
        (
            "audio_input",
            "audio_inputt",
            7,
            "my-model has an unknown key 'audio_inputt'; did you mean audio_input?",
        ),
        (
            "audio_input: 3",
            "audio_input: !!bool x",
            7,
            "audio_input must be a number of US dollars from 0 to 100000, not x",
        ),
        ("my-model", "my model", 3, "my model is not allowed here: models must be"),
    ],
)
def test_each_error_in_a_table_has_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, words: str
) -> None:
    path = written(tmp_path, GOOD.replace(old, new))

    with pytest.raises(ScriptError) as caught:
        load_price_table(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line or 1}:{caught.value.column}: ")
