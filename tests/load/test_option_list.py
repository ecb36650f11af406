"""`rtbench options` shows every option that Locust gets from us, as its own help would."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from bench.cli.start import OptionList, options
from bench.load.planning.run_options import add_options
from bench.protocol.dialects import DIALECTS
from bench.target.options import AUTHS


class Parser(argparse.ArgumentParser):
    """Python's own, which Locust's is made of: the oracle of names, values and helps."""

    def add_argument(self, *names: Any, env_var: str = "", include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_every_option_is_shown_with_its_value_its_variable_and_what_it_is_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = Parser(add_help=False)
    add_options(parser)
    options()
    out = capsys.readouterr().out

    assert len(parser._actions) > 30
    assert max(map(len, out.splitlines())) <= 100
    for action in parser._actions:
        value = "" if action.nargs == 0 else action.metavar or str(action.dest).upper()
        variable = f"LOCUST_{str(action.dest).upper()}"
        shown = f"\n{action.option_strings[0]} {value}".rstrip().replace("%%", "%")
        assert f"{shown} " in out
        assert squeezed((action.help or "") % {}) in squeezed(out)
        assert squeezed(f"{variable}\n--") in squeezed(f"{out}--")
        assert all(str(choice) in out for choice in action.choices or ())


def test_a_switch_takes_no_value_and_a_percent_sign_is_one() -> None:
    listed = OptionList()
    add_options(listed)
    rows = {name.partition(" ")[0]: (name, purpose) for name, _, purpose in listed}

    assert rows["--yes"][0] == "--yes"
    assert rows["--record-events"][0] == "--record-events P%"
    assert "%%" not in rows["--record-events"][1]


def test_locust_takes_every_way_of_signing_in_and_every_dialect() -> None:
    parser = Parser(add_help=False)
    add_options(parser)

    for name, words in {"auth": AUTHS, "dialect": tuple(DIALECTS)}.items():
        for word in words:
            assert vars(parser.parse_args([f"--{name}", word]))[name] == word


def test_every_word_that_an_option_takes_stands_in_its_row_of_the_page() -> None:
    parser, page = Parser(add_help=False), Path(__file__).parents[2] / "docs" / "options.md"
    add_options(parser)
    rows = {
        row.split("`")[1].partition(" ")[0]: row for row in page.read_text().splitlines() if row.startswith("- `--")
    }
    words = {action.option_strings[0]: action.choices for action in parser._actions if action.choices}

    assert words.keys() >= {"--auth", "--dialect", "--compression"}
    assert [(name, word) for name, of in words.items() for word in of if f"`{word}`" not in rows[name]] == []
