"""The price table. It has a date and sources, can be replaced, and contains no guessed price."""

from __future__ import annotations

from pathlib import Path

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
